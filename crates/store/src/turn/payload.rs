//! The payload of an event that has no payment behind it.

use domain::EventId;
use sqlx::Row;

use crate::{Store, StoreError};

impl Store {
    /// The payload that `event` carries, as JSON text; none when it carries none.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn event_payload(&self, event: EventId) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("select payload::text from domain_events where id = $1")
            .bind(event.uuid())
            .fetch_optional(&self.pool)
            .await?;
        match row {
            Some(row) => Ok(row.try_get(0)?),
            None => Ok(None),
        }
    }
}
