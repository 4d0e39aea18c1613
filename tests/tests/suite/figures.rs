//! What a worker counts is what happened, to the number; what it looks up is not held up by another
//! source.

use std::time::Duration;

use anyhow::ensure;
use nix::sys::signal::Signal;
use posthorn_tests::{Answer, Api, Lab, Receiver, Scraped, invocations_of, until};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::path::hasten;
use crate::replayed::signal;
use crate::{merchant, shared_lab};

const SOON: Duration = Duration::from_secs(60);
/// The pause between two looks, and a machine that is busy.
const LOOKED_UP: Duration = Duration::from_secs(45);
const A_DAY_S: f64 = 86_400.0;
const ATTEMPT: &str = "posthorn_commit_to_attempt_seconds";
const DELIVERED: &str = "posthorn_commit_to_delivered_seconds";

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_says_when_it_occurred_counts_from_its_row_like_any_other()
-> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, receiver, merchant) = (lab.api()?, Receiver::start().await?, merchant("of-old"));
    api.merchant(&merchant, receiver.url()).await?;
    let worker = lab.ports()?.worker_health;
    let before = Scraped::of(worker).await?;
    sqlx::query(
        "insert into domain_events (event_type, object_id, merchant_id, payload, occurred_at)
         values ('ledger.closed', 'x', $1, '{}', now() - interval '1 day')",
    )
    .bind(&merchant)
    .execute(&mut PgConnection::connect(&lab.database_url()?).await?)
    .await?;
    receiver.wait_for(1, SOON).await?;
    until("it is counted", SOON, async || {
        let now = Scraped::of(worker).await?;
        for stem in [ATTEMPT, DELIVERED] {
            let rise = |part: &str| -> anyhow::Result<f64> {
                let stem = format!("{stem}_{part}{{");
                Ok(now.sum(&stem)? - before.sum(&stem)?)
            };
            ensure!(rise("count")? >= 1.0, "{stem}: not yet");
            // Those of others in this lab, which took minutes at most, are in it: a day is not.
            ensure!(rise("sum")? < A_DAY_S / 2.0, "{stem}: {} s", rise("sum")?);
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_counts_what_happened_and_looks_up_the_database_though_restate_hangs()
-> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let (api, receiver, database) = (lab.api()?, Receiver::start().await?, lab.database_url()?);
    let worker = lab.ports()?.worker_health;
    let before = Scraped::of(worker).await?;

    // One at each of two endpoints: they wait for nothing.
    for (merchant, amount) in [("first", 1), ("second", 2)] {
        api.merchant(merchant, receiver.url()).await?;
        api.payment(merchant, amount).await?;
    }
    receiver.wait_for(2, SOON).await?;
    // Three at once: the second and the third wait for those before them.
    api.merchant("at-once", receiver.url()).await?;
    sqlx::query(
        "insert into payments (merchant_id, amount, currency)
         select 'at-once', n, 'USD' from generate_series(3, 5) n",
    )
    .execute(&mut PgConnection::connect(&database).await?)
    .await?;
    receiver.wait_for(5, SOON).await?;
    // One that waits until its endpoint is resumed.
    let paused = api.merchant("paused", receiver.url()).await?;
    api.post(&format!("/v1/endpoints/{paused}/pause"), &json!({})).await?;
    api.payment("paused", 6).await?;
    is_looked_at_no_more(&lab, &paused).await?;
    api.post(&format!("/v1/endpoints/{paused}/resume"), &json!({})).await?;
    receiver.wait_for(6, SOON).await?;
    // One that is refused, then unwell, then delivered.
    let refusing = api.merchant("refusing", receiver.url()).await?;
    hasten(&database, &refusing).await?;
    receiver.script([Answer::Status(404), Answer::Status(500)]);
    api.payment("refusing", 7).await?;
    receiver.wait_for(7, SOON).await?;

    until("it is counted", SOON, async || {
        let now = Scraped::of(worker).await?;
        for (series, count) in [
            (format!("{ATTEMPT}_count{{waited_for=\"nothing\"}}"), 4.0),
            (format!("{ATTEMPT}_count{{waited_for=\"line\"}}"), 2.0),
            (format!("{ATTEMPT}_count{{waited_for=\"endpoint\"}}"), 1.0),
            (format!("{DELIVERED}_count{{attempts=\"one\"}}"), 6.0),
            (format!("{DELIVERED}_count{{attempts=\"more\"}}"), 1.0),
            ("posthorn_attempts_total{class=\"delivered\",code=\"\"}".to_owned(), 7.0),
            ("posthorn_attempts_total{class=\"refused\",code=\"refused\"}".to_owned(), 1.0),
            ("posthorn_attempts_total{class=\"unwell\",code=\"status\"}".to_owned(), 1.0),
            ("posthorn_settle_duration_seconds_count{answer=\"settled\"}".to_owned(), 9.0),
            ("posthorn_sweeper_found_total".to_owned(), 0.0),
        ] {
            // A code that never was has no series yet.
            let rise = now.value(&series)? - before.value(&series).unwrap_or_default();
            ensure!((rise - count).abs() < 0.5, "{series}: {rise}, not {count}");
        }
        Ok(())
    })
    .await?;
    what_restate_does_not_take_is_kafkas_lag(&lab).await?;
    looks_go_on_though_restate_hangs(&lab).await
}

/// Waits until the wake of what came last is over: it would look once more, and wait for nothing.
async fn is_looked_at_no_more(lab: &Lab, endpoint: &str) -> anyhow::Result<()> {
    let restate = Api::new(&format!("http://127.0.0.1:{}", lab.ports()?.restate_admin))?;
    until("it was looked at, and nobody will look again", SOON, async || {
        let was_looked_at: bool = sqlx::query_scalar(
            "select coalesce(bool_and(r.looked_at > d.created_at), false)
             from deliveries d join endpoint_runtime r using (endpoint_id) where d.endpoint_id = $1",
        )
        .bind(Uuid::parse_str(endpoint.trim_start_matches("ep_"))?)
        .fetch_one(&mut PgConnection::connect(&lab.database_url()?).await?)
        .await?;
        ensure!(was_looked_at, "nobody has looked");
        let left = invocations_of(&restate, endpoint).await?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await
}

async fn what_restate_does_not_take_is_kafkas_lag(lab: &Lab) -> anyhow::Result<()> {
    let (api, receiver, relay) = (lab.api()?, Receiver::start().await?, lab.ports()?.relay_health);
    let is = async |records: f64| {
        until(&format!("the lag is {records} records"), LOOKED_UP, async || {
            let scraped = Scraped::of(relay).await?;
            ensure!(scraped.has("posthorn_kafka_consumer_lag{"), "it was not looked up yet");
            let lag = scraped.sum("posthorn_kafka_consumer_lag{")?;
            ensure!((lag - records).abs() < 0.5, "it is {lag}");
            Ok(())
        })
        .await
    };
    is(0.0).await?;
    signal(lab, "restate", Signal::SIGSTOP)?;
    let outcome = async {
        // A wake each: of one endpoint's payments one wake may stand for several.
        for number in 1..=7 {
            let merchant = merchant(&format!("lag-{number}"));
            api.merchant(&merchant, receiver.url()).await?;
            api.payment(&merchant, number).await?;
        }
        is(7.0).await
    }
    .await;
    signal(lab, "restate", Signal::SIGCONT)?;
    outcome?;
    receiver.wait_for(7, SOON).await?;
    is(0.0).await
}

async fn looks_go_on_though_restate_hangs(lab: &Lab) -> anyhow::Result<()> {
    let worker = lab.ports()?.worker_health;
    let looked = async |source: &str| {
        let series = format!("posthorn_figures_looked_up_timestamp_seconds{{source=\"{source}\"}}");
        Scraped::of(worker).await?.value(&series)
    };
    let later = async |source: &str, than: f64, limit: Duration| {
        until(&format!("{source} is looked up again"), limit, async || {
            let at = looked(source).await?;
            ensure!(at > than, "not since");
            Ok(at)
        })
        .await
    };
    signal(lab, "restate", Signal::SIGSTOP)?;
    let outcome = async {
        let of_restate = looked("restate").await?;
        let mut at = looked("database").await?;
        for _ in 0..3 {
            at = later("database", at, LOOKED_UP).await?;
        }
        anyhow::Ok(of_restate)
    }
    .await;
    signal(lab, "restate", Signal::SIGCONT)?;
    later("restate", outcome?, 3 * LOOKED_UP).await.map(drop)
}
