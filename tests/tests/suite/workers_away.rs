//! No worker for a while, and payments all the time: what waits in Restate for the workers is a
//! handful for each endpoint, so that nobody waits behind a pile when they are back.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use posthorn_tests::{Answer, Api, Lab, Receiver, until};
use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::merchant;
use crate::replayed::signal;

const SOON: Duration = Duration::from_secs(30);
/// So long at least Restate goes on with a wake that no worker takes; then the sweeper makes up for it.
const TRIED_FOR: Duration = Duration::from_secs(25);
/// A minute after that, its round, and a machine that is busy.
const SWEPT: Duration = Duration::from_secs(100);
const ENDPOINTS: usize = 20;
const ROUNDS: i32 = 60;
/// A record's way into Restate, and longer than the window in which wakes are merged.
const PAUSE: Duration = Duration::from_millis(40);
/// What an endpoint may have waiting: those sent before it is known that nobody looks, those sent
/// then, and its timer.
const INVOCATIONS_MAX: i64 = 8;

/// Everything that Restate has for an endpoint, for the one with the most.
async fn most_invocations(restate: &Api) -> anyhow::Result<i64> {
    let query = "select target_service_key, count(1) as count from sys_invocation
                 where target_service_name = 'Endpoint' and status <> 'completed'
                 group by target_service_key order by 2 desc limit 1";
    let accept = [("accept", "application/json")];
    let body = json!({ "query": query }).to_string();
    let (status, answer) = restate.send("POST", "/query", &accept, body).await?;
    ensure!(status == 200, "{status} {answer}");
    Ok(answer["rows"][0]["count"].as_i64().unwrap_or_default())
}

/// A payment for each of the merchants, in one transaction, again and again.
async fn pay(lab: &Lab, merchants: &[String]) -> anyhow::Result<()> {
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    for round in 1..=ROUNDS {
        sqlx::query(
            "insert into payments (merchant_id, amount, currency)
             select unnest($1::text[]), $2, 'USD'",
        )
        .bind(merchants)
        .bind(round)
        .execute(&mut db)
        .await?;
        tokio::time::sleep(PAUSE).await;
    }
    until("the relay has announced all of it", SOON, async || {
        let behind: bool = sqlx::query_scalar(
            "select pg_current_wal_flush_lsn() > confirmed_flush_lsn from pg_replication_slots
             where slot_name = 'posthorn_relay'",
        )
        .fetch_one(&mut PgConnection::connect(&lab.database_url()?).await?)
        .await?;
        ensure!(!behind, "not yet");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_workers_are_away_an_endpoint_is_announced_a_handful_of_times()
-> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let (api, mut receivers, mut merchants) = (lab.api()?, Vec::new(), Vec::new());
    for n in 0..ENDPOINTS {
        let (receiver, name) = (Receiver::start().await?, merchant(&format!("away-{n}")));
        api.merchant(&name, receiver.url()).await?;
        receivers.push(receiver);
        merchants.push(name);
    }
    let (failing, beside) = (Receiver::start().await?, Receiver::start().await?);
    let (failing_name, beside_name) = (merchant("probed"), merchant("beside"));
    failing.script([Answer::Status(500)]);
    api.merchant(&failing_name, failing.url()).await?;
    api.merchant(&beside_name, beside.url()).await?;
    api.payment(&failing_name, 1).await?;
    until("it was refused once", SOON, async || {
        ensure!(failing.requests().len() == 1, "not yet");
        Ok(())
    })
    .await?;

    let up = Pid::from_raw(i32::try_from(lab.status()?.pid)?);
    kill(up, Signal::SIGSTOP)?;
    signal(&lab, "worker", Signal::SIGKILL)?;
    let gone = Instant::now();
    let paid = pay(&lab, &merchants).await;
    let restate = Api::new(&format!("http://127.0.0.1:{}", lab.ports()?.restate_admin))?;
    let most = most_invocations(&restate).await;
    kill(up, Signal::SIGCONT)?;
    let limit = if gone.elapsed() < TRIED_FOR { SOON } else { SWEPT };
    paid?;
    let most = most?;
    ensure!(most > 0, "nobody was announced to Restate");
    ensure!(most <= INVOCATIONS_MAX, "{most} invocations of {ROUNDS} payments at one endpoint");

    // The one whose time came meanwhile, and one that was not concerned, wait behind nobody.
    failing.wait_for(1, limit).await.context("the retry")?;
    api.payment(&beside_name, 1).await?;
    beside.wait_for(1, SOON).await.context("the one beside")?;
    for (receiver, name) in receivers.iter().zip(&merchants) {
        receiver.wait_for(usize::try_from(ROUNDS)?, limit).await.with_context(|| name.clone())?;
        let accepted = receiver.accepted();
        let amounts: Vec<_> =
            accepted.iter().filter_map(|it| it.json()["data"]["amount"].as_i64()).collect();
        ensure!(amounts == (1..=i64::from(ROUNDS)).collect::<Vec<_>>(), "{name}: {amounts:?}");
    }
    Ok(())
}
