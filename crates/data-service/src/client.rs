//! The worker's way to the data service: one GET per attempt.
//!
//! An object's id goes in, the bytes of its JSON come out, or why they could not be had. The
//! caller is inside a merchant's turn, so everything here is bounded in time and in size. Nothing
//! is retried and nothing is cached: the attempt decides what a failure means.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use observability::spans;
use reqwest::header::CONTENT_TYPE;
use reqwest::{StatusCode, Url};
use tracing::{Instrument as _, Span};

use crate::ROUTE;

/// The bytes of a payload are valid, minified JSON: an object, at most [`Payload::BYTES_MAX`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload(Bytes);

impl Payload {
    /// Largest payload that is read; a webhook's body may not be larger either.
    pub const BYTES_MAX: usize = 256 * 1024;

    /// The JSON, exactly as the data service wrote it.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The JSON, owned.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The base URL is not one that can be asked.
    #[error(
        "the data service's URL `{0}` cannot be used: expected http://host:port without a query"
    )]
    Url(String),
    /// The HTTP client could not be built.
    #[error("building the data service's client: {0}")]
    Build(#[source] reqwest::Error),
    /// TLS could not be set up, though it is not used.
    #[error("building the data service's client: {0}")]
    Tls(#[from] rustls::Error),
}

/// Why there is no payload.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The data service answered that there is no such object.
    #[error("the data service has no such object")]
    Missing,
    /// The data service has the object's row and cannot read it. Of this object alone.
    #[error("the payment's row cannot be read; the data service's log says why")]
    ObjectUnreadable,
    /// The payload is over [`Payload::BYTES_MAX`].
    #[error("the payload is larger than {} bytes", Payload::BYTES_MAX)]
    TooLarge,
    /// No answer: refused, too slow, cut off.
    #[error("the data service did not answer: {0}")]
    Unavailable(#[source] reqwest::Error),
    /// An answer that is neither a payload nor its absence, such as 503 while the database is away.
    #[error("the data service answered {0}")]
    Refused(StatusCode),
    /// It answered 200 with something that is no JSON object: another server on that port.
    #[error("the data service's answer is not a JSON object")]
    Unreadable,
}

impl PayloadError {
    /// A stable word for traces, where the status of the answer does not tell.
    fn code(&self) -> Option<&'static str> {
        match self {
            Self::Missing | Self::ObjectUnreadable => None,
            Self::Refused(status) if status.is_client_error() || status.is_server_error() => None,
            Self::Refused(_) => Some("refused"),
            Self::TooLarge => Some("too_large"),
            Self::Unavailable(error) if error.is_timeout() => Some("timeout"),
            Self::Unavailable(error) if error.is_connect() => Some("connect"),
            Self::Unavailable(_) => Some("unavailable"),
            Self::Unreadable => Some("unreadable"),
        }
    }
}

/// A client of the data service. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base_url: Arc<Url>,
}

/// It is on the same machine or next to it: what does not connect at once is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// All of one call. An attempt has 15 s; this leaves the merchant most of them.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(3);
/// Shorter than any server's or proxy's own limit, so that no request is sent into a closing one.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections kept between calls: as many as attempts run at once in a busy worker.
const POOL_IDLE_MAX: usize = 64;

impl Client {
    /// A client of the data service at `base_url`, such as `http://127.0.0.1:3002`.
    ///
    /// # Errors
    /// When the URL is not `http://` with a host, or the client cannot be built.
    pub fn new(base_url: &str) -> Result<Self, ClientError> {
        let url = Url::parse(base_url)
            .ok()
            // Plain HTTP, inside the installation: TLS towards it would need roots to trust.
            .filter(|url| url.scheme() == "http" && url.has_host() && url.query().is_none())
            .ok_or_else(|| ClientError::Url(base_url.to_owned()))?;
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TOTAL_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(POOL_IDLE_MAX)
            // The data service never redirects; a redirect would be somebody else's answer.
            .redirect(reqwest::redirect::Policy::none())
            // A proxy from the environment must not see payments.
            .no_proxy()
            // Small requests, answered at once.
            .tcp_nodelay(true)
            // A connection whose other end vanished is found before a request is lost on it.
            .tcp_keepalive(Duration::from_secs(15))
            // No upgrade dance: the data service speaks HTTP/1.1.
            .http1_only()
            // One request per attempt; the attempt is what is retried.
            .retry(reqwest::retry::never())
            // Never used, but the builder wants one: no roots, so that nothing is trusted.
            .tls_backend_preconfigured(no_tls()?)
            .user_agent(concat!("posthorn/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(ClientError::Build)?;
        Ok(Self { http, base_url: Arc::new(url) })
    }

    /// The object as it is now; `object_id` is a payment's id as the event has it.
    ///
    /// # Errors
    /// When the object is missing or too large, or the data service could not be asked.
    pub async fn payload(&self, object_id: &str) -> Result<Payload, PayloadError> {
        let (host, port) = (self.base_url.host_str(), self.base_url.port_or_known_default());
        let span =
            spans::http_client("GET", ROUTE, host.unwrap_or_default(), port.unwrap_or_default());
        let payload = self.fetch(object_id).instrument(span.clone()).await;
        if let Some(code) = payload.as_ref().err().and_then(PayloadError::code) {
            spans::failed(&span, &code);
        }
        payload
    }

    async fn fetch(&self, object_id: &str) -> Result<Payload, PayloadError> {
        let mut url = Url::clone(&self.base_url);
        // Always `Ok`: `http` URLs have a path. Pushing encodes whatever the id holds.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["payload", object_id]);
        }
        let mut response = self.http.get(url).send().await.map_err(PayloadError::Unavailable)?;
        spans::http_answered(&Span::current(), response.status().as_u16(), false);
        match response.status() {
            StatusCode::OK => {}
            // Another server's 404 or 422 says nothing about a payment; the data service's is JSON.
            StatusCode::NOT_FOUND if is_declared_json(&response) => {
                return Err(PayloadError::Missing);
            }
            StatusCode::UNPROCESSABLE_ENTITY if is_declared_json(&response) => {
                return Err(PayloadError::ObjectUnreadable);
            }
            status => return Err(PayloadError::Refused(status)),
        }
        let declared = response.content_length().unwrap_or(0);
        if declared > Payload::BYTES_MAX as u64 {
            return Err(PayloadError::TooLarge);
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(PayloadError::Unavailable)? {
            if body.len() + chunk.len() > Payload::BYTES_MAX {
                return Err(PayloadError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        is_json_object(&body).then(|| Payload(body.freeze())).ok_or(PayloadError::Unreadable)
    }
}

fn is_declared_json(response: &reqwest::Response) -> bool {
    response.headers().get(CONTENT_TYPE).is_some_and(|value| value == "application/json")
}

/// What is signed and sent must be JSON, whoever answered on that port.
fn is_json_object(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b'{') && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
}

fn no_tls() -> Result<rustls::ClientConfig, rustls::Error> {
    Ok(rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()?
    .with_root_certificates(rustls::RootCertStore::empty())
    .with_no_client_auth())
}

#[cfg(test)]
mod tests;
