//! Deliveries that stepped aside on a fault of ours, for whoever asks how their endpoint stands.

use domain::endpoint::Faulty;
use domain::{EndpointId, Fault};
use sqlx::Row;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{Store, StoreError};

impl Store {
    /// What of `endpoint` stepped aside on a fault of ours; none when nothing did.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn faulty(&self, endpoint: EndpointId) -> Result<Option<Faulty>, StoreError> {
        let row = sqlx::query(
            "select id as faulty_id, fault as faulty_fault, since as faulty_since,
                 others as faulty_others
             from faulty($1)",
        )
        .bind(endpoint.uuid())
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map_or(Ok(None), faulty_of)
    }
}

/// Of a row with `faulty_id` and its like, which are null when there is none.
pub(crate) fn faulty_of(row: &PgRow) -> Result<Option<Faulty>, StoreError> {
    let Some(id) = row.try_get::<Option<Uuid>, _>("faulty_id")? else { return Ok(None) };
    let code: &str = row.try_get("faulty_fault")?;
    let fault = Fault::of_code(code).ok_or_else(|| StoreError::Unreadable {
        table: "deliveries",
        what: format!("there is no fault {code}"),
    })?;
    Ok(Some(Faulty {
        delivery: id.into(),
        fault,
        since: row.try_get::<OffsetDateTime, _>("faulty_since")?,
        others: u32::try_from(row.try_get::<i32, _>("faulty_others")?).unwrap_or(0),
    }))
}
