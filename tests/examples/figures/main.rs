//! Figures of the endpoint object and of what is counted of it, measured on a stack of their own:
//! `cargo build --release --workspace --examples`, then `target/release/examples/figures WHAT`.
//!
//! Each prints what it did, and the figure. What the machine did beside is for whoever measures to
//! say; docs/performance.md has what was seen.

mod at_once;
mod core_speed;
mod metrics_cost;
mod open_breaker;
mod recovery;
mod sweeper_round;

use anyhow::{Context, bail};
use posthorn_tests::Api;
use sqlx::PgConnection;
use uuid::Uuid;

const USAGE: &str =
    "figures at-once [EVENTS] | core | metrics [ENDPOINTS] | open-breaker [EVENTS] |
        recovery [DELIVERIES] | sweeper [FINISHED]
  at-once       so many events (100000) in one transaction at a healthy endpoint, and others beside it
  core          transitions of the rules in a second
  metrics       what counting an attempt costs, and a scrape beside so many endpoints (1000)
  open-breaker  invocations that so many events (100000) leave at an endpoint whose breaker is open
  recovery      from a merchant's recovery to an empty backlog (10000), ordered and unordered
  sweeper       a round of the sweeper beside so many finished deliveries (10000000)";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let count = |default: i64| match arguments.get(1) {
        Some(text) => text.parse().with_context(|| format!("`{text}` is no number\n{USAGE}")),
        None => Ok(default),
    };
    match arguments.first().map(String::as_str) {
        Some("at-once") => at_once::measure(count(100_000)?).await?,
        Some("core") => core_speed::measure(),
        Some("metrics") => metrics_cost::measure(count(1_000)?).await?,
        Some("open-breaker") => open_breaker::measure(count(100_000)?).await?,
        Some("recovery") => recovery::measure(count(10_000)?).await?,
        Some("sweeper") => sweeper_round::measure(count(10_000_000)?).await?,
        _ => bail!("{USAGE}"),
    }
    Ok(())
}

/// Makes so many payments, in one statement and one transaction.
async fn pay(db: &mut PgConnection, merchant: &str, count: i64) -> anyhow::Result<()> {
    sqlx::query(
        "insert into payments (merchant_id, amount, currency)
         select $1, n, 'USD' from generate_series(1, $2) n",
    )
    .bind(merchant)
    .bind(count)
    .execute(db)
    .await?;
    Ok(())
}

/// Sets an endpoint's policy and order; `endpoint` is `ep_` and a UUID.
async fn configure(
    db: &mut PgConnection,
    endpoint: &str,
    ordering: &str,
    policy: &serde_json::Value,
) -> anyhow::Result<()> {
    sqlx::query("update endpoints set policy = $2, ordering = $3 where id = $1")
        .bind(id_of(endpoint)?)
        .bind(policy)
        .bind(ordering)
        .execute(db)
        .await?;
    Ok(())
}

fn id_of(endpoint: &str) -> anyhow::Result<Uuid> {
    Ok(Uuid::parse_str(endpoint.trim_start_matches("ep_"))?)
}

async fn breaker_is_open(api: &Api, endpoint: &str) -> anyhow::Result<()> {
    let status = api.get(&format!("/v1/endpoints/{endpoint}/status")).await?;
    anyhow::ensure!(status["breaker_open"] == true, "{status}");
    Ok(())
}
