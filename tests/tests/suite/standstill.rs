//! What must not stand still behind something that waits: payments behind the maintainer of
//! partitions, a stop of the relay behind a transaction that stays invisible.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use posthorn_tests::{Receiver, until};
use sqlx::{Connection, Executor, PgConnection};

use crate::{crash, merchant};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn new_partitions_do_not_wait_behind_a_reader() -> anyhow::Result<()> {
    let lab = crash::lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("partitions");
    api.merchant(&merchant, receiver.url()).await?;
    let url = lab.database_url()?;
    let mut maintainer = PgConnection::connect(&url).await?;
    let (last,): (String,) = sqlx::query_as(
        "select max(inhrelid::regclass::text) from pg_inherits
         where inhparent = 'domain_events'::regclass
           and inhrelid::regclass::text <> 'domain_events_default'",
    )
    .fetch_one(&mut maintainer)
    .await?;
    maintainer.execute(sqlx::AssertSqlSafe(format!("drop table {last}"))).await?;
    let create = "select create_partitions_ahead('domain_events', 4)";

    let outcome = async {
        let mut reader = PgConnection::connect(&url).await?;
        let mut read = reader.begin().await?;
        read.execute("lock table domain_events in access share mode").await?;
        let begun = Instant::now();
        let maintained = tokio::spawn(async move {
            let refused = maintainer.execute(create).await.err();
            refused.and_then(|error| Some(error.as_database_error()?.code()?.into_owned()))
        });
        api.payment(&merchant, 1).await?;
        let code = maintained.await?;
        ensure!(code.as_deref() == Some("55P03"), "{code:?}");
        ensure!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        Ok(read.rollback().await?)
    }
    .await;
    // Whatever came of it: the tests that follow need it.
    let is_made_again = until("the partition is made again", SOON, async || {
        PgConnection::connect(&url).await?.execute(create).await?;
        Ok(())
    })
    .await;
    outcome.and(is_made_again)?;
    receiver.wait_for(1, SOON).await?;
    Ok(())
}

/// Waits until a commit waits for the standby: a server takes its time to see its configuration.
pub(crate) async fn commits_wait(url: &str) -> anyhow::Result<()> {
    let mut admin = PgConnection::connect(url).await?;
    until("commits wait", SOON, async || {
        let mut db = PgConnection::connect(url).await?;
        let emit = "select pg_logical_emit_message(true, 'test', 'x')";
        let returned = tokio::time::timeout(Duration::from_millis(300), db.execute(emit)).await;
        ensure!(returned.is_err(), "a commit returned");
        Ok(())
    })
    .await?;
    // Its session would wait for good.
    admin
        .execute(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where wait_event = 'SyncRep' and query like '%emit_message%'",
        )
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_is_stopped_in_order_while_readers_do_not_see_a_transaction() -> anyhow::Result<()>
{
    let lab = crash::lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("invisible");
    api.merchant(&merchant, receiver.url()).await?;
    let relay = || -> anyhow::Result<u32> {
        let services = lab.status()?.services;
        let relay = services.iter().find(|service| service.name == "relay").context("a relay")?;
        relay.pid.context("its pid")
    };
    let (pid, log) = (relay()?, lab.dir().join("log/relay.log"));
    let mut admin = PgConnection::connect(&lab.database_url()?).await?;
    // A standby that is away: what commits is in the WAL, and nobody sees it.
    admin.execute("alter system set synchronous_standby_names = 'nobody'").await?;
    admin.execute("select pg_reload_conf()").await?;
    let outcome = async {
        commits_wait(&lab.database_url()?).await?;
        // Not by the api, which gives up on a commit that waits for so long.
        let mut db = PgConnection::connect(&lab.database_url()?).await?;
        let paying = async {
            sqlx::query(
                "insert into payments (merchant_id, amount, currency) values ($1, 1, 'USD')",
            )
            .bind(&merchant)
            .execute(&mut db)
            .await?;
            Ok(())
        };
        let stopping = async {
            let behind = std::fs::read_to_string(&log)?.len();
            let seen = async |word: &'static str| {
                until(word, SOON, async || {
                    let log = std::fs::read_to_string(&log)?;
                    ensure!(log.get(behind..).unwrap_or_default().contains(word));
                    Ok(())
                })
                .await
            };
            seen("readers do not see yet").await?;
            kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
            seen("stopped; Kafka has what was read").await?;
            admin.execute("alter system reset synchronous_standby_names").await?;
            admin.execute("select pg_reload_conf()").await?;
            anyhow::Ok(())
        };
        tokio::try_join!(paying, stopping).map(drop)
    }
    .await;
    let is_reset = async {
        admin.execute("alter system reset synchronous_standby_names").await?;
        admin.execute("select pg_reload_conf()").await?;
        Ok(())
    }
    .await;
    outcome.and(is_reset)?;
    receiver.wait_for(1, SOON).await?;
    Ok(())
}
