//! Deliveries that are over, put back in line: the same delivery with a new place at its end.
//!
//! Its attempts stay and go on counting; its schedule begins anew. It is a new row of the outbox
//! with a number and a transaction of its own, so it is announced like one that is new. Never more
//! than one bounded statement at a time: the endpoint's lock is held.

use std::time::Duration;

use domain::endpoint::FinishReason;
use domain::{DeliveryId, EndpointId, EventType, Invalid};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::StoreError;
use crate::answered::Tx;

/// How many come back in one transaction: some ten milliseconds under the endpoint's lock.
const AT_ONCE: i64 = 500;
/// What ended longer ago stays: merchants have long settled it otherwise.
const REDELIVERABLE_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// Which deliveries come back, of those that were given up or skipped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redeliverable {
    /// What ended then or later.
    #[serde(with = "time::serde::rfc3339::option")]
    pub since: Option<OffsetDateTime>,
    /// What ended before.
    #[serde(with = "time::serde::rfc3339::option")]
    pub until: Option<OffsetDateTime>,
    /// Only events of this type.
    pub event_type: Option<EventType>,
    /// Only what ended like this.
    pub ended: Option<Ended>,
}

/// How a delivery ended that may come back in bulk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The merchant refused it until its schedule was used up.
    Refused,
    /// The endpoint was unwell for the whole schedule.
    Unwell,
    /// It waited for too long.
    Expired,
    /// An operator took it out of the line.
    Skipped,
}

impl Ended {
    const fn reason(self) -> &'static str {
        match self {
            Self::Refused => FinishReason::Refused,
            Self::Unwell => FinishReason::Unwell,
            Self::Expired => FinishReason::Expired,
            Self::Skipped => FinishReason::Skipped,
        }
        .names()
        .1
    }
}

impl TryFrom<&str> for Ended {
    type Error = Invalid;

    fn try_from(name: &str) -> Result<Self, Invalid> {
        [Self::Refused, Self::Unwell, Self::Expired, Self::Skipped]
            .into_iter()
            .find(|ended| ended.reason() == name)
            .ok_or_else(|| Invalid::new("ended", "must be refused, unwell, expired or skipped"))
    }
}

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
    tx: &mut Tx,
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

/// Puts back some of what was given up or skipped, the longest over first.
pub(super) async fn put_back_many(
    tx: &mut Tx,
    endpoint: EndpointId,
    which: &Redeliverable,
    now: OffsetDateTime,
) -> Result<Back, StoreError> {
    let earliest = now - REDELIVERABLE_FOR;
    let back = sqlx::query(put_back!(
        "select id from finished_deliveries
         where endpoint_id = $1 and finished_at >= $2 and finished_at < $3
             and state in ('exhausted', 'cancelled')
             and ($5::text is null or event_type = $5) and ($6::text is null or reason = $6)
         order by finished_at limit $4"
    ))
    .bind(endpoint.uuid())
    .bind(which.since.map_or(earliest, |since| since.max(earliest)))
    .bind(which.until.unwrap_or(now))
    .bind(AT_ONCE)
    .bind(which.event_type.as_ref().map(EventType::as_str))
    .bind(which.ended.map(Ended::reason))
    .execute(tx)
    .await?;
    let count = back.rows_affected();
    Ok(Back {
        count: u32::try_from(count).unwrap_or(u32::MAX),
        more: count == AT_ONCE.unsigned_abs(),
    })
}
