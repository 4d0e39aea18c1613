//! A delivery and its attempts, as they are shown to people.
//!
//! Read only: nothing here decides anything. Waiting and finished deliveries are two tables; who
//! asks for a delivery is not told which of them has it but by its state.

use std::time::Duration;

use domain::{AttemptId, DeliveryId, EndpointId, EventId};
use sqlx::Row;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{Store, StoreError};

/// A delivery, waiting or finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// Its event.
    pub event_id: EventId,
    /// Where it goes.
    pub endpoint_id: EndpointId,
    /// Whose it is.
    pub merchant_id: String,
    /// Its event's type.
    pub event_type: String,
    /// What it is about.
    pub object_id: String,
    /// When the event occurred.
    pub occurred_at: OffsetDateTime,
    /// When its row was written.
    pub created_at: OffsetDateTime,
    /// Requests made so far.
    pub attempts: i32,
    /// `waiting`, `delivered`, `exhausted` or `cancelled`.
    pub state: String,
    /// Why it is finished.
    pub reason: Option<String>,
    /// When it finished.
    pub finished_at: Option<OffsetDateTime>,
    /// When it comes back, if it stepped aside.
    pub next_attempt_at: Option<OffsetDateTime>,
    /// Until when its whole endpoint waits, if it does.
    pub endpoint_waits_until: Option<OffsetDateTime>,
}

/// One attempt, as it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownAttempt {
    /// Which one of its delivery, from 1.
    pub number: i32,
    /// Its id.
    pub id: AttemptId,
    /// When it began.
    pub started_at: OffsetDateTime,
    /// How long it took.
    pub duration: Duration,
    /// The outcome's class.
    pub class: String,
    /// The outcome's code.
    pub code: Option<String>,
    /// The HTTP status.
    pub status: Option<i32>,
    /// What was kept for people.
    pub detail: serde_json::Value,
    /// Made by a run that had lost its turn: it decided nothing.
    pub fence_lost: bool,
}

impl Store {
    /// A delivery, waiting or finished.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn shown_delivery(
        &self,
        id: DeliveryId,
    ) -> Result<Option<ShownDelivery>, StoreError> {
        let row = sqlx::query(
            "select d.id, d.event_id, d.endpoint_id, d.merchant_id, d.event_type, d.object_id,
                 d.occurred_at, d.created_at, d.attempts, 'waiting' as state, null as reason,
                 null::timestamptz as finished_at, d.next_attempt_at,
                 r.not_before as endpoint_waits_until
             from deliveries d
             left join endpoint_runtime r on r.endpoint_id = d.endpoint_id
                 and r.not_before > clock_timestamp()
             where d.id = $1
             union all
             select id, event_id, endpoint_id, merchant_id, event_type, object_id,
                 occurred_at, created_at, attempts, state, reason, finished_at, null, null
             from finished_deliveries where id = $1
             limit 1",
        )
        .bind(id.uuid())
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(delivery_of).transpose()
    }

    /// The deliveries of the events about `object_id`, waiting or finished, in their order.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn shown_deliveries_about(
        &self,
        object_id: &str,
    ) -> Result<Vec<ShownDelivery>, StoreError> {
        let rows = sqlx::query(
            "select d.id, d.event_id, d.endpoint_id, d.merchant_id, d.event_type, d.object_id,
                 d.occurred_at, d.created_at, d.attempts, 'waiting' as state, null as reason,
                 null::timestamptz as finished_at, d.next_attempt_at,
                 r.not_before as endpoint_waits_until, d.sequence
             from domain_events e
             join deliveries d on d.event_id = e.id
             left join endpoint_runtime r on r.endpoint_id = d.endpoint_id
                 and r.not_before > clock_timestamp()
             where e.object_id = $1
             union all
             select f.id, f.event_id, f.endpoint_id, f.merchant_id, f.event_type, f.object_id,
                 f.occurred_at, f.created_at, f.attempts, f.state, f.reason, f.finished_at, null,
                 null, f.sequence
             from domain_events e
             join finished_deliveries f on f.event_id = e.id
             where e.object_id = $1
             order by sequence",
        )
        .bind(object_id)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(delivery_of).collect()
    }

    /// The newest `limit` attempts of a delivery, in the order in which they were made.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn shown_attempts(
        &self,
        id: DeliveryId,
        limit: i64,
    ) -> Result<Vec<ShownAttempt>, StoreError> {
        let rows = sqlx::query(
            "select number, id, started_at, duration_us, class, code, status, detail, fence_lost
             from attempts where delivery_id = $1 order by number desc limit $2",
        )
        .bind(id.uuid())
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().rev().map(attempt_of).collect()
    }
}

fn delivery_of(row: &PgRow) -> Result<ShownDelivery, StoreError> {
    Ok(ShownDelivery {
        id: row.try_get::<Uuid, _>("id")?.into(),
        event_id: row.try_get::<Uuid, _>("event_id")?.into(),
        endpoint_id: row.try_get::<Uuid, _>("endpoint_id")?.into(),
        merchant_id: row.try_get("merchant_id")?,
        event_type: row.try_get("event_type")?,
        object_id: row.try_get("object_id")?,
        occurred_at: row.try_get("occurred_at")?,
        created_at: row.try_get("created_at")?,
        attempts: row.try_get("attempts")?,
        state: row.try_get("state")?,
        reason: row.try_get("reason")?,
        finished_at: row.try_get("finished_at")?,
        next_attempt_at: row.try_get("next_attempt_at")?,
        endpoint_waits_until: row.try_get("endpoint_waits_until")?,
    })
}

fn attempt_of(row: &PgRow) -> Result<ShownAttempt, StoreError> {
    let duration_us: i64 = row.try_get("duration_us")?;
    Ok(ShownAttempt {
        number: row.try_get("number")?,
        id: row.try_get::<Uuid, _>("id")?.into(),
        started_at: row.try_get("started_at")?,
        duration: Duration::from_micros(u64::try_from(duration_us).unwrap_or(0)),
        class: row.try_get("class")?,
        code: row.try_get("code")?,
        status: row.try_get("status")?,
        detail: row.try_get("detail")?,
        fence_lost: row.try_get("fence_lost")?,
    })
}
