//! A client of the JSON front, as a user has one.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

/// A client of the JSON front.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
}

impl Api {
    /// Of the front at `base`.
    ///
    /// # Errors
    /// When no HTTP client can be built.
    pub fn new(base: &str) -> anyhow::Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http =
            reqwest::Client::builder().timeout(Duration::from_secs(20)).no_proxy().build()?;
        Ok(Self { http, base: base.to_owned() })
    }

    /// Where it is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// One request; status and body.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> anyhow::Result<(u16, Value)> {
        let mut request = self
            .http
            .request(method.parse()?, format!("{}{path}", self.base))
            .header("content-type", "application/json")
            .body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// A GET that must succeed.
    ///
    /// # Errors
    /// When it does not.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let (status, body) = self.send("GET", path, &[], "").await?;
        ensure!(status == 200, "GET {path}: {status} {body}");
        Ok(body)
    }

    /// A POST that must succeed.
    ///
    /// # Errors
    /// When it does not.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let (status, answer) = self.send("POST", path, &[], body.to_string()).await?;
        ensure!((200..300).contains(&status), "POST {path}: {status} {answer}");
        Ok(answer)
    }

    /// A merchant with one endpoint at `url`; the endpoint's id.
    ///
    /// # Errors
    /// When either is refused.
    pub async fn merchant(&self, merchant: &str, url: &str) -> anyhow::Result<String> {
        let name = format!("merchant {merchant}");
        self.post("/v1/merchants", &json!({ "merchant_id": merchant, "name": name })).await?;
        let endpoint = json!({ "merchant_id": merchant, "url": url, "event_types": [] });
        Ok(self.endpoint(&endpoint).await?.0)
    }

    /// An endpoint; its id and its secret.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn endpoint(&self, endpoint: &Value) -> anyhow::Result<(String, String)> {
        let answer = self.post("/v1/endpoints", endpoint).await?;
        let text = |name: &str| answer[name].as_str().map(str::to_owned);
        Ok((text("id").context("no id")?, text("secret").context("no secret")?))
    }

    /// A payment for `merchant`; its id.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn payment(&self, merchant: &str, amount: i64) -> anyhow::Result<String> {
        let payment = json!({ "merchant_id": merchant, "amount": amount, "currency": "USD" });
        let answer = self.post("/payments", &payment).await?;
        Ok(answer["id"].as_str().context("no id")?.to_owned())
    }
}
