//! Payments. The triggers on this table write the events and their deliveries; nothing here does.

use domain::{Amount, Currency, MerchantId, Payment, PaymentId, PaymentStatus};
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::{Store, StoreError};

impl Store {
    /// The payment as it is now, if there is one.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn payment(&self, id: PaymentId) -> Result<Option<Payment>, StoreError> {
        sqlx::query(
            "select id, merchant_id, amount, currency, status, created_at, updated_at
             from payments where id = $1",
        )
        .bind(id.uuid())
        .fetch_optional(&self.pool)
        .await?
        .as_ref()
        .map(payment_of)
        .transpose()
    }
}

fn payment_of(row: &PgRow) -> Result<Payment, StoreError> {
    let unreadable = |invalid: domain::Invalid| StoreError::Unreadable {
        table: "payments",
        what: invalid.to_string(),
    };
    Ok(Payment {
        id: row.try_get::<uuid::Uuid, _>("id")?.into(),
        merchant_id: MerchantId::try_from(row.try_get::<String, _>("merchant_id")?)
            .map_err(unreadable)?,
        amount: Amount::try_from(row.try_get::<i64, _>("amount")?).map_err(unreadable)?,
        currency: Currency::try_from(row.try_get::<&str, _>("currency")?).map_err(unreadable)?,
        status: PaymentStatus::try_from(row.try_get::<&str, _>("status")?).map_err(unreadable)?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}
