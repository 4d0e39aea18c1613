//! Where an endpoint stands: the fold of its journal.
//!
//! It is stored as JSON beside the journal; fields are only ever added, with defaults, so that a
//! state written by an older version can be read.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::DisabledReason;
use crate::{Fault, Unwell};

/// May the endpoint be sent to at all?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Status {
    /// Yes.
    #[default]
    Active,
    /// Not until it is enabled again; its deliveries wait.
    Disabled {
        /// Why.
        reason: DisabledReason,
        /// Since when.
        #[serde(with = "time::serde::rfc3339")]
        since: OffsetDateTime,
    },
}

/// The breaker. Half-open is not stored: it is open, and `not_before` has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Breaker {
    /// Deliveries pass.
    #[default]
    Closed,
    /// One probe at a time, each after the backoff.
    Open {
        /// Since when.
        #[serde(with = "time::serde::rfc3339")]
        since: OffsetDateTime,
    },
}

/// A run of unwell outcomes without anything else in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnwellSpan {
    /// When it began; begins again after a gap that was our own.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// Outcomes so far.
    pub consecutive: u32,
    /// The last of them.
    #[serde(with = "time::serde::rfc3339")]
    pub last_at: OffsetDateTime,
    /// What it was.
    pub cause: Unwell,
}

/// A run of faults on our side without anything else in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultSpan {
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// Faults so far.
    pub consecutive: u32,
    /// The last of them.
    pub fault: Fault,
}

/// Where an endpoint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointState {
    /// May it be sent to at all?
    pub status: Status,
    /// The breaker.
    pub breaker: Breaker,
    /// Some while it is unwell.
    pub unwell: Option<UnwellSpan>,
    /// Some while we are at fault.
    pub fault: Option<FaultSpan>,
    /// Nothing of this endpoint is due before.
    #[serde(with = "time::serde::rfc3339::option")]
    pub not_before: Option<OffsetDateTime>,
}

impl EndpointState {
    /// May it be sent to, waits aside?
    pub const fn may_send(&self) -> bool {
        matches!(self.status, Status::Active)
    }

    /// Until when everything of this endpoint waits, if it does so at `now`.
    pub fn waits_until(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        self.not_before.filter(|until| *until > now)
    }
}
