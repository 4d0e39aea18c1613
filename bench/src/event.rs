//! The words that the driver, the receiver and the judge share: events and the one clock.
//!
//! An event is known by its payment and its kind, because that is what the driver knows of it; the
//! product's own ids are never asked for.

use domain::PaymentId;
use time::OffsetDateTime;

/// What happened to a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Succeeded,
    Refunded,
}

impl Kind {
    pub fn of_event_type(event_type: &str) -> Option<Self> {
        [Self::Succeeded, Self::Refunded].into_iter().find(|kind| kind.event_type() == event_type)
    }

    pub const fn event_type(self) -> &'static str {
        match self {
            Self::Succeeded => "payment.succeeded",
            Self::Refunded => "payment.refunded",
        }
    }
}

/// One event at the only endpoint of its merchant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Event {
    pub endpoint: u32,
    pub payment: PaymentId,
    pub kind: Kind,
}

/// An event whose transaction was acknowledged.
#[derive(Debug, Clone, Copy)]
pub struct Made {
    pub event: Event,
    /// Before the call that made it, microseconds since 1970.
    pub begun_us: i64,
    /// After its acknowledgement: it had committed.
    pub done_us: i64,
}

/// One request at the receiver.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    pub event: Event,
    /// Fingerprint of its webhook-id.
    pub webhook: u64,
    /// The event's own timestamp.
    pub happened_us: i64,
    /// When the request's headers were there.
    pub arrived_us: i64,
    /// Does the payment in the body say that it is refunded?
    pub is_refunded: bool,
}

/// Microseconds since 1970. The machine's clock is the one that PostgreSQL reads too.
pub fn now_us() -> i64 {
    micros_of(OffsetDateTime::now_utc())
}

/// A moment in microseconds since 1970.
pub fn micros_of(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX)
}
