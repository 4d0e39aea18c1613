//! How far the relay came, by its own account.
//!
//! The slot's position dies with the slot; this survives it, and says from when on deliveries must
//! be announced again. It may lag behind the truth (then more is announced again) and never run
//! ahead of it: nothing is written here before Kafka has acknowledged it.

use sqlx::Row;
use time::OffsetDateTime;

use crate::{Store, StoreError};

/// What the relay knows when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RelayProgress {
    /// The ids of the topics that have what was confirmed so far.
    pub kafka_topics: Option<String>,
    /// What must be announced again before anything else.
    pub owed: Option<Owed>,
}

/// Deliveries that must be announced again: all that wait, and those that finished `since`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owed {
    /// None: nothing was ever confirmed, so nothing that finished was ever owed to anyone.
    pub since: Option<OffsetDateTime>,
}

impl Store {
    /// What is known of the slot `slot`.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn relay_progress(&self, slot: &str) -> Result<RelayProgress, StoreError> {
        let row = sqlx::query(
            "select kafka_topics, owed, owed_since from relay_progress where slot = $1",
        )
        .bind(slot)
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(RelayProgress::default()) };
        let owed = row.try_get::<bool, _>("owed")?;
        let since = row.try_get("owed_since")?;
        Ok(RelayProgress {
            kafka_topics: row.try_get("kafka_topics")?,
            owed: owed.then_some(Owed { since }),
        })
    }

    /// Notes that everything that waits is to be announced again, and what finished since an hour
    /// before the last confirmed commit: commits and ends of deliveries have the clock of whoever
    /// made them. A debt that stands already keeps its own, earlier, beginning.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn relay_owes(&self, slot: &str) -> Result<(), StoreError> {
        sqlx::query(
            "insert into relay_progress (slot, owed, owed_at) values ($1, true, clock_timestamp())
             on conflict (slot) do update set
                 owed_since = case when relay_progress.owed then relay_progress.owed_since
                     else relay_progress.committed_at - interval '1 hour' end,
                 owed = true,
                 owed_at = clock_timestamp()",
        )
        .bind(slot)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Notes that everything that waits is to be announced again, and what finished since `since`:
    /// of a slot that is about to be made, where another producer announced what came before. A debt
    /// that stands already stays as it is.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn relay_owes_since(
        &self,
        slot: &str,
        since: OffsetDateTime,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "insert into relay_progress (slot, owed, owed_since, owed_at)
             values ($1, true, $2, clock_timestamp())
             on conflict (slot) do update set
                 owed = true, owed_since = excluded.owed_since, owed_at = excluded.owed_at
                 where not relay_progress.owed",
        )
        .bind(slot)
        .bind(since)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Takes back a debt, where another producer announces after all.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn relay_is_let_off(&self, slot: &str) -> Result<(), StoreError> {
        sqlx::query(
            "update relay_progress set owed = false, owed_since = null, owed_at = null
             where slot = $1",
        )
        .bind(slot)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Notes that all that was owed is on the topics with the ids `kafka_topics`.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn relay_owes_nothing(
        &self,
        slot: &str,
        kafka_topics: &str,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "insert into relay_progress (slot, kafka_topics) values ($1, $2)
             on conflict (slot) do update set
                 kafka_topics = excluded.kafka_topics,
                 committed_at = greatest(relay_progress.committed_at, relay_progress.owed_at),
                 owed = false, owed_since = null, owed_at = null",
        )
        .bind(slot)
        .bind(kafka_topics)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Notes that what committed until `committed_at` is on Kafka and confirmed.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn relay_confirmed(
        &self,
        slot: &str,
        committed_at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "update relay_progress set committed_at = greatest(committed_at, $2) where slot = $1",
        )
        .bind(slot)
        .bind(committed_at)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
