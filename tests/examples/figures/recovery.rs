//! From a merchant's recovery to an empty backlog.

use std::time::{Duration, Instant};

use anyhow::ensure;
use posthorn_tests::{Answer, Lab, Receiver, until};
use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::{breaker_is_open, configure, id_of, pay};

const PATIENCE: Duration = Duration::from_secs(900);

pub(crate) async fn measure(deliveries: i64) -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let api = lab.api()?;
    for ordering in ["ordered", "unordered"] {
        let receiver = Receiver::start().await?;
        let endpoint = api.merchant(ordering, receiver.url()).await?;
        let id = id_of(&endpoint)?;
        let mut db = PgConnection::connect(&lab.database_url()?).await?;
        // How long the first probe is waited for is the backoff's, and no figure of ours.
        let policy = json!({ "backoff_initial_ms": 1_000, "backoff_max_ms": 4_000 });
        configure(&mut db, &endpoint, ordering, &policy).await?;
        receiver.rule(|_| Some(Answer::Status(500)));
        pay(&mut db, ordering, deliveries).await?;
        until("the breaker is open", PATIENCE, async || breaker_is_open(&api, &endpoint).await)
            .await?;
        let recovered = Instant::now();
        receiver.rule(|_| None);
        until("the first one gets through", PATIENCE, async || {
            ensure!(!receiver.accepted().is_empty());
            Ok(())
        })
        .await?;
        let first = Instant::now();
        until("nothing waits", PATIENCE, async || {
            let mut db = PgConnection::connect(&lab.database_url()?).await?;
            let waiting: bool =
                sqlx::query_scalar("select exists (select from deliveries where endpoint_id = $1)")
                    .bind(id)
                    .fetch_one(&mut db)
                    .await?;
            ensure!(!waiting);
            Ok(())
        })
        .await?;
        let (probe, rest) = (first - recovered, first.elapsed());
        let rate = f64::from(u32::try_from(deliveries)?) / rest.as_secs_f64();
        println!(
            "{ordering}: the probe came {probe:.1?} after the recovery, the backlog of \
             {deliveries} was empty {rest:.1?} later ({rate:.0}/s); {} requests",
            receiver.requests().len()
        );
    }
    Ok(())
}
