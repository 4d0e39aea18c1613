//! What comes beside an endpoint's turn (commands, the sweeper, the expiry), against a database of
//! the test's own.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use domain::endpoint::Ordering;
use domain::{DeliveryId, EndpointId};
use posthorn_tests::until;
use sqlx::Connection;
use sqlx::PgConnection;
use store::{
    Changes, Chore, Commanded, Found, Order, Reconfiguration, Reconfigured, Settled, Told,
};
use uuid::Uuid;

use crate::turn::{Bench, attempt, bench};

const IDLE: Duration = Duration::from_secs(60);

impl Bench {
    pub(crate) async fn run(&mut self, sql: &'static str) -> anyhow::Result<()> {
        sqlx::query(sql).execute(&mut self.db).await?;
        Ok(())
    }

    async fn tell(&self, endpoint: EndpointId, id: Uuid, told: Told) -> anyhow::Result<Commanded> {
        Ok(self.store.command(&Order { endpoint, id, actor: "ada", told }).await?)
    }

    /// Does the sweeper find the endpoint, when it looks for a minute of neglect?
    async fn is_found(&self) -> anyhow::Result<bool> {
        let found = self.store.endpoints_left_alone(IDLE, 10).await?.context("the lock")?;
        Ok(!found.is_empty())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweeper_leaves_alone_what_has_only_just_become_due() -> anyhow::Result<()> {
    let mut bench = bench("fresh", 1).await?;
    // Nobody ever looked at this endpoint; but nobody was late, either.
    ensure!(!bench.is_found().await?, "a delivery of this moment counts as neglected");
    bench.run("update deliveries set created_at = now() - interval '61 s'").await?;
    ensure!(bench.is_found().await?);
    bench.run("update endpoint_runtime set not_before = now() - interval '1 s'").await?;
    ensure!(!bench.is_found().await?, "its wait is over only now");
    bench.run("update endpoint_runtime set not_before = now() - interval '61 s'").await?;
    ensure!(bench.is_found().await?);
    bench.run("update deliveries set next_attempt_at = now() - interval '1 s'").await?;
    ensure!(!bench.is_found().await?, "it came back only now");
    bench.run("update deliveries set next_attempt_at = now() - interval '61 s'").await?;
    ensure!(bench.is_found().await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweeper_hops_over_endpoints_that_have_nothing_old() -> anyhow::Result<()> {
    let mut bench = bench("hops", 3).await?;
    bench
        .run(
            "insert into endpoints (merchant_id, url)
             select 'm', 'https://example.com/' from generate_series(1, 20)",
        )
        .await?;
    bench
        .run("insert into payments (merchant_id, amount, currency) select 'm', n, 'USD' from generate_series(1, 5) n")
        .await?;
    // Of every second endpoint the first in line is old; of one more, one that stepped aside.
    bench
        .run(
            "with numbered as (
                 select id, row_number() over (order by id) as n from endpoints)
             update deliveries d set created_at = now() - interval '2 min'
             from numbered e where e.id = d.endpoint_id and e.n % 2 = 0",
        )
        .await?;
    bench
        .run(
            "update deliveries set next_attempt_at = now() - interval '2 min'
             where id = (select id from deliveries
                 where endpoint_id = (select min(id::text)::uuid from endpoints)
                 order by sequence limit 1)",
        )
        .await?;
    let found = bench.store.endpoints_left_alone(IDLE, 100).await?.context("the lock")?;
    ensure!(found.len() == 11, "{} found", found.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_lets_go_is_due_from_then_on() -> anyhow::Result<()> {
    let mut bench = bench("told", 1).await?;
    bench.run("update deliveries set created_at = now() - interval '2 min'").await?;
    bench.tell(bench.endpoint, Uuid::now_v7(), Told::Pause).await?;
    bench.run("update endpoint_runtime set looked_at = now() - interval '2 min'").await?;
    ensure!(!bench.is_found().await?, "it is paused");
    bench.tell(bench.endpoint, Uuid::now_v7(), Told::Resume).await?;
    ensure!(!bench.is_found().await?, "the wake after the command has not had its minute");
    bench.run("update endpoint_runtime set looked_at = now() - interval '2 min'").await?;
    ensure!(bench.is_found().await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweeper_comes_for_a_deleted_endpoint_where_something_waits_or_nobody_looked_since()
-> anyhow::Result<()> {
    let mut bench = bench("deleted", 1).await?;
    // A transaction that saw the endpoint, and commits after it is gone.
    let mut open = PgConnection::connect(&bench.url).await?;
    let mut late = open.begin().await?;
    let pay = "insert into payments (merchant_id, amount, currency) values ('m', 2, 'USD')";
    sqlx::query(pay).execute(&mut *late).await?;
    bench.tell(bench.endpoint, Uuid::now_v7(), Told::Delete).await?;
    ensure!(bench.count("finished_deliveries where reason = 'deleted'").await? == 1);
    ensure!(!bench.is_found().await?, "the wake after the command has not had its minute");
    // Both are of one moment: the deletion counts as no look.
    ensure!(bench.count("endpoints join endpoint_runtime on deleted_at = looked_at").await? == 1);
    bench.run("update endpoint_runtime set looked_at = now() - interval '2 min'").await?;
    bench.run("update endpoints set deleted_at = now() - interval '2 min'").await?;
    ensure!(bench.is_found().await?, "nobody looked since: its object is there still");
    let looked = bench.store.look(bench.endpoint, 50, Uuid::new_v4()).await?;
    ensure!(looked.is_none());
    let long_ago = "update endpoint_runtime set looked_at = now() - interval '90 s',
        may_send = false, not_before = now() + interval '1 h'";
    bench.run(long_ago).await?;
    ensure!(!bench.is_found().await?, "somebody looked, and nothing waits");

    late.commit().await?;
    bench.run("update deliveries set created_at = now() - interval '61 s'").await?;
    ensure!(bench.is_found().await?, "what came late waits for ever");
    // The expiry would find it too, if nobody else did.
    bench.run(AGE).await?;
    bench.run("update endpoints set policy = '{\"expires_after_s\": 3600}'").await?;
    bench.alone().await?.expire_deliveries(None, 10).await?;
    ensure!(bench.count("finished_deliveries where reason = 'deleted'").await? == 2);
    ensure!(!bench.is_found().await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_share_their_wake_until_somebody_looks() -> anyhow::Result<()> {
    let bench = bench("fences", 1).await?;
    let told = async |id, told| match bench.tell(bench.endpoint, id, told).await? {
        Commanded::Done { fence, .. } => anyhow::Ok(fence),
        other => anyhow::bail!("{other:?}"),
    };
    let id = Uuid::now_v7();
    let first = told(id, Told::Pause).await?;
    ensure!(first.is_some() && told(Uuid::now_v7(), Told::Resume).await? == first);
    ensure!(told(id, Told::Pause).await? == first, "a repeat too");
    let (fence, _) = bench.look().await?;
    // That look may not have seen what is told from here on.
    ensure!(told(id, Told::Pause).await? == Some(fence));
    ensure!(told(Uuid::now_v7(), Told::Pause).await? == Some(fence));
    ensure!(told(Uuid::now_v7(), Told::Delete).await? == Some(fence));
    ensure!(told(id, Told::Pause).await?.is_none(), "it is no more");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settle_that_must_decide_again_hears_how_the_endpoint_is_dealt_with_now()
-> anyhow::Result<()> {
    let mut bench = bench("policy", 1).await?;
    let (fence, look) = bench.look().await?;
    bench.run("update endpoints set ordering = 'strict', policy = '{\"schedule_s\": [7]}'").await?;
    bench.tell(bench.endpoint, Uuid::now_v7(), Told::Pause).await?;
    let (row, decision) = attempt(&look.due[0], &look, 400);
    let Settled::Moved { policy, version, .. } =
        bench.settle(fence, &look, &row, &decision).await?
    else {
        anyhow::bail!("it was settled by rules of before")
    };
    ensure!(version == 1 && policy.ordering == Ordering::Strict, "{policy:?}");
    ensure!(policy.schedule.span() == Duration::from_secs(7), "{policy:?}");
    Ok(())
}

/// Makes every delivery older than it is, its id included.
const AGE: &str = "update deliveries set created_at = now() - interval '2 h',
    id = uuidv7_floor(now() - interval '2 h' + sequence * interval '1 s')";

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_expires_by_its_own_endpoints_limit() -> anyhow::Result<()> {
    let mut bench = bench("expires", 5).await?;
    bench.run(AGE).await?;
    // By the default they have 60 days.
    let alone = bench.alone().await?;
    ensure!(alone.expire_deliveries(None, 2).await?.ended.is_empty());
    bench.run("update endpoints set policy = '{\"expires_after_s\": 3600}'").await?;
    // In steps, each where the last one ended; nobody waits behind them.
    let (mut after, mut count) = (None, 0);
    loop {
        let step = alone.expire_deliveries(after, 2).await?;
        ensure!(step.unblocked.is_empty(), "{step:?}");
        (after, count) = (step.next, count + step.ended.len());
        if after.is_none() {
            break;
        }
    }
    ensure!(count == 5, "{count} expired");
    ensure!(bench.count("finished_deliveries where reason = 'expired'").await? == 5);
    ensure!(bench.count("deliveries").await? == 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_that_lets_others_go_says_so_and_they_are_due_from_then_on() -> anyhow::Result<()>
{
    let mut bench = bench("unblocks", 2).await?;
    let policy = "update endpoints set ordering = 'strict', policy = '{\"expires_after_s\": 3600}'";
    bench.run(policy).await?;
    let (fence, look) = bench.look().await?;
    let (row, decision) = crate::turn::attempt_by(&look.endpoint.policy, &look.due[0], &look, 400);
    bench.settle(fence, &look, &row, &decision).await?;
    // The first one blocks the second, and is old by now.
    bench
        .run(
            "update deliveries set created_at = now() - interval '2 h',
                 id = uuidv7_floor(now() - interval '2 h')
             where sequence = (select min(sequence) from deliveries)",
        )
        .await?;
    let old: Uuid = sqlx::query_scalar("select id from deliveries order by sequence limit 1")
        .fetch_one(&mut bench.db)
        .await?;
    // Its endpoint knows it by the id that it has now.
    sqlx::query(
        "update endpoint_runtime set looked_at = now() - interval '2 h',
             state = jsonb_set(state, '{blocked,delivery}', to_jsonb($1::text))",
    )
    .bind(DeliveryId::from(old).to_string())
    .execute(&mut bench.db)
    .await?;
    let step = bench.alone().await?.expire_deliveries(None, 10).await?;
    ensure!(step.ended.len() == 1, "{step:?}");
    ensure!(step.unblocked == [(bench.endpoint, DeliveryId::from(old))], "{step:?}");
    ensure!(bench.count("endpoint_runtime where looked_at > now() - interval '1 min'").await? == 1);
    ensure!(bench.count("endpoint_events where event ->> 'type' = 'unblocked'").await? == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_id_for_two_endpoints_in_the_same_moment_is_refused_by_name()
-> anyhow::Result<()> {
    let mut bench = bench("same_id", 0).await?;
    let id = Uuid::now_v7();
    bench
        .run("insert into endpoints (merchant_id, url) values ('m', 'https://other.example/')")
        .await?;
    let other: Uuid = sqlx::query_scalar("select id from endpoints where id <> $1")
        .bind(bench.endpoint.uuid())
        .fetch_one(&mut bench.db)
        .await?;
    // The other endpoint's command is written and not yet committed.
    let mut tx = bench.db.begin().await?;
    sqlx::query(
        "insert into endpoint_commands (command_id, endpoint_id, command, actor, answer)
         values ($1, $2, '{\"is\": \"pause\"}', 'ada', '{}')",
    )
    .bind(id)
    .bind(other)
    .execute(&mut *tx)
    .await?;
    let (store, endpoint) = (bench.store.clone(), bench.endpoint);
    let told = tokio::spawn(async move {
        store.command(&Order { endpoint, id, actor: "ada", told: Told::Pause }).await
    });
    let url = bench.url.clone();
    until("the second one waits for the first", Duration::from_secs(20), async || {
        let mut db = PgConnection::connect(&url).await?;
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock'",
        )
        .fetch_one(&mut db)
        .await?;
        ensure!(waiting == 1, "{waiting} wait");
        Ok(())
    })
    .await?;
    tx.commit().await?;
    let told = told.await??;
    ensure!(told == Commanded::OtherCommand, "{told:?}");
    // It left nothing.
    ensure!(bench.count("endpoint_events").await? == 0);
    ensure!(bench.count("endpoint_runtime where version > 0").await? == 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hourly_chores_are_one_processes_at_a_time() -> anyhow::Result<()> {
    let bench = bench("alone", 0).await?;
    let mine = bench.alone().await?;
    // As another process has it.
    let other = store::Store::new(&bench.url, "posthorn-tests", 2)?;
    ensure!(other.alone(Chore::Upkeep).await?.is_none(), "two do it at once");
    ensure!(other.alone(Chore::Forgetting).await?.is_some(), "the api's chores are others");
    drop(mine);
    until("the other one may", Duration::from_secs(20), async || {
        ensure!(other.alone(Chore::Upkeep).await?.is_some(), "nobody does it");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn very_many_take_their_places_again_in_bounded_steps_before_the_order_is_strict()
-> anyhow::Result<()> {
    let mut bench = bench("strict", 1_201).await?;
    bench.run("update deliveries set next_attempt_at = now() + interval '1 h'").await?;
    let changes = Changes { ordering: Some(Ordering::Strict), ..Changes::default() };
    let change = Reconfiguration {
        endpoint: bench.endpoint,
        id: Uuid::now_v7(),
        actor: "ada",
        digest: &[7; 32],
        changes,
    };
    let done = bench.store.reconfigure(&change).await?;
    ensure!(matches!(done, Reconfigured::Done { .. }), "{done:?}");
    ensure!(bench.count("deliveries where next_attempt_at is null").await? == 1_201);
    ensure!(bench.count("endpoints where ordering = 'strict'").await? == 1);
    ensure!(bench.count("endpoint_events").await? == 1);
    let most: i64 = sqlx::query_scalar(
        "select max(n) from (select count(*) as n from deliveries group by xmin::text) written",
    )
    .fetch_one(&mut bench.db)
    .await?;
    ensure!(most <= 500, "{most} in one transaction");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_is_under_way_is_told_from_one_that_was_not_made() -> anyhow::Result<()> {
    let Bench { store, url, mut db, endpoint } = bench("under_way", 0).await?;
    let unknown = EndpointId::from(Uuid::now_v7());
    let fence = async || {
        let fences = store.fences(&[endpoint, unknown]).await?;
        let [(found, fence)] = fences.as_slice() else { bail!("{fences:?}") };
        ensure!(*found == endpoint);
        Ok(*fence)
    };
    let first = fence().await?;
    ensure!(first.is_some() && first == fence().await?, "nobody looked");
    let mut beside = PgConnection::connect(&url).await?;
    for (ends, is_changed) in [("rollback", false), ("commit", true)] {
        sqlx::query("begin").execute(&mut beside).await?;
        sqlx::query("update endpoint_runtime set fence = $1 where endpoint_id = $2")
            .bind(Uuid::new_v4())
            .bind(endpoint.uuid())
            .execute(&mut beside)
            .await?;
        ensure!(fence().await?.is_none(), "it is under way");
        sqlx::query(ends).execute(&mut beside).await?;
        let then = fence().await?;
        ensure!(then.is_some() && (then != first) == is_changed, "after {ends}: {then:?}");
    }
    let referring: i64 = sqlx::query_scalar(
        "select count(*) from pg_constraint where confrelid = 'endpoint_runtime'::regclass",
    )
    .fetch_one(&mut db)
    .await?;
    ensure!(referring == 0, "a foreign key's lock would look like nobody's");
    sqlx::query("delete from endpoint_runtime").execute(&mut db).await?;
    ensure!(store.fences(&[endpoint]).await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_is_being_put_back_in_line_is_not_taken_for_a_finished_one()
-> anyhow::Result<()> {
    let bench = bench("found", 1).await?;
    let (fence, look) = bench.look().await?;
    let delivery = look.due[0].facts.id;
    let (row, decision) = attempt(&look.due[0], &look, 200);
    ensure!(bench.store.find_delivery(delivery).await? == Found::Waiting);
    bench.settle(fence, &look, &row, &decision).await?;
    ensure!(bench.store.find_delivery(delivery).await? == Found::Finished);
    ensure!(bench.store.find_delivery(Uuid::now_v7().into()).await? == Found::Nowhere);
    let mut beside = PgConnection::connect(&bench.url).await?;
    for (ends, then) in [("rollback", Found::Finished), ("commit", Found::Waiting)] {
        sqlx::query("begin").execute(&mut beside).await?;
        // As a redelivery does it.
        sqlx::query(
            "with back as (delete from finished_deliveries returning *)
             insert into deliveries (id, endpoint_id, event_id, merchant_id, event_type, object_id,
                 occurred_at, attempts)
             select id, endpoint_id, event_id, merchant_id, event_type, object_id, occurred_at,
                 attempts from back",
        )
        .execute(&mut beside)
        .await?;
        let found = bench.store.find_delivery(delivery).await?;
        ensure!(found == Found::Nowhere, "before its {ends}: {found:?}");
        sqlx::query(ends).execute(&mut beside).await?;
        let found = bench.store.find_delivery(delivery).await?;
        ensure!(found == then, "after its {ends}: {found:?}");
    }
    Ok(())
}
