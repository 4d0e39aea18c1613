//! The demo: a merchant with an endpoint at the simulator, one payment, and how it travelled.
//!
//! It goes through the JSON front as anybody would. It looks before it creates, so a second `up`
//! makes one payment more and nothing else. Nothing of it decides whether the stack is up.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use domain::PaymentId;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Store, Timeline};
use time::OffsetDateTime;

use super::plan::Plan;

const MERCHANT: &str = "demo";
/// Pages of a merchant's endpoints that are looked through, at most.
const PAGES_MAX: usize = 10;
/// A request to a front on this machine.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the one payment may take; usually it takes milliseconds.
const DELIVERY_PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
/// One read at a time.
const CONNECTIONS: u32 = 1;

/// What the relay remembers of a delivery.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Announced {
    #[serde(with = "time::serde::rfc3339::option")]
    committed_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    captured_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    acknowledged_at: Option<OffsetDateTime>,
}

/// Makes what is missing and one payment; the timeline, ready to print.
pub(super) async fn demo(plan: &Plan) -> anyhow::Result<String> {
    let api = Api::new(plan.ports.http)?;
    api.post("/v1/merchants", json!({ "merchant_id": MERCHANT, "name": "Demo merchant" })).await?;
    let url = format!("http://127.0.0.1:{}/webhooks/{MERCHANT}", plan.ports.simulator);
    if !api.has_endpoint(&url).await? {
        let endpoint = json!({ "merchant_id": MERCHANT, "url": url, "event_types": [] });
        api.post("/v1/endpoints", endpoint).await?;
    }
    let payment = json!({ "merchant_id": MERCHANT, "amount": 1000, "currency": "USD" });
    let made = api.post("/payments", payment).await?;
    let id: PaymentId = made["id"].as_str().context("a payment without an id")?.parse()?;
    let timeline = wait_for_delivery(plan, id).await?;
    let relay =
        format!("http://127.0.0.1:{}/announced/{}", plan.ports.relay_health, timeline.delivery_id);
    // A figure that is missing is shown as missing.
    let announced = api.get::<Announced>(&relay).await.unwrap_or_default();
    Ok(print(id, &url, &timeline, &announced))
}

async fn wait_for_delivery(plan: &Plan, payment: PaymentId) -> anyhow::Result<Timeline> {
    let store = Store::new(&plan.postgres.url(), "posthorn-up", CONNECTIONS)?;
    let begun = Instant::now();
    loop {
        if let Some(timeline) = store.timeline_of(payment).await? {
            return Ok(timeline);
        }
        if begun.elapsed() > DELIVERY_PATIENCE {
            bail!(
                "{payment} was not delivered within {} s; the logs of relay and worker say more",
                DELIVERY_PATIENCE.as_secs()
            );
        }
        tokio::time::sleep(POLL).await;
    }
}

fn print(payment: PaymentId, url: &str, timeline: &Timeline, announced: &Announced) -> String {
    // The row is written microseconds before its transaction commits.
    let zero = announced.committed_at.unwrap_or(timeline.written_at);
    let answer = timeline.status.map_or_else(|| "no answer".to_owned(), |code| code.to_string());
    let rows = [
        (Some(zero), "committed", format!("{payment}, with its event and its delivery")),
        (announced.captured_at, "captured", "read from the WAL by the relay".to_owned()),
        (announced.acknowledged_at, "on Kafka", "acknowledged, on both topics".to_owned()),
        (timeline.invoked_at, "invoked", "Restate woke the endpoint's object".to_owned()),
        (Some(timeline.posted_at), "POSTed", format!("to {url}")),
        (Some(timeline.answered_at), "answered", answer),
    ];
    let mut text = String::from("One payment, in milliseconds since its commit:\n");
    for (at, step, what) in rows {
        let since = at.map_or_else(
            || "?".to_owned(),
            |at| format!("{:.1}", (at - zero).as_seconds_f64() * 1000.0),
        );
        text.push_str(&format!("  {since:>8}  {step:<10} {what}\n"));
    }
    text
}

/// The JSON front, as a caller sees it.
struct Api {
    client: reqwest::Client,
    base: String,
}

impl Api {
    fn new(port: u16) -> anyhow::Result<Self> {
        // To this machine alone: no proxy, and nobody there redirects.
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(REQUEST_TIMEOUT)
            .build()?;
        Ok(Self { client, base: format!("http://127.0.0.1:{port}") })
    }

    async fn has_endpoint(&self, url: &str) -> anyhow::Result<bool> {
        let mut token = String::new();
        for _ in 0..PAGES_MAX {
            let page =
                format!("{}/v1/endpoints?merchant_id={MERCHANT}&page_token={token}", self.base);
            let page: Value = self.get(&page).await?;
            let endpoints = page["endpoints"].as_array().map(Vec::as_slice).unwrap_or_default();
            if endpoints.iter().any(|endpoint| endpoint["url"] == url) {
                return Ok(true);
            }
            token = page["next_page_token"].as_str().unwrap_or_default().to_owned();
            if token.is_empty() {
                break;
            }
        }
        Ok(false)
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, url: &str) -> anyhow::Result<T> {
        Ok(self.client.get(url).send().await?.error_for_status()?.json().await?)
    }

    async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        let answer = self.client.post(format!("{}{path}", self.base)).json(&body).send().await?;
        let status = answer.status();
        let body: Value = answer.json().await.unwrap_or_default();
        if !status.is_success() {
            bail!("POST {path}: {status} {body}");
        }
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_figure_that_is_missing_is_shown_as_missing() {
        let timeline = Timeline {
            delivery_id: uuid::Uuid::nil().into(),
            written_at: datetime!(2026-01-01 00:00:00 UTC),
            invoked_at: None,
            started_at: datetime!(2026-01-01 00:00:00.010 UTC),
            posted_at: datetime!(2026-01-01 00:00:00.012 UTC),
            answered_at: datetime!(2026-01-01 00:00:00.0145 UTC),
            status: Some(200),
        };
        let text = print(uuid::Uuid::nil().into(), "http://m", &timeline, &Announced::default());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("       0.0  committed"), "{text}");
        assert!(lines[2].starts_with("         ?  captured"), "{text}");
        assert!(lines[4].starts_with("         ?  invoked"), "{text}");
        assert_eq!(lines[6], "      14.5  answered   200");
    }
}
