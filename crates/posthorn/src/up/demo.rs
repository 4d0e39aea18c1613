//! The demo: a merchant with an endpoint at the simulator, one payment, and how it travelled.
//!
//! It goes through the JSON front as anybody would. It looks before it creates, so a second `up`
//! makes a payment more and nothing else. Nothing of it decides whether the stack is up.

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
/// A payment that took longer met something that was still starting.
const WARM_MS: f64 = 250.0;
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
    let api = Api::new(&format!("http://127.0.0.1:{}", plan.ports.http))?;
    let url = format!("http://127.0.0.1:{}/webhooks/{MERCHANT}", plan.ports.simulator);
    api.make_merchant(&url).await?;
    let first = api.pay(plan).await?;
    if first.took_ms() < WARM_MS {
        return Ok(first.print(&url, ""));
    }
    // Restate's consumer had yet to join, the producer to connect: that is the start, not the path.
    let note =
        format!(" (the one before took {:.0}, while connections were made)", first.took_ms());
    Ok(api.pay(plan).await?.print(&url, &note))
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

/// A payment that was delivered.
struct Travelled {
    payment: PaymentId,
    timeline: Timeline,
    announced: Announced,
}

impl Travelled {
    fn committed_at(&self) -> OffsetDateTime {
        // The row is written microseconds before its transaction commits.
        self.announced.committed_at.unwrap_or(self.timeline.written_at)
    }

    fn since_commit_ms(&self, at: OffsetDateTime) -> f64 {
        (at - self.committed_at()).as_seconds_f64() * 1000.0
    }

    fn took_ms(&self) -> f64 {
        self.since_commit_ms(self.timeline.answered_at)
    }

    fn print(&self, url: &str, note: &str) -> String {
        let Self { payment, timeline, announced } = self;
        let answer =
            timeline.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        let rows = [
            (
                Some(self.committed_at()),
                "committed",
                format!("{payment}, with its event and its delivery"),
            ),
            (announced.captured_at, "captured", "read from the WAL by the relay".to_owned()),
            (announced.acknowledged_at, "on Kafka", "acknowledged, on both topics".to_owned()),
            (timeline.invoked_at, "invoked", "Restate woke the endpoint's object".to_owned()),
            (Some(timeline.posted_at), "POSTed", format!("to {url}")),
            (Some(timeline.answered_at), "answered", answer),
        ];
        let mut text = format!("One payment, in milliseconds since its commit{note}:\n");
        for (at, step, what) in rows {
            let since =
                at.map_or_else(|| "?".to_owned(), |at| format!("{:.1}", self.since_commit_ms(at)));
            text.push_str(&format!("  {since:>8}  {step:<10} {what}\n"));
        }
        text
    }
}

/// Makes the merchant with an endpoint at `url`, through the front at `api`, unless it is there.
pub(crate) async fn merchant(api: &str, url: &str) -> anyhow::Result<()> {
    Api::new(api)?.make_merchant(url).await
}

/// The JSON front, as a caller sees it.
struct Api {
    client: reqwest::Client,
    base: String,
}

impl Api {
    fn new(base: &str) -> anyhow::Result<Self> {
        // To this machine alone: no proxy, and nobody there redirects.
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(REQUEST_TIMEOUT)
            .build()?;
        Ok(Self { client, base: base.trim_end_matches('/').to_owned() })
    }

    async fn make_merchant(&self, url: &str) -> anyhow::Result<()> {
        let merchant = json!({ "merchant_id": MERCHANT, "name": "Demo merchant" });
        self.post("/v1/merchants", merchant).await?;
        if !self.has_endpoint(url).await? {
            let endpoint = json!({ "merchant_id": MERCHANT, "url": url, "event_types": [] });
            self.post("/v1/endpoints", endpoint).await?;
        }
        Ok(())
    }

    /// One payment, all the way.
    async fn pay(&self, plan: &Plan) -> anyhow::Result<Travelled> {
        let body = json!({ "merchant_id": MERCHANT, "amount": 1000, "currency": "USD" });
        let made = self.post("/payments", body).await?;
        let payment: PaymentId = made["id"].as_str().context("a payment without an id")?.parse()?;
        let timeline = wait_for_delivery(plan, payment).await?;
        let relay = plan.ports.relay_health;
        let url = format!("http://127.0.0.1:{relay}/announced/{}", timeline.delivery_id);
        // A figure that is missing is shown as missing.
        let announced = self.get(&url).await.unwrap_or_default();
        Ok(Travelled { payment, timeline, announced })
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
            sent_at: datetime!(2026-01-01 00:00:00.0125 UTC),
            answered_at: datetime!(2026-01-01 00:00:00.0145 UTC),
            status: Some(200),
        };
        let announced = Announced::default();
        let payment = uuid::Uuid::nil().into();
        let text = Travelled { payment, timeline, announced }.print("http://m", "");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("       0.0  committed"), "{text}");
        assert!(lines[2].starts_with("         ?  captured"), "{text}");
        assert!(lines[4].starts_with("         ?  invoked"), "{text}");
        assert_eq!(lines[6], "      14.5  answered   200");
    }
}
