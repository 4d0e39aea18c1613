//! An endpoint that is deleted: what of it is destroyed, and what becomes of what waits.
//!
//! Its journal, its finished deliveries and their attempts stay. A transaction that was open at the
//! deletion may still commit deliveries for it: they are announced like any other, whoever looks
//! finds the endpoint deleted and cancels them, and the sweeper comes by when nobody does.

use domain::EndpointId;
use domain::endpoint::FinishReason;
use sqlx::{Executor, Postgres};
use time::OffsetDateTime;

use super::unsent::end_unsent;
use crate::answered::Tx;
use crate::{Store, StoreError};

/// How many are cancelled in one statement: some ten milliseconds.
const AT_ONCE: i64 = 500;

impl Store {
    /// Cancels what waits for `endpoint`, some of it at a time, if it was deleted; true when there
    /// may be more.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn cancel_for_deleted(&self, endpoint: EndpointId) -> Result<bool, StoreError> {
        cancel(&self.pool, endpoint).await
    }

    /// When `endpoint` was deleted; none when it was not, or never was.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn deleted_at(
        &self,
        endpoint: EndpointId,
    ) -> Result<Option<OffsetDateTime>, StoreError> {
        let at: Option<Option<OffsetDateTime>> =
            sqlx::query_scalar("select deleted_at from endpoints where id = $1")
                .bind(endpoint.uuid())
                .fetch_optional(&self.pool)
                .await?;
        Ok(at.flatten())
    }
}

/// Ends the endpoint's configuration and destroys what is secret, also where an answer to an
/// idempotency key keeps it.
pub(super) async fn erase(
    tx: &mut Tx,
    endpoint: EndpointId,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query(
        "update endpoints set deleted_at = $2, updated_at = $2, config_version = config_version + 1,
             header_names = '{}', headers_key_id = null, headers_ciphertext = null
         where id = $1",
    )
    .bind(endpoint.uuid())
    .bind(now)
    .execute(&mut *tx)
    .await?;
    sqlx::query("delete from endpoint_secrets where endpoint_id = $1")
        .bind(endpoint.uuid())
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "update idempotency_keys set response = response - 'ciphertext' - 'headers_ciphertext'
         where (operation = 'endpoints.create' and response ->> 'id' = $1)
            or (operation = 'endpoints.rotate_secret' and response ->> 'endpoint_id' = $1)",
    )
    .bind(endpoint.uuid().to_string())
    .execute(&mut *tx)
    .await?;
    // What commits later is due at once, and until somebody looks the object has its state still.
    sqlx::query(
        "update endpoint_runtime set may_send = true, not_before = null, looked_at = $2
         where endpoint_id = $1",
    )
    .bind(endpoint.uuid())
    .bind(now)
    .execute(&mut *tx)
    .await?;
    cancel(tx, endpoint).await?;
    Ok(())
}

/// Cancels some of what waits, if the endpoint was deleted; true when there may be more.
pub(super) async fn cancel<'e>(
    db: impl Executor<'e, Database = Postgres>,
    endpoint: EndpointId,
) -> Result<bool, StoreError> {
    let (state, reason) = FinishReason::Deleted.names();
    let moved = sqlx::query(end_unsent!(
        "select d.id from deliveries d
         where d.endpoint_id = $3 and exists (
             select from endpoints e where e.id = $3 and e.deleted_at is not null)
         order by d.sequence limit $4"
    ))
    .bind(state)
    .bind(reason)
    .bind(endpoint.uuid())
    .bind(AT_ONCE)
    .execute(db)
    .await?;
    Ok(moved.rows_affected() >= AT_ONCE.unsigned_abs())
}
