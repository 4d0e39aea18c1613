//! The receiver's ledger, as it tells it: what arrived at the merchants of one run.
//!
//! A request that the merchant answered with an error did not deliver anything. One that was not
//! answered did arrive: its sender may have died, the merchant has it all the same.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use anyhow::Context;
use bench::{Arrival, Event, Kind, micros_of};
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;

/// A page of the ledger may be some megabytes.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The most that the receiver gives at once.
const PAGE_ENTRIES: u32 = 10_000;

/// The simulator, whose ledger it is.
#[derive(Debug, Clone)]
pub(super) struct Receiver {
    client: reqwest::Client,
    base: String,
    /// The ledger's last entry when the run began.
    after: u64,
}

#[derive(Deserialize)]
struct Stats {
    received: u64,
}

#[derive(Deserialize)]
struct Page {
    entries: Vec<Entry>,
    next: Option<u64>,
}

#[derive(Deserialize)]
struct Entry {
    merchant: String,
    webhook_id: Option<String>,
    payment_id: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    arrived_at: OffsetDateTime,
    status: Option<u16>,
}

impl Entry {
    fn has_arrived(&self) -> bool {
        self.status.is_none_or(|status| (200..300).contains(&status))
    }
}

impl Receiver {
    /// The receiver at `base`; what it has received so far is passed over.
    pub(super) async fn at(base: &str) -> anyhow::Result<Self> {
        // To this machine alone: no proxy, and nobody there redirects.
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .build()?;
        let mut receiver = Self { client, base: base.to_owned(), after: 0 };
        receiver.after = receiver.get::<Stats>("/stats").await?.received;
        Ok(receiver)
    }

    /// Where webhooks of `merchant` go.
    pub(super) fn url(&self, merchant: &str) -> String {
        format!("{}/webhooks/{merchant}", self.base)
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// What arrived at the merchants of one side, each known by its number: in the order of arrival.
    pub(super) async fn arrivals(
        &self,
        merchants: &HashMap<String, u32>,
    ) -> anyhow::Result<Vec<Arrival>> {
        let mut arrivals = Vec::new();
        let mut after = self.after;
        loop {
            let page: Page =
                self.get(&format!("/ledger?after={after}&limit={PAGE_ENTRIES}")).await?;
            for entry in page.entries.iter().filter(|entry| entry.has_arrived()) {
                arrivals.extend(arrival_of(entry, merchants));
            }
            match page.next {
                Some(next) => after = next,
                None => return Ok(arrivals),
            }
        }
    }

    /// Tells a merchant to answer with 500 until it is told to be well.
    pub(super) async fn fail(&self, merchant: &str) -> anyhow::Result<()> {
        let behaviour = json!({ "status": 500 });
        let url = format!("{}/behaviours/{merchant}", self.base);
        self.client.put(url).body(behaviour.to_string()).send().await?.error_for_status()?;
        Ok(())
    }

    /// Takes back what it was told.
    pub(super) async fn be_well(&self, merchant: &str) -> anyhow::Result<()> {
        let url = format!("{}/behaviours/{merchant}", self.base);
        self.client.delete(url).send().await?.error_for_status()?;
        Ok(())
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let url = format!("{}{path}", self.base);
        let answer = self.client.get(&url).send().await.with_context(|| {
            format!("no receiver at {url}: is `posthorn up` running? (--dir, --start)")
        })?;
        Ok(answer.error_for_status()?.json().await?)
    }
}

fn arrival_of(entry: &Entry, merchants: &HashMap<String, u32>) -> Option<Arrival> {
    let endpoint = *merchants.get(&entry.merchant)?;
    let payment = entry.payment_id.as_deref()?.parse().ok()?;
    let mut hasher = DefaultHasher::new();
    entry.webhook_id.hash(&mut hasher);
    Some(Arrival {
        event: Event { endpoint, payment, kind: Kind::Succeeded },
        webhook: hasher.finish(),
        // Every payment here has one event: there is no earlier one to be behind.
        happened_us: 0,
        arrived_us: micros_of(entry.arrived_at),
        is_refunded: false,
    })
}
