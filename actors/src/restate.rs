//! Restate's own APIs: the ingress, by which a wake is sent from outside, and the admin API.
//!
//! Loopback or a private network only; nothing here may reach a merchant.

use std::time::Duration;

use domain::EndpointId;
use reqwest::{StatusCode, Url};
use serde::Serialize;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::call::WakeCall;

/// Restate is next to us: what does not answer in this time is down.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why Restate could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum RestateError {
    /// The URL cannot be used.
    #[error("`{0}` is no URL of Restate's: expected http://host:port")]
    Url(String),
    /// No answer.
    #[error("Restate does not answer at {url}: {source}; is it running?")]
    Away {
        /// Where.
        url: Url,
        /// Why not.
        source: reqwest::Error,
    },
    /// An answer that says no.
    #[error("Restate refused {what}: {status} {body}")]
    Refused {
        /// What was asked.
        what: String,
        /// Its status.
        status: StatusCode,
        /// What it said, cut short.
        body: String,
    },
}

/// A client of one of Restate's APIs.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    http: reqwest::Client,
    base: Url,
}

impl Http {
    pub(crate) fn new(base: &str) -> Result<Self, RestateError> {
        let bad = || RestateError::Url(base.to_owned());
        let base = Url::parse(base).ok().filter(Url::has_host).ok_or_else(bad)?;
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            // Restate never redirects, and no proxy stands between us.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tcp_nodelay(true)
            // Registering twice, or waking twice, is for the caller to decide.
            .retry(reqwest::retry::never())
            .build()
            .map_err(|source| RestateError::Away { url: base.clone(), source })?;
        Ok(Self { http, base })
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, RestateError> {
        self.send(reqwest::Method::GET, path, None::<&()>, None).await
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Value, RestateError> {
        self.send(reqwest::Method::POST, path, Some(body), None).await
    }

    pub(crate) async fn send(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&impl Serialize>,
        idempotency_key: Option<&str>,
    ) -> Result<Value, RestateError> {
        let url = self.base.join(path).map_err(|_| RestateError::Url(path.to_owned()))?;
        let what = format!("{method} {}", url.path());
        let mut request = self.http.request(method, url.clone());
        request = request.header("accept", "application/json");
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        let away = |source| RestateError::Away { url: url.clone(), source };
        let response = request.send().await.map_err(away)?;
        let status = response.status();
        let text = response.text().await.map_err(away)?;
        if !status.is_success() {
            let body = text.chars().take(500).collect();
            return Err(RestateError::Refused { what, status, body });
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}

/// Does anybody listen where `uri` is?
///
/// # Errors
/// When nobody does, or not in time.
pub(crate) async fn reach(uri: &str) -> std::io::Result<()> {
    let place = Url::parse(uri).ok().and_then(|uri| {
        Some((uri.host_str()?.trim_matches(['[', ']']).to_owned(), uri.port_or_known_default()?))
    });
    let (host, port) = place.ok_or(std::io::ErrorKind::InvalidInput)?;
    tokio::time::timeout(TIMEOUT, TcpStream::connect((host, port)))
        .await
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))?;
    Ok(())
}

/// Restate's ingress.
#[derive(Debug, Clone)]
pub(crate) struct Ingress(Http);

impl Ingress {
    pub(crate) fn new(base: &str) -> Result<Self, RestateError> {
        Http::new(base).map(Self)
    }

    /// Sends a wake to `endpoint`; wakes under the same `key` that still wait or run are one.
    pub(crate) async fn wake(
        &self,
        endpoint: EndpointId,
        call: WakeCall,
        key: &str,
    ) -> Result<(), RestateError> {
        let path = format!("/restate/send/Endpoint/{endpoint}/wake");
        self.0.send(reqwest::Method::POST, &path, Some(&call), Some(key)).await?;
        Ok(())
    }
}
