//! The journal's events: what can happen to an endpoint.
//!
//! They are stored as JSON for good. A variant, once written, is never renamed or given another
//! meaning; fields are only added, with defaults.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{DeliveryId, Fault, Unwell};

/// Version of the events' form, kept beside each.
pub const JOURNAL_SCHEMA_VERSION: i32 = 1;

/// Why an endpoint was disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisabledReason {
    /// The merchant answered 410: the endpoint is no more.
    Gone,
}

/// Something that happened to an endpoint and changed where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EndpointEvent {
    /// An attempt found the endpoint unwell; everything waits.
    FoundUnwell {
        /// The delivery that was attempted.
        delivery: DeliveryId,
        /// What was seen.
        cause: Unwell,
        /// Does the span of being unwell begin (again) here?
        span_begins: bool,
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
        /// Until when everything waits.
        #[serde(with = "time::serde::rfc3339")]
        not_before: OffsetDateTime,
    },
    /// Too many unwell outcomes in a row: from now on one probe at a time.
    BreakerOpened {
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// The endpoint answered again; the breaker, if it was open, is closed.
    Recovered {
        /// The delivery that got through.
        delivery: DeliveryId,
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// Something on our side stood in the way of every delivery of the endpoint.
    FoundFault {
        /// What.
        fault: Fault,
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
        /// Until when everything waits.
        #[serde(with = "time::serde::rfc3339")]
        not_before: OffsetDateTime,
    },
    /// It no longer does.
    FaultEnded {
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// Nothing is sent any more; deliveries wait.
    Disabled {
        /// Why.
        reason: DisabledReason,
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
}

impl EndpointEvent {
    /// When it happened, by PostgreSQL's clock.
    pub const fn at(&self) -> OffsetDateTime {
        match self {
            Self::FoundUnwell { at, .. }
            | Self::BreakerOpened { at }
            | Self::Recovered { at, .. }
            | Self::FoundFault { at, .. }
            | Self::FaultEnded { at }
            | Self::Disabled { at, .. } => *at,
        }
    }
}
