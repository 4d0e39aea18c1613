//! The partitions of what is partitioned by time, made ahead of it.

use sqlx::Row;

use crate::{Alone, StoreError};

/// How far ahead partitions are kept: a maintainer that is away for a month does no harm.
const WEEKS_AHEAD: i32 = 4;

impl Alone {
    /// Creates the partitions that are missing for the next weeks; how many it created.
    ///
    /// # Errors
    /// When the database is away, somebody reads the table for long, or rows of such a week already
    /// lie in the default partition.
    pub async fn create_partitions_ahead(&self) -> Result<u32, StoreError> {
        let mut created = 0;
        // A transaction for each: none of them is held while another is waited for.
        for parent in ["domain_events", "finished_deliveries", "attempts"] {
            let row = sqlx::query("select create_partitions_ahead($1::text::regclass, $2)")
                .bind(parent)
                .bind(WEEKS_AHEAD)
                .fetch_one(&self.pool)
                .await?;
            created += row.try_get::<i32, _>(0)?;
        }
        Ok(u32::try_from(created).unwrap_or(0))
    }
}
