//! Payments. The triggers on this table write the events and their deliveries; nothing here does.

use domain::{Amount, Currency, MerchantId, NewPayment, Payment, PaymentId, PaymentStatus};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::idempotency::{Operation, answer_of, unreadable, write_once};
use crate::{Store, StoreError, Write, Written};

const CREATE: Operation<Payment> = Operation {
    name: "payments.create",
    statement: write_once!(
        "made as (
             insert into payments (merchant_id, amount, currency, status)
             select $6, $7, $8, $9 from trace where not exists (select from answered)
             returning *)"
    ),
    answer: answer_of!("payments"),
    read: payment_of,
};

/// The row is locked by the update itself: of two that come at once, the second waits and then
/// finds a state that it may not leave.
const MOVE: &str = write_once!(
    "made as (
         update payments set status = $7, updated_at = now()
         from trace
         where id = $6 and status = any ($8) and not exists (select from answered)
         returning payments.*)"
);

impl Store {
    /// Makes a payment.
    ///
    /// # Errors
    /// When the database is away, or by the constraint `payments_merchant_exists`.
    pub async fn create_payment(
        &self,
        write: &Write<'_>,
        payment: &NewPayment,
    ) -> Result<Written<Payment>, StoreError> {
        self.write(write, &CREATE, |statement| {
            statement
                .bind(payment.merchant_id.as_str().to_owned())
                .bind(payment.amount.minor_units())
                .bind(payment.currency.code())
                .bind(payment.status.get().as_str())
        })
        .await
    }

    /// Moves a payment to `to`, if its state is one of those that may become it; else
    /// [`Written::Nothing`].
    ///
    /// # Errors
    /// When the database is away.
    pub async fn move_payment(
        &self,
        write: &Write<'_>,
        id: PaymentId,
        to: PaymentStatus,
    ) -> Result<Written<Payment>, StoreError> {
        let operation = Operation {
            name: match to {
                PaymentStatus::Pending => "payments.pending",
                PaymentStatus::Succeeded => "payments.succeed",
                PaymentStatus::Failed => "payments.fail",
                PaymentStatus::Cancelled => "payments.cancel",
                PaymentStatus::Refunded => "payments.refund",
            },
            statement: MOVE,
            answer: answer_of!("payments"),
            read: payment_of,
        };
        let from: Vec<&str> = PaymentStatus::ALL
            .into_iter()
            .filter(|from| from.may_become(to))
            .map(PaymentStatus::as_str)
            .collect();
        self.write(write, &operation, |statement| {
            statement.bind(id.uuid()).bind(to.as_str()).bind(from.clone())
        })
        .await
    }

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

    /// Up to `limit` payments of a merchant, the newest first, from the one before `before` on.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn payments(
        &self,
        merchant_id: &MerchantId,
        before: Option<PaymentId>,
        limit: i64,
    ) -> Result<Vec<Payment>, StoreError> {
        sqlx::query(
            "select id, merchant_id, amount, currency, status, created_at, updated_at
             from payments where merchant_id = $1 and id < $2 order by id desc limit $3",
        )
        .bind(merchant_id.as_str())
        .bind(before.map_or(Uuid::max(), PaymentId::uuid))
        .bind(limit)
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(payment_of)
        .collect()
    }
}

fn payment_of(row: &PgRow) -> Result<Payment, StoreError> {
    let unreadable = unreadable("payments");
    Ok(Payment {
        id: row.try_get::<Uuid, _>("id")?.into(),
        merchant_id: MerchantId::try_from(row.try_get::<String, _>("merchant_id")?)
            .map_err(&unreadable)?,
        amount: Amount::try_from(row.try_get::<i64, _>("amount")?).map_err(&unreadable)?,
        currency: Currency::try_from(row.try_get::<&str, _>("currency")?).map_err(&unreadable)?,
        status: PaymentStatus::try_from(row.try_get::<&str, _>("status")?).map_err(&unreadable)?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}
