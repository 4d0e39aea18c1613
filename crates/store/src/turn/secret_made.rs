//! An endpoint has a new secret: where it waited for one, it waits no longer.
//!
//! It comes after the rotation and may be told again: who crashed in between repeats the rotation
//! under its key, or the endpoint looks for itself at the end of its wait.

use domain::EndpointId;
use domain::endpoint::{Command, Jitter, decide};
use uuid::Uuid;

use super::command::{append, lock};
use crate::{Store, StoreError};

impl Store {
    /// Says that `endpoint` has a new secret; its fence, none when there is no such endpoint.
    ///
    /// # Errors
    /// When the database is away. Telling it again is safe.
    pub async fn secret_made(&self, endpoint: EndpointId) -> Result<Option<Uuid>, StoreError> {
        let mut tx = self.pool.begin().await?;
        let Some(locked) = lock(&mut tx, endpoint).await? else {
            tx.rollback().await?;
            return Ok(None);
        };
        let now = sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut tx).await?;
        let command = Command::SecretMade;
        let decision = decide(&locked.state, &locked.policy, &command, now, Jitter::NONE);
        append(&mut tx, &locked, &decision, None).await?;
        tx.commit().await?;
        Ok(Some(locked.fence))
    }
}
