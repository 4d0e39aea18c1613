//! Deliveries page by page, as the relay needs them to announce them again.
//!
//! Every statement reads a bounded page, continued by key. Columns come as text in the form that
//! the WAL has them in, so that one reader makes the records of both. Nothing is filtered here.

use sqlx::Row;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{Store, StoreError};

/// A delivery's columns that its record needs, as text; null where the column is null.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeliveryText {
    /// `id`
    pub id: Option<String>,
    /// `event_id`
    pub event_id: Option<String>,
    /// `endpoint_id`
    pub endpoint_id: Option<String>,
    /// `merchant_id`
    pub merchant_id: Option<String>,
    /// `event_type`
    pub event_type: Option<String>,
    /// `object_id`
    pub object_id: Option<String>,
    /// `occurred_at`, in UTC, as ISO 8601 the way PostgreSQL writes it.
    pub occurred_at: Option<String>,
    /// `traceparent`
    pub traceparent: Option<String>,
}

/// Where a page of finished deliveries ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinishedCursor {
    /// When the last one of the page finished.
    pub finished_at: OffsetDateTime,
    /// Its id.
    pub id: Uuid,
}

impl Store {
    /// The database's clock.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn database_now(&self) -> Result<OffsetDateTime, StoreError> {
        Ok(sqlx::query_scalar("select clock_timestamp()").fetch_one(&self.pool).await?)
    }

    /// At most `limit` waiting deliveries with an id above `after`, by id: that is by time.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn waiting_deliveries(
        &self,
        after: Uuid,
        limit: i64,
    ) -> Result<Vec<(Uuid, DeliveryText)>, StoreError> {
        let rows = sqlx::query(
            "select id, id::text as id_text, event_id::text, endpoint_id::text, merchant_id,
                    event_type, object_id, occurred_at::text, traceparent
             from deliveries where id > $1 order by id limit $2",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| Ok((row.try_get("id")?, text_of(row)?))).collect()
    }

    /// At most `limit` deliveries that finished after `after` and before `until`, in that order.
    ///
    /// The index on `finished_at` is made for ranges: keep the two close together.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn finished_deliveries(
        &self,
        after: FinishedCursor,
        until: OffsetDateTime,
        limit: i64,
    ) -> Result<Vec<(FinishedCursor, DeliveryText)>, StoreError> {
        let rows = sqlx::query(
            "select finished_at, id, id::text as id_text, event_id::text, endpoint_id::text,
                    merchant_id, event_type, object_id, occurred_at::text, traceparent
             from finished_deliveries
             where finished_at >= $1 and finished_at < $3 and (finished_at, id) > ($1, $2)
             order by finished_at, id limit $4",
        )
        .bind(after.finished_at)
        .bind(after.id)
        .bind(until)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                let cursor = FinishedCursor {
                    finished_at: row.try_get("finished_at")?,
                    id: row.try_get("id")?,
                };
                Ok((cursor, text_of(row)?))
            })
            .collect()
    }
}

fn text_of(row: &PgRow) -> Result<DeliveryText, StoreError> {
    Ok(DeliveryText {
        id: row.try_get("id_text")?,
        event_id: row.try_get("event_id")?,
        endpoint_id: row.try_get("endpoint_id")?,
        merchant_id: row.try_get("merchant_id")?,
        event_type: row.try_get("event_type")?,
        object_id: row.try_get("object_id")?,
        occurred_at: row.try_get("occurred_at")?,
        traceparent: row.try_get("traceparent")?,
    })
}
