//! What the schema draws and reads by itself: ids, and the trace of the caller's transaction.

use anyhow::ensure;
use sqlx::{Connection, PgConnection};
use uuid::{Timestamp, Uuid};

use crate::shared_lab;

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_a_uuid_of_version_seven_that_carries_its_time_and_ascends() -> anyhow::Result<()>
{
    let mut db = PgConnection::connect(&shared_lab().await?.database_url()?).await?;
    // Drawn in two statements, so that nothing is drawn once for all rows.
    let draw = "select uuidv7(), extract(epoch from clock_timestamp())::float8
                from generate_series(1, 5000)";
    let mut drawn: Vec<(Uuid, f64)> = sqlx::query_as(draw).fetch_all(&mut db).await?;
    drawn.extend(sqlx::query_as::<_, (Uuid, f64)>(draw).fetch_all(&mut db).await?);
    for (id, now) in &drawn {
        ensure!(id.get_version_num() == 7, "{id}");
        ensure!(id.get_variant() == uuid::Variant::RFC4122, "{id}");
        let (seconds, nanos) = id.get_timestamp().map_or((0, 0), |t: Timestamp| t.to_unix());
        let apart = now - (seconds as f64 + f64::from(nanos) / 1e9);
        ensure!((-0.002..0.5).contains(&apart), "{id} is {apart} s off");
    }
    // By the microsecond; what lies within one is as chance has it.
    let late =
        drawn.windows(2).filter(|pair| pair[0].0.as_u128() >> 64 > pair[1].0.as_u128() >> 64);
    ensure!(late.count() == 0, "ids go back in time");
    let mut ids: Vec<Uuid> = drawn.into_iter().map(|(id, _)| id).collect();
    ids.sort_unstable();
    ids.dedup();
    ensure!(ids.len() == 10_000, "an id was drawn twice");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_trace_is_taken_whole_or_not_at_all() -> anyhow::Result<()> {
    let mut db = PgConnection::connect(&shared_lab().await?.database_url()?).await?;
    let unset: Option<String> =
        sqlx::query_scalar("select current_traceparent()").fetch_one(&mut db).await?;
    ensure!(unset.is_none());
    let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let cases = [
        (good.to_owned(), Some(good)),
        (format!("x{good}"), None),
        (format!("{good}-more"), None),
        (good.to_uppercase(), None),
        (String::new(), None),
    ];
    for (told, taken) in cases {
        sqlx::query("select set_config('posthorn.traceparent', $1, false)")
            .bind(&told)
            .execute(&mut db)
            .await?;
        let read: Option<String> =
            sqlx::query_scalar("select current_traceparent()").fetch_one(&mut db).await?;
        ensure!(read.as_deref() == taken, "{told:?} was read as {read:?}");
    }
    Ok(())
}
