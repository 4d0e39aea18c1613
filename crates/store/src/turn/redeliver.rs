//! Deliveries that are over, put back in line: the same delivery with a new place at its end.
//!
//! Its attempts stay and go on counting; its schedule begins anew. It is a new row of the outbox
//! with a number and a transaction of its own, so it is announced like one that is new. Never more
//! than one bounded statement at a time: the endpoint's lock is held.

use std::time::Duration;

use domain::{DeliveryId, EndpointId};
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::StoreError;

/// How many come back in one transaction: some ten milliseconds under the endpoint's lock.
const AT_ONCE: i64 = 500;
/// What ended longer ago stays: merchants have long settled it otherwise.
const REDELIVERABLE_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// What came back.
pub(super) struct Back {
    /// How many.
    pub count: u32,
    /// The statement was full: there may be more.
    pub more: bool,
}

/// Ends a statement whose `chosen` names the ids; both lock order and numbers follow the sequence.
macro_rules! put_back {
    ($chosen:literal) => {
        concat!(
            "with chosen as (",
            $chosen,
            "), back as (
                 delete from finished_deliveries f using chosen c where f.id = c.id returning f.*)
             insert into deliveries (id, endpoint_id, event_id, merchant_id, event_type, object_id,
                 occurred_at, traceparent, attempts)
             select id, endpoint_id, event_id, merchant_id, event_type, object_id,
                 occurred_at, traceparent, attempts
             from back order by sequence"
        )
    };
}

/// Puts one delivery back, however it ended; false when it is not among the finished.
pub(super) async fn put_back_one(
    tx: &mut PgConnection,
    endpoint: EndpointId,
    delivery: DeliveryId,
    now: OffsetDateTime,
) -> Result<bool, StoreError> {
    let back = sqlx::query(put_back!(
        "select id from finished_deliveries
         where id = $1 and endpoint_id = $2 and finished_at >= $3"
    ))
    .bind(delivery.uuid())
    .bind(endpoint.uuid())
    .bind(now - REDELIVERABLE_FOR)
    .execute(tx)
    .await?;
    Ok(back.rows_affected() == 1)
}

/// Puts back what was given up or skipped between the two times, the longest over first.
pub(super) async fn put_back_since(
    tx: &mut PgConnection,
    endpoint: EndpointId,
    since: Option<OffsetDateTime>,
    until: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> Result<Back, StoreError> {
    let earliest = now - REDELIVERABLE_FOR;
    let back = sqlx::query(put_back!(
        "select id from finished_deliveries
         where endpoint_id = $1 and finished_at >= $2 and finished_at < $3
             and state in ('exhausted', 'cancelled')
         order by finished_at, id limit $4"
    ))
    .bind(endpoint.uuid())
    .bind(since.map_or(earliest, |since| since.max(earliest)))
    .bind(until.unwrap_or(now))
    .bind(AT_ONCE)
    .execute(tx)
    .await?;
    let count = back.rows_affected();
    Ok(Back {
        count: u32::try_from(count).unwrap_or(u32::MAX),
        more: count == AT_ONCE.unsigned_abs(),
    })
}
