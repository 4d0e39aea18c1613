//! Payments: made, shown, refunded, cancelled.

use domain::{Amount, Currency, FirstStatus, NewPayment, Payment, PaymentId, PaymentStatus};
use observability::spans;
use serde_json::json;
use store::{StoreError, Written};
use tracing::Instrument as _;

use super::{Operations, Page, PageRequest, done, id, merchant_or_demo};
use crate::call::{Call, Transaction, digest_of};
use crate::refusal::Refusal;

/// A payment as a caller asks for it, not yet parsed.
#[derive(Debug, Clone, Default)]
pub(crate) struct CreatePayment {
    /// In minor units.
    pub amount: i64,
    pub currency: String,
    pub merchant_id: Option<String>,
    pub status: Option<String>,
}

impl CreatePayment {
    fn parse(self) -> Result<NewPayment, Refusal> {
        Ok(NewPayment {
            amount: Amount::try_from(self.amount)?,
            currency: Currency::try_from(self.currency.as_str())?,
            merchant_id: merchant_or_demo(self.merchant_id)?,
            status: match self.status {
                Some(name) => FirstStatus::try_from(name.as_str())?,
                None => FirstStatus::default(),
            },
        })
    }
}

impl Operations {
    /// Makes a payment.
    pub(crate) async fn create_payment(
        &self,
        call: &Call,
        request: CreatePayment,
    ) -> Result<Payment, Refusal> {
        let payment = request.parse()?;
        let digest = digest_of(&json!({
            "amount": payment.amount.minor_units(),
            "currency": payment.currency.code(),
            "merchant_id": payment.merchant_id.as_str(),
            "status": payment.status.get().as_str(),
        }));
        self.bounded(async {
            let transaction = call.transaction("payments.create", digest);
            let write = transaction.write();
            let written = self.store.create_payment(&write, &payment);
            let written = written.instrument(transaction.span()).await;
            let written = told(transaction, written)?;
            done(written)?.ok_or_else(|| Refusal::State("the payment was not made".to_owned()))
        })
        .await
    }

    /// The payment as it is now.
    pub(crate) async fn payment(&self, text: &str) -> Result<Payment, Refusal> {
        let id: PaymentId = id("id", PaymentId::PREFIX, text)?;
        self.bounded(async { self.store.payment(id).await?.ok_or(Refusal::NotFound("payment")) })
            .await
    }

    /// A merchant's payments, the newest first.
    pub(crate) async fn payments(&self, request: PageRequest) -> Result<Page<Payment>, Refusal> {
        let (size, before) = (request.size()?, request.last()?);
        let merchant_id = merchant_or_demo(request.merchant_id)?;
        self.bounded(async {
            let items = self.store.payments(&merchant_id, before, i64::from(size) + 1).await?;
            Ok(Page::of(items, size, |payment| payment.id.to_string()))
        })
        .await
    }

    /// Gives the money back.
    pub(crate) async fn refund_payment(&self, call: &Call, id: &str) -> Result<Payment, Refusal> {
        self.move_payment(call, id, PaymentStatus::Refunded).await
    }

    /// Calls a payment off.
    pub(crate) async fn cancel_payment(&self, call: &Call, id: &str) -> Result<Payment, Refusal> {
        self.move_payment(call, id, PaymentStatus::Cancelled).await
    }

    async fn move_payment(
        &self,
        call: &Call,
        text: &str,
        to: PaymentStatus,
    ) -> Result<Payment, Refusal> {
        let id: PaymentId = id("id", PaymentId::PREFIX, text)?;
        let digest = digest_of(&json!({ "id": id.to_string() }));
        self.bounded(async {
            let transaction = call.transaction(operation_to(to), digest);
            let write = transaction.write();
            let written = self.store.move_payment(&write, id, to);
            let written = written.instrument(transaction.span()).await;
            let written = told(transaction, written)?;
            if let Some(payment) = done(written)? {
                return Ok(payment);
            }
            let payment = self.store.payment(id).await?.ok_or(Refusal::NotFound("payment"))?;
            Err(cannot_become(payment.status, to))
        })
        .await
    }
}

/// Ends the transaction's span: which payment it was about, or that it failed.
fn told(
    transaction: Transaction<'_>,
    written: Result<Written<Payment>, StoreError>,
) -> Result<Written<Payment>, StoreError> {
    let span = transaction.span();
    match &written {
        Ok(Written::Now(payment) | Written::Before(payment)) => {
            spans::of_payment(&span, &payment.id, payment.merchant_id.as_str());
        }
        Ok(Written::OtherRequest | Written::Nothing) => {}
        Err(_) => spans::failed(&span, &"database"),
    }
    written
}

/// The name of the transaction that makes a payment become so.
const fn operation_to(status: PaymentStatus) -> &'static str {
    match status {
        PaymentStatus::Refunded => "payments.refund",
        PaymentStatus::Cancelled => "payments.cancel",
        PaymentStatus::Pending | PaymentStatus::Succeeded | PaymentStatus::Failed => {
            "payments.move"
        }
    }
}

fn cannot_become(status: PaymentStatus, to: PaymentStatus) -> Refusal {
    let from: Vec<_> = PaymentStatus::ALL
        .into_iter()
        .filter(|from| from.may_become(to))
        .map(PaymentStatus::as_str)
        .collect();
    Refusal::State(format!(
        "the payment is {status}; only one that is {} can become {to}",
        from.join(" or ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> CreatePayment {
        CreatePayment { amount: 1000, currency: "usd".to_owned(), ..CreatePayment::default() }
    }

    #[test]
    fn a_payment_that_says_no_more_than_it_must_succeeded_and_belongs_to_demo() {
        let payment = good().parse().expect("good");
        assert_eq!(payment.merchant_id.as_str(), "demo");
        assert_eq!(payment.status.get(), PaymentStatus::Succeeded);
        assert_eq!(payment.currency.code(), "USD");
    }

    #[test]
    fn every_bad_field_is_named() {
        let some = |text: &str| Some(text.to_owned());
        let cases = [
            (CreatePayment { amount: 0, ..good() }, "amount"),
            (CreatePayment { currency: "XXX".to_owned(), ..good() }, "currency"),
            (CreatePayment { currency: "x".repeat(100_000), ..good() }, "currency"),
            (CreatePayment { merchant_id: some(""), ..good() }, "merchant_id"),
            (CreatePayment { status: some("refunded"), ..good() }, "status"),
            (CreatePayment { status: some("SUCCEEDED"), ..good() }, "status"),
        ];
        for (request, field) in cases {
            assert_eq!(request.parse().expect_err("refused").field(), Some(field));
        }
    }

    #[test]
    fn a_move_that_is_not_allowed_says_what_the_payment_is_and_what_it_must_be() {
        let message = cannot_become(PaymentStatus::Refunded, PaymentStatus::Refunded).to_string();
        assert_eq!(
            message,
            "the payment is refunded; only one that is succeeded can become refunded"
        );
    }
}
