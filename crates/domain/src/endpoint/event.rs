//! The journal's events: what can happen to an endpoint.
//!
//! They are stored as JSON for good. A variant, once written, is never renamed or given another
//! meaning; fields are only added, with defaults. `tests/fixtures/journal_v1*.jsonl` hold one of
//! each with each of its reasons, as it was written when it was new.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{DeliveryId, Fault, Unwell};

/// Version of the events' form, kept beside each. Raised when the same bytes would mean something
/// else; not for a variant or a field that is added.
pub const JOURNAL_SCHEMA_VERSION: i32 = 1;

/// Why an endpoint was disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisabledReason {
    /// The merchant answered 410: the endpoint is no more.
    Gone,
    /// It was unwell for days. One probe a day finds out whether it is back.
    Unwell,
    /// An operator said so.
    Operator,
    /// An operator deleted it: it never comes back, its journal stays.
    Deleted,
}

/// Why an endpoint is active again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnabledBecause {
    /// An operator said so: whatever stood in the way is forgotten.
    Operator,
    /// The daily probe got an answer.
    Probe,
    /// It is somewhere else now: what its old URL had said, or failed to, says nothing of the new one.
    NewUrl,
}

/// Something that happened to an endpoint.
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
        /// Does the window of the last twenty outcomes count it?
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        in_window: bool,
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
        /// Until when everything waits.
        #[serde(with = "time::serde::rfc3339")]
        not_before: OffsetDateTime,
    },
    /// Too many unwell outcomes: from now on one probe at a time.
    BreakerOpened {
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// The delivery fails while others get through: from now on its 5xx are refusals.
    FoundPoisonous {
        /// Which one.
        delivery: DeliveryId,
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// The endpoint answered again; the breaker, if it was open, is closed.
    Recovered {
        /// The delivery that got through.
        delivery: DeliveryId,
        /// How many attempts at once may follow; none: as many as the policy allows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lanes: Option<u8>,
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// It answered while it was still being watched: the window held an unwell outcome, or its
    /// parallelism was not yet back.
    Answered {
        /// How many attempts at once may follow; none: as many as the policy allows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lanes: Option<u8>,
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// A delivery that nobody may pass does not get through; everything waits behind it.
    Blocked {
        /// Which one.
        delivery: DeliveryId,
        /// What on our side is the matter with it; none: the merchant refused it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<Fault>,
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
        /// Until when everything waits.
        #[serde(with = "time::serde::rfc3339")]
        not_before: OffsetDateTime,
    },
    /// It got through, or is over.
    Unblocked {
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
    /// Nothing is sent any more (but a daily probe, when it was unwell); deliveries wait.
    Disabled {
        /// Why.
        reason: DisabledReason,
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// It is active again.
    Enabled {
        /// Why.
        because: EnabledBecause,
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// An operator wants nothing sent for now; deliveries wait.
    Paused {
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// The pause is over.
    Resumed {
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// It is somewhere else now: whatever stood in the way is forgotten.
    UrlChanged {
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// Its deliveries go out in another order now.
    OrderingChanged {
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// An operator took a delivery out of the line.
    Skipped {
        /// Which one.
        delivery: DeliveryId,
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// An operator put deliveries that were over back into the line.
    Redelivered {
        /// How many.
        deliveries: u32,
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
            | Self::FoundPoisonous { at, .. }
            | Self::Recovered { at, .. }
            | Self::Answered { at, .. }
            | Self::Blocked { at, .. }
            | Self::Unblocked { at }
            | Self::FoundFault { at, .. }
            | Self::FaultEnded { at }
            | Self::Disabled { at, .. }
            | Self::Enabled { at, .. }
            | Self::Paused { at }
            | Self::Resumed { at }
            | Self::UrlChanged { at }
            | Self::OrderingChanged { at }
            | Self::Skipped { at, .. }
            | Self::Redelivered { at, .. } => *at,
        }
    }
}
