//! Payments: amount, currency and the states a payment moves through.
//!
//! A change of state is what makes a domain event; the trigger on `payments` names it
//! `payment.<state>`. No rule about states stands anywhere else.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{Invalid, MerchantId, PaymentId};

/// An amount in minor units (cents), 1 to 99,999,999,999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Amount(i64);

impl Amount {
    /// Largest amount, in minor units; the same bound as Stripe's eight digits, times a thousand.
    pub const MAX: i64 = 99_999_999_999;

    /// The amount in minor units.
    pub const fn minor_units(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for Amount {
    type Error = Invalid;

    fn try_from(minor_units: i64) -> Result<Self, Invalid> {
        if !(1..=Self::MAX).contains(&minor_units) {
            return Err(Invalid::new(
                "amount",
                format!("must be a whole number of minor units, 1 to {}", Self::MAX),
            ));
        }
        Ok(Self(minor_units))
    }
}

/// A currency of ISO 4217, upper case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Currency(&'static str);

/// Active codes of ISO 4217 that payments are made in (funds, metals and test codes left out).
const CURRENCIES: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB \
BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR \
FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES \
KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR \
MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR \
SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH \
UGX USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG";

impl Currency {
    /// The code, upper case.
    pub const fn code(self) -> &'static str {
        self.0
    }
}

impl TryFrom<&str> for Currency {
    type Error = Invalid;

    fn try_from(code: &str) -> Result<Self, Invalid> {
        CURRENCIES
            .split_ascii_whitespace()
            .find(|known| known.eq_ignore_ascii_case(code))
            .map(Self)
            .ok_or_else(|| {
                Invalid::new("currency", "must be a currency code of ISO 4217, such as USD")
            })
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The states of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    /// Begun, not decided.
    Pending,
    /// The money moved.
    Succeeded,
    /// The money did not move.
    Failed,
    /// Called off before it was decided.
    Cancelled,
    /// The money went back.
    Refunded,
}

impl PaymentStatus {
    /// Every state, in the order of a payment's life.
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::Succeeded, Self::Failed, Self::Cancelled, Self::Refunded];

    /// The state's name, as the database, the events and the API have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Refunded => "refunded",
        }
    }

    /// May a payment in this state move to `next`?
    pub const fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Pending, Self::Succeeded | Self::Failed | Self::Cancelled)
                | (Self::Succeeded, Self::Refunded)
        )
    }
}

impl TryFrom<&str> for PaymentStatus {
    type Error = Invalid;

    fn try_from(name: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|status| status.as_str() == name).ok_or_else(|| {
            Invalid::new("status", "must be pending, succeeded, failed, cancelled or refunded")
        })
    }
}

impl fmt::Display for PaymentStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The state in which a payment begins: pending or succeeded. One that names none succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstStatus(PaymentStatus);

impl FirstStatus {
    /// The state.
    pub const fn get(self) -> PaymentStatus {
        self.0
    }

    fn invalid() -> Invalid {
        Invalid::new("status", "must be pending or succeeded: so a payment begins")
    }
}

impl Default for FirstStatus {
    fn default() -> Self {
        Self(PaymentStatus::Succeeded)
    }
}

impl TryFrom<PaymentStatus> for FirstStatus {
    type Error = Invalid;

    fn try_from(status: PaymentStatus) -> Result<Self, Invalid> {
        match status {
            PaymentStatus::Pending | PaymentStatus::Succeeded => Ok(Self(status)),
            PaymentStatus::Failed | PaymentStatus::Cancelled | PaymentStatus::Refunded => {
                Err(Self::invalid())
            }
        }
    }
}

impl TryFrom<&str> for FirstStatus {
    type Error = Invalid;

    fn try_from(name: &str) -> Result<Self, Invalid> {
        PaymentStatus::try_from(name).map_err(|_| Self::invalid())?.try_into()
    }
}

/// A payment that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPayment {
    /// Who is paid.
    pub merchant_id: MerchantId,
    /// How much.
    pub amount: Amount,
    /// In what.
    pub currency: Currency,
    /// In which state it begins.
    pub status: FirstStatus,
}

/// A payment as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Its id.
    pub id: PaymentId,
    /// Who is paid.
    pub merchant_id: MerchantId,
    /// How much.
    pub amount: Amount,
    /// In what.
    pub currency: Currency,
    /// Where in its life it is.
    pub status: PaymentStatus,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When its state last changed.
    pub updated_at: OffsetDateTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_positive_and_bounded() {
        for bad in [0, -1, i64::MIN, Amount::MAX + 1] {
            assert_eq!(Amount::try_from(bad).expect_err("refused").field, "amount");
        }
        assert_eq!(Amount::try_from(1).expect("accepted").minor_units(), 1);
    }

    #[test]
    fn currencies_are_known_in_any_case_and_shown_upper_case() {
        assert_eq!(Currency::try_from("usd").expect("known").code(), "USD");
        for bad in ["", "US", "XXX", "DOLLAR", "US D"] {
            assert!(Currency::try_from(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_payment_begins_pending_or_succeeded_and_in_no_other_state() {
        for status in PaymentStatus::ALL {
            let may = matches!(status, PaymentStatus::Pending | PaymentStatus::Succeeded);
            assert_eq!(FirstStatus::try_from(status).is_ok(), may, "{status}");
            assert_eq!(FirstStatus::try_from(status.as_str()).is_ok(), may, "{status}");
        }
        assert_eq!(FirstStatus::try_from("unheard_of").expect_err("refused").field, "status");
        assert_eq!(FirstStatus::default().get(), PaymentStatus::Succeeded);
    }

    #[test]
    fn a_payment_that_is_decided_only_goes_back_as_a_refund() {
        use PaymentStatus::{Cancelled, Failed, Pending, Refunded, Succeeded};
        let moves: Vec<_> = PaymentStatus::ALL
            .into_iter()
            .flat_map(|from| PaymentStatus::ALL.into_iter().map(move |to| (from, to)))
            .filter(|(from, to)| from.may_become(*to))
            .collect();
        assert_eq!(
            moves,
            [(Pending, Succeeded), (Pending, Failed), (Pending, Cancelled), (Succeeded, Refunded)]
        );
        assert!(!Refunded.may_become(Refunded) && !Failed.may_become(Cancelled));
    }
}
