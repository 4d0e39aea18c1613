//! Who was left alone: the sweeper's look at everybody.

use std::time::Duration;

use domain::EndpointId;
use sqlx::Row;
use sqlx::postgres::types::PgInterval;
use uuid::Uuid;

use crate::{Store, StoreError};

/// An endpoint with due work at which nobody looked for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftAlone {
    /// Which one.
    pub endpoint: EndpointId,
    /// Its fence: unchanged until somebody looks, so it names this very neglect.
    pub fence: Uuid,
}

/// Key of the advisory lock that makes the sweeper one at a time ("posthorn" in bytes).
const SWEEPER_LOCK: i64 = 0x706f_7374_686f_726e;

impl Store {
    /// Endpoints that nobody looked at for `idle` though they have due work, longest first.
    ///
    /// None when another sweeper is at it: the lock is held for this round's own transaction.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn endpoints_left_alone(
        &self,
        idle: Duration,
        limit: u16,
    ) -> Result<Option<Vec<LeftAlone>>, StoreError> {
        let mut tx = self.pool.begin().await?;
        let lock = sqlx::query("select pg_try_advisory_xact_lock($1)").bind(SWEEPER_LOCK);
        let mine: bool = lock.fetch_one(&mut tx).await?.try_get(0)?;
        if !mine {
            tx.rollback().await?;
            return Ok(None);
        }
        let micros = i64::try_from(idle.as_micros()).unwrap_or(i64::MAX);
        let found = sqlx::query("select endpoint_id, fence from endpoints_left_alone($1, $2)")
            .bind(PgInterval { months: 0, days: 0, microseconds: micros })
            .bind(i32::from(limit));
        let rows = found.fetch_all(&mut tx).await?;
        tx.commit().await?;
        rows.iter()
            .map(|row| {
                Ok(LeftAlone {
                    endpoint: row.try_get::<Uuid, _>("endpoint_id")?.into(),
                    fence: row.try_get("fence")?,
                })
            })
            .collect::<Result<_, StoreError>>()
            .map(Some)
    }
}
