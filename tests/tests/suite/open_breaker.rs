//! An endpoint whose breaker is open, and thousands of events: one timer, and nobody else waits.

use std::time::Duration;

use anyhow::ensure;
use posthorn_tests::{Answer, Api, Receiver, invocations_of, until};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::{merchant, shared_lab};

const SOON: Duration = Duration::from_secs(60);
/// `cargo run --release --workspace --example figures -- open-breaker` does it with 100,000.
const EVENTS: i32 = 3_000;

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_events_at_an_open_breaker_leave_one_timer_and_stop_nobody()
-> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let api = lab.api()?;
    let restate = Api::new(&format!("http://127.0.0.1:{}", lab.ports()?.restate_admin))?;
    let (failing, well) = (Receiver::start().await?, Receiver::start().await?);
    let (merchant, other) = (merchant("open"), merchant("beside"));
    let endpoint = api.merchant(&merchant, failing.url()).await?;
    api.merchant(&other, well.url()).await?;
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    // One failure opens it, and then it waits for an hour.
    sqlx::query("update endpoints set policy = '{\"breaker_opens_after\": 1, \"throttled_wait_min_ms\": 3600000}' where id = $1")
        .bind(Uuid::parse_str(endpoint.trim_start_matches("ep_"))?)
        .execute(&mut db)
        .await?;
    failing.rule(|_| Some(Answer::Status(503)));
    api.payment(&merchant, 1).await?;
    let timer = until("its breaker is open and its timer armed", SOON, async || {
        let status = api.get(&format!("/v1/endpoints/{endpoint}/status")).await?;
        ensure!(status["breaker_open"] == true, "{status}");
        let left = invocations_of(&restate, &endpoint).await?;
        ensure!(left.len() == 1 && left[0]["status"] == "scheduled", "{left:?}");
        Ok(left[0]["id"].clone())
    })
    .await?;
    sqlx::query(
        "insert into payments (merchant_id, amount, currency)
         select $1, n, 'USD' from generate_series(1, $2) n",
    )
    .bind(&merchant)
    .bind(EVENTS)
    .execute(&mut db)
    .await?;
    // It is announced after all of them.
    api.payment(&other, 1).await?;
    well.wait_for(1, SOON).await?;
    until("nothing but the timer is left of them", SOON, async || {
        let left = invocations_of(&restate, &endpoint).await?;
        ensure!(left.len() == 1 && left[0]["id"] == timer, "{left:?}");
        Ok(())
    })
    .await?;
    ensure!(failing.requests().len() == 1, "{} requests", failing.requests().len());
    Ok(())
}
