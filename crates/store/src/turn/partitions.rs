//! The partitions of what is partitioned by time, made ahead of it.

use sqlx::Row;

use crate::{Store, StoreError};

/// How far ahead partitions are kept: a maintainer that is away for a month does no harm.
const WEEKS_AHEAD: i32 = 4;

impl Store {
    /// Creates the partitions that are missing for the next weeks; how many it created.
    ///
    /// # Errors
    /// When the database is away, or rows of such a week already lie in the default partition.
    pub async fn create_partitions_ahead(&self) -> Result<u32, StoreError> {
        let created: i32 = sqlx::query(
            "select create_partitions_ahead('domain_events', $1)
                  + create_partitions_ahead('finished_deliveries', $1)
                  + create_partitions_ahead('attempts', $1)",
        )
        .bind(WEEKS_AHEAD)
        .fetch_one(&self.pool)
        .await?
        .try_get(0)?;
        Ok(u32::try_from(created).unwrap_or(0))
    }
}
