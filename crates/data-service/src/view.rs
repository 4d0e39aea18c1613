//! A payment as a merchant reads it: minified JSON, field order fixed, times in UTC with
//! microseconds and `Z`.
//!
//! This is a contract with every merchant. A field may be added; none is renamed or removed.

use domain::{Payment, rfc3339_micros};
use serde::Serialize;

#[derive(Debug, Serialize)]
struct View<'a> {
    id: String,
    merchant_id: &'a str,
    /// In minor units.
    amount: i64,
    currency: &'a str,
    status: &'a str,
    created_at: String,
    updated_at: String,
}

/// The payment as minified JSON.
///
/// # Errors
/// Never, for a payment: its fields are texts and one number.
pub(crate) fn json_of(payment: &Payment) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&View {
        id: payment.id.to_string(),
        merchant_id: payment.merchant_id.as_str(),
        amount: payment.amount.minor_units(),
        currency: payment.currency.code(),
        status: payment.status.as_str(),
        created_at: rfc3339_micros(payment.created_at),
        updated_at: rfc3339_micros(payment.updated_at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Amount, Currency, MerchantId, PaymentStatus};
    use time::macros::datetime;

    #[test]
    fn a_payment_is_written_byte_for_byte_as_the_contract_has_it() -> anyhow::Result<()> {
        let payment = Payment {
            id: uuid::Uuid::try_parse("0198c5a4-1111-7abc-8def-0123456789ab")?.into(),
            merchant_id: MerchantId::demo(),
            amount: Amount::try_from(1000)?,
            currency: Currency::try_from("USD")?,
            status: PaymentStatus::Refunded,
            created_at: datetime!(2025-01-02 03:04:05 UTC),
            // Another offset is the same moment, and microseconds are kept.
            updated_at: datetime!(2025-01-02 05:04:05.000_012 +2),
        };
        let expected = concat!(
            r#"{"id":"pay_0198c5a4-1111-7abc-8def-0123456789ab","merchant_id":"demo","#,
            r#""amount":1000,"currency":"USD","status":"refunded","#,
            r#""created_at":"2025-01-02T03:04:05.000000Z","updated_at":"2025-01-02T03:04:05.000012Z"}"#
        );
        assert_eq!(String::from_utf8(json_of(&payment)?)?, expected);
        Ok(())
    }
}
