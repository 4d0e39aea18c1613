//! A round of the sweeper, before and beside very many finished deliveries.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use posthorn_tests::{Lab, Receiver};
use sqlx::{Connection, PgConnection};
use store::{Chore, Store};

const ROUNDS: usize = 21;
/// Endpoints that have something waiting, and how much each; none of it is due.
const ENDPOINTS: i32 = 1_000;
const WAITING: i32 = 50;
/// Rows of one statement.
const AT_ONCE: i64 = 500_000;

pub(crate) async fn measure(finished: i64) -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let store = Store::new(&lab.database_url()?, "posthorn-figures", 2)?;
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    api.merchant("figures", receiver.url()).await?;
    sqlx::query(
        "insert into endpoints (merchant_id, url)
         select 'figures', 'https://example.com/' || n from generate_series(1, $1) n",
    )
    .bind(ENDPOINTS)
    .execute(&mut db)
    .await?;
    // Every one of them waits for its merchant, for longer than this takes.
    sqlx::query("update endpoint_runtime set not_before = now() + interval '1 day'")
        .execute(&mut db)
        .await?;
    sqlx::query(
        "insert into payments (merchant_id, amount, currency)
         select 'figures', n, 'USD' from generate_series(1, $1) n",
    )
    .bind(WAITING)
    .execute(&mut db)
    .await?;
    sqlx::raw_sql("vacuum analyze deliveries").execute(&mut db).await?;
    println!("{} endpoints with {WAITING} waiting deliveries each", ENDPOINTS + 1);
    println!("no finished delivery: {}", rounds(&store).await?);
    let began = Instant::now();
    let mut left = finished;
    while left > 0 {
        insert(&mut db, left.min(AT_ONCE)).await?;
        left -= AT_ONCE;
    }
    println!("{finished} finished deliveries were inserted in {:.0?}", began.elapsed());
    sqlx::raw_sql("vacuum analyze finished_deliveries").execute(&mut db).await?;
    println!("{finished} finished deliveries: {}", rounds(&store).await?);
    let began = Instant::now();
    let alone = store.alone(Chore::Upkeep).await?.context("another one is at it")?;
    alone.expire_deliveries(None, 200).await?;
    println!("a look for what has expired: {:.1?}", began.elapsed());
    Ok(())
}

async fn insert(db: &mut PgConnection, count: i64) -> anyhow::Result<()> {
    sqlx::query(
        "insert into finished_deliveries (id, sequence, endpoint_id, event_id, merchant_id,
             event_type, object_id, occurred_at, xid, created_at, attempts, refusals,
             first_attempt_at, poisonous, state, reason)
         select uuidv7(), n, e.id, uuidv7(), 'figures', 'payment.succeeded', 'pay_' || uuidv7(),
             now(), pg_current_xact_id(), now(), 1, 0, now(), false, 'delivered', 'accepted'
         from generate_series(1, $1) n
         join (select id, row_number() over () as place from endpoints) e
             on e.place = n % $2 + 1",
    )
    .bind(count)
    .bind(i64::from(ENDPOINTS))
    .execute(db)
    .await?;
    Ok(())
}

/// The median and the longest of some rounds.
async fn rounds(store: &Store) -> anyhow::Result<String> {
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        store.endpoints_left_alone(Duration::from_secs(60), 1_000).await?;
        took.push(began.elapsed());
    }
    took.sort();
    let (median, longest) = (took[ROUNDS / 2], took[ROUNDS - 1]);
    Ok(format!("a round takes {median:.1?} (median of {ROUNDS}; longest {longest:.1?})"))
}
