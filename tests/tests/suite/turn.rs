//! The two transactions of an endpoint's turn, against a database of the test's own.

use std::time::Duration;

use anyhow::{Context, ensure};
use domain::endpoint::{Command, Decision, EndpointState, Jitter, Policy, decide};
use domain::{AttemptId, EndpointId, Outcome};
use sqlx::{Connection, PgConnection, Row};
use store::{Alone, AttemptRow, Chore, DueDelivery, Look, Order, Settled, Settlement, Store, Told};
use uuid::Uuid;

use crate::shared_lab;

/// A migrated database without a relay, and an endpoint with some deliveries in it.
pub(crate) struct Bench {
    pub(crate) store: Store,
    pub(crate) url: String,
    pub(crate) db: PgConnection,
    pub(crate) endpoint: EndpointId,
}

pub(crate) async fn bench(name: &str, payments: i32) -> anyhow::Result<Bench> {
    let url = shared_lab().await?.database_url()?;
    let mut server = PgConnection::connect(&url).await?;
    let database = format!("turn_{name}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("create database {database}")))
        .execute(&mut server)
        .await?;
    let (server_url, _) = url.rsplit_once('/').context("a database URL")?;
    let url = format!("{server_url}/{database}");
    let store = Store::new(&url, "posthorn-tests", 4)?;
    store.migrate().await?;
    // A second time changes nothing.
    store.migrate().await?;
    let mut db = PgConnection::connect(&url).await?;
    sqlx::query("insert into merchants (merchant_id, name) values ('m', 'M')")
        .execute(&mut db)
        .await?;
    let endpoint: Uuid = sqlx::query(
        "insert into endpoints (merchant_id, url) values ('m', 'https://example.com/') returning id",
    )
    .fetch_one(&mut db)
    .await?
    .try_get(0)?;
    sqlx::query(
        "insert into payments (merchant_id, amount, currency)
         select 'm', n, 'USD' from generate_series(1, $1) n",
    )
    .bind(payments)
    .execute(&mut db)
    .await?;
    Ok(Bench { store, url, db, endpoint: endpoint.into() })
}

impl Bench {
    pub(crate) async fn look(&self) -> anyhow::Result<(Uuid, Look)> {
        let fence = Uuid::new_v4();
        let look = self.store.look(self.endpoint, 50, fence).await?.context("an endpoint")?;
        Ok((fence, look))
    }

    pub(crate) async fn settle(
        &self,
        fence: Uuid,
        look: &Look,
        attempt: &AttemptRow,
        decision: &Decision,
    ) -> anyhow::Result<Settled> {
        let state = decision.state_after(look.state);
        let settlement = Settlement {
            endpoint: self.endpoint,
            fence,
            version: look.version,
            attempt,
            decision,
            state: &state,
        };
        Ok(self.store.settle(&settlement).await?)
    }

    /// The right to the hourly chores.
    pub(crate) async fn alone(&self) -> anyhow::Result<Alone> {
        self.store.alone(Chore::Upkeep).await?.context("another one is at it")
    }

    pub(crate) async fn count(&mut self, table: &str) -> anyhow::Result<i64> {
        let sql = format!("select count(*) from {table}");
        Ok(sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_one(&mut self.db).await?.try_get(0)?)
    }
}

pub(crate) fn attempt(delivery: &DueDelivery, look: &Look, status: u16) -> (AttemptRow, Decision) {
    attempt_by(&Policy::default(), delivery, look, status)
}

pub(crate) fn attempt_by(
    policy: &Policy,
    delivery: &DueDelivery,
    look: &Look,
    status: u16,
) -> (AttemptRow, Decision) {
    let outcome = Outcome::of_status(status, None);
    let row = AttemptRow {
        id: AttemptId::from(Uuid::now_v7()),
        delivery_id: delivery.facts.id,
        started_at: look.now,
        duration: Duration::from_millis(3),
        outcome,
        detail: serde_json::json!({}),
    };
    let command = Command::Settle { delivery: delivery.facts, outcome, started_at: look.now };
    let decision = decide(&look.state, policy, &command, look.now, Jitter::NONE);
    (row, decision)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_sees_what_is_due_by_sequence_and_no_more_than_its_limit() -> anyhow::Result<()> {
    let bench = bench("look", 60).await?;
    let (_, look) = bench.look().await?;
    ensure!(look.due.len() == 50 && look.version == 0 && look.state == EndpointState::default());
    let amounts: Vec<_> = look.due.iter().map(|due| due.facts.id).collect();
    let (_, again) = bench.look().await?;
    ensure!(again.due.iter().map(|due| due.facts.id).collect::<Vec<_>>() == amounts);
    let nobody = bench.store.look(Uuid::now_v7().into(), 1, Uuid::new_v4()).await?;
    ensure!(nobody.is_none());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn settling_twice_with_one_attempt_writes_it_once() -> anyhow::Result<()> {
    let mut bench = bench("twice", 1).await?;
    let (fence, look) = bench.look().await?;
    let (row, decision) = attempt(&look.due[0], &look, 200);
    for _ in 0..2 {
        let settled = bench.settle(fence, &look, &row, &decision).await?;
        ensure!(matches!(settled, Settled::Done { version: 0, .. }), "{settled:?}");
    }
    ensure!(bench.count("attempts").await? == 1);
    ensure!(bench.count("finished_deliveries").await? == 1);
    ensure!(bench.count("deliveries").await? == 0);
    // A success that changes nothing writes no event.
    ensure!(bench.count("endpoint_events").await? == 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settle_that_lost_its_fence_keeps_the_attempt_and_nothing_else() -> anyhow::Result<()> {
    let mut bench = bench("fence", 1).await?;
    let (old, look) = bench.look().await?;
    let (new, newer) = bench.look().await?;
    let (row, decision) = attempt(&look.due[0], &look, 500);
    ensure!(bench.settle(old, &look, &row, &decision).await? == Settled::FenceLost);
    ensure!(bench.count("attempts where fence_lost").await? == 1);
    ensure!(bench.count("endpoint_events").await? == 0);
    ensure!(bench.count("deliveries where attempts = 0").await? == 1);
    let (row, decision) = attempt(&newer.due[0], &newer, 200);
    let settled = bench.settle(new, &newer, &row, &decision).await?;
    ensure!(matches!(settled, Settled::Done { .. }), "{settled:?}");
    ensure!(bench.count("attempts where number = 2").await? == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_was_only_kept_counts_no_more_when_its_fence_is_back() -> anyhow::Result<()>
{
    let mut bench = bench("kept", 1).await?;
    let (old, look) = bench.look().await?;
    bench.look().await?;
    let (row, decision) = attempt(&look.due[0], &look, 200);
    ensure!(bench.settle(old, &look, &row, &decision).await? == Settled::FenceLost);
    // A look of the same run that the server had not begun when it was given up.
    bench.store.look(bench.endpoint, 50, old).await?.context("an endpoint")?;
    ensure!(bench.settle(old, &look, &row, &decision).await? == Settled::FenceLost);
    ensure!(bench.count("deliveries").await? == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_their_fold_are_written_together_and_an_older_version_must_decide_again()
-> anyhow::Result<()> {
    let mut bench = bench("moved", 2).await?;
    let (fence, look) = bench.look().await?;
    let (row, decision) = attempt(&look.due[0], &look, 503);
    let Settled::Done { state, version, .. } = bench.settle(fence, &look, &row, &decision).await?
    else {
        anyhow::bail!("not settled")
    };
    ensure!(version == 1 && state == decision.state_after(look.state));
    ensure!(bench.count("endpoint_events").await? == 1);
    ensure!(bench.count("deliveries where attempts = 1 and next_attempt_at is null").await? == 1);
    // The version that this one was decided on is no longer the last.
    let (row, decision) = attempt(&look.due[1], &look, 503);
    let moved = bench.settle(fence, &look, &row, &decision).await?;
    let policy = Policy::default();
    ensure!(moved == Settled::Moved { state, version: 1, policy }, "{moved:?}");
    ensure!(bench.count("attempts").await? == 1, "a settle that moved writes nothing");
    // Now everything waits.
    let (_, look) = bench.look().await?;
    ensure!(look.due.is_empty() && look.state.waits_until(look.now).is_some());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweeper_sees_who_was_left_alone_and_nobody_else() -> anyhow::Result<()> {
    let bench = bench("sweep", 3).await?;
    let left = bench.store.endpoints_left_alone(Duration::ZERO, 10).await?.context("the lock")?;
    ensure!(left.len() == 1 && left[0].endpoint == bench.endpoint, "{left:?}");
    let (fence, look) = bench.look().await?;
    let idle = Duration::from_secs(60);
    ensure!(bench.store.endpoints_left_alone(idle, 10).await? == Some(vec![]));
    let (row, decision) = attempt(&look.due[0], &look, 503);
    bench.settle(fence, &look, &row, &decision).await?;
    // It waits: nobody left it alone.
    ensure!(bench.store.endpoints_left_alone(Duration::ZERO, 10).await? == Some(vec![]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_there_ahead_of_time_and_nothing_lies_in_the_default_ones()
-> anyhow::Result<()> {
    let mut bench = bench("partitions", 3).await?;
    let alone = bench.alone().await?;
    ensure!(alone.create_partitions_ahead().await? == 0);
    sqlx::raw_sql("drop table attempts_default, domain_events_default")
        .execute(&mut bench.db)
        .await?;
    let newest: String = sqlx::query(
        "select max(inhrelid::regclass::text) from pg_inherits
         where inhparent = 'attempts'::regclass",
    )
    .fetch_one(&mut bench.db)
    .await?
    .try_get(0)?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("drop table {newest}")))
        .execute(&mut bench.db)
        .await?;
    ensure!(alone.create_partitions_ahead().await? == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_look_asks_whether_anything_is_due_and_takes_no_turn() -> anyhow::Result<()> {
    let mut bench = bench("last_look", 1).await?;
    let (fence, look) = bench.look().await?;
    let saw = bench.store.last_look(bench.endpoint).await?.context("an endpoint")?;
    ensure!(saw.is_due && saw.next_due.is_none() && saw.now >= look.now, "{saw:?}");
    let (row, decision) = attempt(&look.due[0], &look, 200);
    let settled = bench.settle(fence, &look, &row, &decision).await?;
    ensure!(matches!(settled, Settled::Done { .. }), "the turn was taken: {settled:?}");
    let saw = bench.store.last_look(bench.endpoint).await?.context("an endpoint")?;
    ensure!(saw.version == 0, "nothing has happened: {saw:?}");
    let mut told = Vec::new();
    for command in [Told::Pause, Told::Resume] {
        let (endpoint, id) = (bench.endpoint, Uuid::now_v7());
        bench.store.command(&Order { endpoint, id, actor: "ada", told: command }).await?;
        let saw = bench.store.last_look(bench.endpoint).await?.context("an endpoint")?;
        told.push((saw.version, saw.is_due));
    }
    ensure!(told == [(1, false), (2, false)], "{told:?}");

    // After what: is something due, and is there something to come?
    let steps = [
        ("select", false, false),
        (
            "insert into payments (merchant_id, amount, currency) values ('m', 2, 'USD')",
            true,
            false,
        ),
        ("update deliveries set next_attempt_at = now() + interval '1 hour'", false, true),
        ("update deliveries set next_attempt_at = now()", true, true),
        ("update endpoint_runtime set not_before = now() + interval '1 hour'", false, false),
        ("update endpoint_runtime set not_before = now()", true, true),
        ("update endpoint_runtime set may_send = false", false, false),
        ("update endpoint_runtime set may_send = true", true, true),
    ];
    for (step, is_due, is_to_come) in steps {
        sqlx::query(step).execute(&mut bench.db).await?;
        let saw = bench.store.last_look(bench.endpoint).await?.context("an endpoint")?;
        ensure!(saw.is_due == is_due && saw.next_due.is_some() == is_to_come, "{step}: {saw:?}");
    }
    sqlx::query("update endpoints set deleted_at = now()").execute(&mut bench.db).await?;
    ensure!(bench.store.last_look(bench.endpoint).await?.is_none(), "deleted");
    ensure!(bench.store.last_look(Uuid::now_v7().into()).await?.is_none(), "nobody");
    Ok(())
}
