//! How one payment travelled: what the database knows of the way of its first attempt.

use domain::{DeliveryId, PaymentId};
use sqlx::Row;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{Store, StoreError};

/// What the timeline is read from; `where` and the order follow.
const SELECT: &str = "
    select e.object_id, f.id, f.created_at, a.started_at, a.status,
        (a.detail ->> 'invoked_at')::timestamptz as invoked_at,
        a.started_at + coalesce((a.detail ->> 'payload_us')::bigint, 0)
            * interval '1 microsecond' as posted_at,
        a.started_at + (coalesce((a.detail ->> 'payload_us')::bigint, 0)
            + coalesce((a.detail -> 'split' ->> 'wait_us')::bigint, 0)
            + coalesce((a.detail -> 'split' ->> 'dns_us')::bigint, 0)
            + coalesce((a.detail -> 'split' ->> 'connect_us')::bigint, 0)
            + coalesce((a.detail -> 'split' ->> 'tls_us')::bigint, 0))
            * interval '1 microsecond' as sent_at,
        a.started_at + a.duration_us * interval '1 microsecond' as answered_at
    from domain_events e
    join finished_deliveries f on f.event_id = e.id
    join attempts a on a.delivery_id = f.id";

/// The way of a payment's first finished delivery, up to its first attempt's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// The delivery.
    pub delivery_id: DeliveryId,
    /// When the delivery's row was written, shortly before its transaction committed.
    pub written_at: OffsetDateTime,
    /// When the look that found it was made, if the attempt says so.
    pub invoked_at: Option<OffsetDateTime>,
    /// When the attempt began, with the payload still to be fetched.
    pub started_at: OffsetDateTime,
    /// When the payload was there, and the request began.
    pub posted_at: OffsetDateTime,
    /// When its first byte went out: a place was free, the name resolved, the connection made.
    pub sent_at: OffsetDateTime,
    /// When the answer was there.
    pub answered_at: OffsetDateTime,
    /// The HTTP status, if there was an answer.
    pub status: Option<i32>,
}

impl Store {
    /// The way of `payment`'s first delivery; none while none of them is finished.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn timeline_of(&self, payment: PaymentId) -> Result<Option<Timeline>, StoreError> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "{SELECT} where e.object_id = $1 order by f.sequence, a.number limit 1"
        )))
        .bind(payment.to_string())
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(timeline_from).transpose()
    }

    /// The ways of the first deliveries of these payments, of those that are finished.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn timelines_of(&self, payments: &[PaymentId]) -> Result<Vec<Timeline>, StoreError> {
        let objects: Vec<String> = payments.iter().map(ToString::to_string).collect();
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "select distinct on (object_id) t.* from ({SELECT} where e.object_id = any ($1)) t
             order by object_id, created_at, started_at"
        )))
        .bind(objects)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(timeline_from).collect()
    }
}

fn timeline_from(row: &PgRow) -> Result<Timeline, StoreError> {
    Ok(Timeline {
        delivery_id: row.try_get::<Uuid, _>("id")?.into(),
        written_at: row.try_get("created_at")?,
        invoked_at: row.try_get("invoked_at")?,
        started_at: row.try_get("started_at")?,
        posted_at: row.try_get("posted_at")?,
        sent_at: row.try_get("sent_at")?,
        answered_at: row.try_get("answered_at")?,
        status: row.try_get("status")?,
    })
}
