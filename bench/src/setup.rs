//! Merchants and their endpoints, made through the product's own JSON API.
//!
//! Each run has merchants of its own, so that what an earlier run left behind is not counted here.

use std::time::Duration;

use anyhow::{Context, bail};
use domain::MerchantId;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

/// Longest for one call of the set-up.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes `count` merchants named `name` and a number, each with one endpoint at its `url`; one
/// without a URL gets none.
///
/// # Errors
/// When there is no api, or it refuses.
pub async fn merchants(
    api_url: &str,
    name: &str,
    count: u32,
    url: impl Fn(u32) -> Option<String>,
) -> anyhow::Result<Vec<MerchantId>> {
    let client = Client::builder()
        .timeout(CALL_TIMEOUT)
        // The api role is on this machine; a proxy from the environment is not asked.
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let api = Api { client, url: api_url.trim_end_matches('/').to_owned() };
    let mut merchants = Vec::new();
    for number in 0..count {
        let merchant = MerchantId::try_from(format!("{name}-{number}"))?;
        let body = json!({ "merchant_id": merchant.as_str(), "name": merchant.as_str() });
        api.post("/v1/merchants", &body).await?;
        if let Some(url) = url(number) {
            let body = json!({ "merchant_id": merchant.as_str(), "url": url, "event_types": [] });
            let answer = api.post("/v1/endpoints", &body).await?;
            if !answer["id"].as_str().is_some_and(|id| id.starts_with("ep_")) {
                bail!("{}/v1/endpoints answered without the endpoint's id", api.url);
            }
        }
        merchants.push(merchant);
    }
    Ok(merchants)
}

struct Api {
    client: Client,
    url: String,
}

impl Api {
    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.url);
        let answer = self.client.post(&url).json(body).send().await.with_context(|| {
            format!("no api at {url}: is `posthorn up` running? (--dir, --api-url)")
        })?;
        let status = answer.status();
        if status != StatusCode::CREATED && status != StatusCode::OK {
            bail!("{url} answered {status}: {}", excerpt(answer).await);
        }
        answer.json().await.with_context(|| format!("{url} answered no JSON"))
    }
}

async fn excerpt(answer: Response) -> String {
    const CHARACTERS: usize = 500;
    answer.text().await.unwrap_or_default().chars().take(CHARACTERS).collect()
}
