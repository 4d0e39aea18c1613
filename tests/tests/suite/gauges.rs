//! What the store tells of what waits, of endpoints and of slots, against rows that were put there.

use anyhow::{Context, ensure};
use sqlx::Executor;
use store::{Standings, Sums};

use crate::turn::bench;

/// Are they the same, but for what passes while a test looks?
fn near(told: f64, put: f64) -> bool {
    (put..put + 30.0).contains(&told)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_summed_up_by_why_and_named_where_it_is_worst() -> anyhow::Result<()> {
    let mut bench = bench("backlog", 0).await?;
    ensure!(bench.store.backlog().await? == store::Backlog::default(), "nothing waits");
    // Fifty merchants: the nth has n deliveries, which are the younger the more they are.
    bench
        .db
        .execute(
            "insert into merchants (merchant_id, name)
                 select 'm' || n, 'M' from generate_series(1, 50) n;
             insert into endpoints (merchant_id, url)
                 select 'm' || n, 'https://example.com/' from generate_series(1, 50) n;
             insert into payments (merchant_id, amount, currency)
                 select 'm' || n, 1, 'USD' from generate_series(1, 50) n, generate_series(1, n);
             update deliveries set created_at =
                 now() - (interval '60 s' * (100 - substr(merchant_id, 2)::int));
             update endpoint_runtime r set may_send = false from endpoints e
                 where e.id = r.endpoint_id and e.merchant_id = 'm50';
             update endpoint_runtime r set not_before = now() + interval '1 h' from endpoints e
                 where e.id = r.endpoint_id and e.merchant_id = 'm49';
             update deliveries set next_attempt_at = now() + interval '1 h'
                 where id in (select id from deliveries where merchant_id = 'm48' limit 40);
             update deliveries set next_attempt_at = now() - interval '10 s'
                 where merchant_id = 'm1'",
        )
        .await?;
    let told = bench.store.backlog().await?;
    ensure!((told.held, told.backoff, told.aside, told.due) == (50, 49, 40, 1136), "{told:?}");
    // The first one's came back 10 s ago, so the second one's is the oldest that is due.
    ensure!(near(told.oldest_due_s, 98.0 * 60.0), "{told:?}");
    ensure!(near(told.oldest_waiting_s, 99.0 * 60.0), "{told:?}");
    let of = |n: i64| {
        let merchant = format!("m{n}");
        told.named.iter().find(|one| one.merchant_id == merchant)
    };
    // The most that waits (31 to 50), the most that is due (28 to 47), the oldest that is due (2 to 21).
    for n in 1..=50_i64 {
        ensure!(of(n).is_some() == ((2..=21).contains(&n) || n >= 28), "{n}: {told:?}");
    }
    let one = |n| of(n).map(|one| (one.sums.waiting, one.sums.due)).context("not named");
    ensure!(one(2)? == (2, 2) && one(47)? == (47, 47), "{told:?}");
    ensure!(one(48)? == (48, 8) && one(49)? == (49, 0) && one(50)? == (50, 0), "{told:?}");
    let age = |n| of(n).map(|one| one.sums.due_s).context("not named");
    ensure!(near(age(30)?, 70.0 * 60.0) && age(49)? < 0.1, "{told:?}");
    // The others are the first one, and 22 to 27.
    let Sums { waiting, due, due_s } = told.rest;
    ensure!((waiting, due) == (148, 148) && near(due_s, 78.0 * 60.0), "{told:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_are_counted_by_status_breaker_and_fault() -> anyhow::Result<()> {
    let mut bench = bench("standings", 1).await?;
    bench
        .db
        .execute(
            "insert into endpoints (merchant_id, url)
                 select 'm', 'https://example.com/' from generate_series(1, 9);
             create temporary table nth as
                 select endpoint_id, row_number() over (order by endpoint_id) as n
                 from endpoint_runtime;
             update endpoint_runtime r set state = r.state || v.state::jsonb,
                 not_before = now() + v.wait::interval
             from nth join (values
                 (2, '{\"status\": {\"is\": \"paused\"}}', null),
                 (3, '{\"status\": {\"is\": \"disabled\", \"reason\": \"gone\"}}', null),
                 (4, '{\"breaker\": {\"is\": \"open\"}}', '1 h'),
                 (5, '{\"breaker\": {\"is\": \"open\"}}', '1 h'),
                 (6, '{\"breaker\": {\"is\": \"open\"}}', '-1 s'),
                 (7, '{\"fault\": {\"fault\": \"busy\"}}', '1 h')) v (n, state, wait) using (n)
             where r.endpoint_id = nth.endpoint_id;
             update endpoints set deleted_at = now()
                 where id = (select endpoint_id from nth where n = 8);
             update deliveries set fault = 'payload_missing', fault_since = now()
                 where endpoint_id = (select endpoint_id from nth where n = 1)",
        )
        .await?;
    let mut told = bench.store.standings().await?;
    let kind = |status: &str, breaker: &str, fault: &str, count| Standings {
        status: status.to_owned(),
        breaker: breaker.to_owned(),
        fault: fault.to_owned(),
        count,
    };
    told.sort_by_key(|kind| format!("{kind:?}"));
    let put = [
        kind("active", "closed", "", 2),
        kind("active", "closed", "busy", 1),
        kind("active", "closed", "payload_missing", 1),
        kind("active", "half_open", "", 1),
        kind("active", "open", "", 2),
        kind("disabled_gone", "closed", "", 1),
        kind("paused", "closed", "", 1),
    ];
    ensure!(told == put, "{told:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_relay_has_not_confirmed_has_an_age_and_a_size() -> anyhow::Result<()> {
    let mut bench = bench("relay_lag", 2).await?;
    ensure!(bench.store.relay_lag_s().await? < 0.001, "no relay was ever here");
    let confirmed = "insert into relay_progress (slot, committed_at)
             values ('posthorn_lag', now() - interval '40 s')";
    bench.db.execute(confirmed).await?;
    bench.db.execute("update deliveries set created_at = now() - interval '35 s'").await?;
    let behind = bench.store.relay_lag_s().await?;
    ensure!(near(behind, 35.0), "{behind} s");
    bench.db.execute("update relay_progress set committed_at = now() + interval '2 s'").await?;
    ensure!(bench.store.relay_lag_s().await? < 0.001, "all of it is confirmed");

    let slot = "select pg_create_logical_replication_slot('posthorn_lag', 'pgoutput')";
    bench.db.execute(slot).await?;
    bench.db.execute("select pg_logical_emit_message(false, 'x', repeat('x', 3000000))").await?;
    bench.db.execute("select pg_switch_wal()").await?;
    let told = bench.store.slot_sizes().await;
    bench.db.execute("select pg_drop_replication_slot('posthorn_lag')").await?;
    let told = told?;
    // Slots of other databases are not this one's.
    ensure!(told.len() == 1 && told[0].slot == "posthorn_lag" && !told[0].active, "{told:?}");
    ensure!((3_000_000..=told[0].retained_bytes).contains(&told[0].lag_bytes), "{told:?}");
    // One that is gone is not there only where another producer announces.
    let told = bench.store.slot_sizes().await?;
    ensure!(told.len() == 1 && told[0].slot == "posthorn_lag" && !told[0].active, "{told:?}");
    bench.db.execute("update relay_progress set committed_at = now() - interval '40 s'").await?;
    ensure!(bench.store.relay_lag_s().await? > 30.0);
    bench.db.execute("insert into cdc_producer (name) values ('sequin')").await?;
    ensure!(bench.store.slot_sizes().await?.is_empty());
    ensure!(bench.store.relay_lag_s().await? < 0.001, "what waits, Sequin has announced");
    Ok(())
}
