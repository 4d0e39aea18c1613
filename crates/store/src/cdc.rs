//! Who announces deliveries, and the replication slots of those who can.
//!
//! The choice is one row; a relay reads it when a session begins. What must never happen: a slot
//! that nobody reads and nobody drops, since PostgreSQL keeps its WAL for it.

use domain::EndpointId;
use sqlx::Row;
use uuid::Uuid;

use crate::{Store, StoreError};

/// Who reads the outbox from the WAL and announces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CdcProducer {
    /// Our own relay.
    Relay,
    /// Sequin.
    Sequin,
}

impl CdcProducer {
    /// Its name, as it is kept.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Sequin => "sequin",
        }
    }
}

/// A replication slot, as the server describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotState {
    /// Does somebody stream from it now?
    pub is_active: bool,
}

impl Store {
    /// Who announces: our relay, unless another is noted.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn cdc_producer(&self) -> Result<CdcProducer, StoreError> {
        Ok(self.noted_cdc_producer().await?.unwrap_or(CdcProducer::Relay))
    }

    /// Who is noted as announcing; none: no registration and no switch was here yet.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn noted_cdc_producer(&self) -> Result<Option<CdcProducer>, StoreError> {
        let name: Option<String> =
            sqlx::query_scalar("select name from cdc_producer").fetch_optional(&self.pool).await?;
        Ok(name.map(|name| match name.as_str() {
            "sequin" => CdcProducer::Sequin,
            _ => CdcProducer::Relay,
        }))
    }

    /// From now on `producer` announces.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn set_cdc_producer(&self, producer: CdcProducer) -> Result<(), StoreError> {
        sqlx::query(
            "insert into cdc_producer (name) values ($1)
             on conflict (is_only) do update set name = excluded.name, since = now()",
        )
        .bind(producer.name())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The slot, if it is there.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn slot_state(&self, slot: &str) -> Result<Option<SlotState>, StoreError> {
        let row = sqlx::query("select active from pg_replication_slots where slot_name = $1")
            .bind(slot)
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| Ok(SlotState { is_active: row.try_get("active")? })).transpose()
    }

    /// Where the WAL ends now, as PostgreSQL writes it, such as `0/16B3748`.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn wal_position(&self) -> Result<String, StoreError> {
        Ok(sqlx::query_scalar("select pg_current_wal_lsn()::text").fetch_one(&self.pool).await?)
    }

    /// Has the slot's reader confirmed everything up to `position`?
    ///
    /// # Errors
    /// When the database is away.
    pub async fn slot_has_confirmed(&self, slot: &str, position: &str) -> Result<bool, StoreError> {
        let confirmed: Option<bool> = sqlx::query_scalar(
            "select confirmed_flush_lsn >= $2::text::pg_lsn
             from pg_replication_slots where slot_name = $1",
        )
        .bind(slot)
        .bind(position)
        .fetch_optional(&self.pool)
        .await?;
        Ok(confirmed.unwrap_or(false))
    }

    /// Commits a row of the outbox that nobody ever sees: whoever reads the WAL announces it, as one
    /// of [`EndpointId::NOBODY`].
    ///
    /// # Errors
    /// When the database is away.
    pub async fn announce_nothing(&self) -> Result<(), StoreError> {
        let mut tx = self.pool.begin().await?;
        let nobody = EndpointId::NOBODY.uuid();
        let id: Uuid = sqlx::query_scalar(
            "insert into deliveries
                 (endpoint_id, event_id, merchant_id, event_type, object_id, occurred_at)
             values ($1, $1, 'nobody', 'posthorn.nothing', 'nothing', clock_timestamp())
             returning id",
        )
        .bind(nobody)
        .fetch_one(&mut tx)
        .await?;
        sqlx::query("delete from deliveries where id = $1").bind(id).execute(&mut tx).await?;
        Ok(tx.commit().await?)
    }

    /// Takes the slot from whoever streams from it.
    ///
    /// # Errors
    /// When the database is away, or its user may not.
    pub async fn release_slot(&self, slot: &str) -> Result<(), StoreError> {
        sqlx::query(
            "select pg_terminate_backend(active_pid) from pg_replication_slots
             where slot_name = $1 and active_pid is not null",
        )
        .bind(slot)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Drops the slot if nobody streams from it; whether it is gone.
    ///
    /// # Errors
    /// When the database is away, or its user may not.
    pub async fn drop_free_slot(&self, slot: &str) -> Result<bool, StoreError> {
        // Somebody may take it between the two: then the server refuses, and it is still there, as
        // the look at it says.
        let _ = sqlx::query(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots
             where slot_name = $1 and not active",
        )
        .bind(slot)
        .execute(&self.pool)
        .await;
        Ok(self.slot_state(slot).await?.is_none())
    }
}
