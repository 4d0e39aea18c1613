//! What is left in Restate of very many events at an endpoint whose breaker is open.

use std::time::{Duration, Instant};

use anyhow::ensure;
use posthorn_tests::{Answer, Api, Lab, Receiver, invocations_of, until};
use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::{breaker_is_open, configure, pay};

const PATIENCE: Duration = Duration::from_secs(900);
/// Payments of one transaction.
const AT_ONCE: i64 = 10_000;

pub(crate) async fn measure(events: i64) -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let api = lab.api()?;
    let restate = Api::new(&format!("http://127.0.0.1:{}", lab.ports()?.restate_admin))?;
    let (failing, well) = (Receiver::start().await?, Receiver::start().await?);
    let endpoint = api.merchant("failing", failing.url()).await?;
    api.merchant("well", well.url()).await?;
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    // It opens at once, and then waits for an hour.
    let policy = json!({ "breaker_opens_after": 1, "throttled_wait_min_ms": 3_600_000 });
    configure(&mut db, &endpoint, "ordered", &policy).await?;
    failing.rule(|_| Some(Answer::Status(503)));
    api.payment("failing", 1).await?;
    until("the breaker is open", PATIENCE, async || breaker_is_open(&api, &endpoint).await).await?;

    let began = Instant::now();
    let mut most = 0;
    let mut left = events;
    while left > 0 {
        pay(&mut db, "failing", left.min(AT_ONCE)).await?;
        left -= AT_ONCE;
        most = most.max(invocations_of(&restate, &endpoint).await?.len());
    }
    // It is announced after all of them.
    api.payment("well", 1).await?;
    let others = Instant::now();
    well.wait_for(1, PATIENCE).await?;
    println!("{events} events were written and announced in {:.1?}", began.elapsed());
    println!("a payment of another merchant, made after them, arrived in {:.1?}", others.elapsed());
    let kept = until("all wakes are over", PATIENCE, async || {
        let kept = invocations_of(&restate, &endpoint).await?;
        ensure!(kept.iter().all(|invocation| invocation["status"] == "scheduled"), "{kept:?}");
        Ok(kept.len())
    })
    .await?;
    println!("invocations left at the endpoint: {kept}; most seen while they came: {most}");
    println!("requests that its merchant got: {}", failing.requests().len());
    Ok(())
}
