//! Statements of the load generator: payments written as any application would write them.
//!
//! No idempotency key and no answer to keep: the caller chooses the payment's id, so a statement
//! whose answer was lost can be repeated. Nothing of the product calls these.

use domain::{MerchantId, PaymentId};

use crate::{Store, StoreError};

impl Store {
    /// Makes one payment, in one transaction of one row. A repeat with the same id changes nothing.
    ///
    /// # Errors
    /// When the database is away, or by the constraint `payments_merchant_exists`.
    pub async fn load_payment(
        &self,
        id: PaymentId,
        merchant: &MerchantId,
    ) -> Result<(), StoreError> {
        self.load_payments(&[id], merchant).await
    }

    /// Makes many payments of one merchant in one statement, hence in one transaction.
    ///
    /// # Errors
    /// When the database is away, or by the constraint `payments_merchant_exists`.
    pub async fn load_payments(
        &self,
        ids: &[PaymentId],
        merchant: &MerchantId,
    ) -> Result<(), StoreError> {
        let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.uuid()).collect();
        sqlx::query(
            "insert into payments (id, merchant_id, amount, currency)
             select id, $2, 1000, 'USD' from unnest($1::uuid[]) as new (id)
             on conflict (id) do nothing",
        )
        .bind(ids)
        .bind(merchant.as_str())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Refunds a payment. A repeat changes nothing.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn load_refund(&self, id: PaymentId) -> Result<(), StoreError> {
        sqlx::query(
            "update payments set status = 'refunded', updated_at = now()
             where id = $1 and status = 'succeeded'",
        )
        .bind(id.uuid())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The server's version, such as `15.18`.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn server_version(&self) -> Result<String, StoreError> {
        Ok(sqlx::query_scalar("select current_setting('server_version')")
            .fetch_one(&self.pool)
            .await?)
    }
}
