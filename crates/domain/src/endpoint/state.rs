//! Where an endpoint stands: the fold of its journal.
//!
//! It is stored as JSON beside the journal; fields are only ever added, with defaults, so that a
//! state written by an older version can be read. What is as it was at the beginning is left out.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{DisabledReason, Walk, Window};
use crate::{DeliveryId, Fault, Unwell};

/// Version of the state's form, kept inside of it.
pub const STATE_SCHEMA_VERSION: i32 = 1;

/// May the endpoint be sent to at all?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Status {
    /// Yes.
    #[default]
    Active,
    /// Not until it is resumed; its deliveries wait.
    Paused {
        /// Since when.
        #[serde(with = "time::serde::rfc3339")]
        since: OffsetDateTime,
    },
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
    /// Until when it made everything wait. (`not_before` may be of a fault that came since.)
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub until: Option<OffsetDateTime>,
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

/// A delivery that nobody may pass, and that does not get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Which one.
    pub delivery: DeliveryId,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// What on our side is the matter with it; none: the merchant refuses it.
    pub fault: Option<Fault>,
}

/// An endpoint that was unwell gets its parallelism back step by step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ramp {
    /// Attempts at once, at most.
    pub lanes: u8,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

/// Where an endpoint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointState {
    /// Version of this form.
    pub schema_version: i32,
    /// May it be sent to at all?
    pub status: Status,
    /// The breaker.
    pub breaker: Breaker,
    /// Some while it is unwell.
    pub unwell: Option<UnwellSpan>,
    /// Some while we are at fault.
    pub fault: Option<FaultSpan>,
    /// Some while a delivery blocks the line (`strict`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<Block>,
    /// Nothing of this endpoint is due before.
    #[serde(with = "time::serde::rfc3339::option")]
    pub not_before: Option<OffsetDateTime>,
    /// Attempts that began before this say nothing about the endpoint: it was found unwell, or
    /// became another one, while they were under way.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub stale_before: Option<OffsetDateTime>,
    /// Which delivery probes next.
    #[serde(skip_serializing_if = "Walk::is_new")]
    pub walk: Walk,
    /// The last outcomes (`unordered`).
    #[serde(skip_serializing_if = "Window::is_clear")]
    pub window: Window,
    /// Some while the parallelism is not yet back (`unordered`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Ramp>,
}

impl Default for EndpointState {
    fn default() -> Self {
        Self {
            schema_version: STATE_SCHEMA_VERSION,
            status: Status::Active,
            breaker: Breaker::Closed,
            unwell: None,
            fault: None,
            blocked: None,
            not_before: None,
            stale_before: None,
            walk: Walk::default(),
            window: Window::default(),
            ramp: None,
        }
    }
}

impl EndpointState {
    /// May anything be sent to it, waits aside? To one that was disabled for being unwell, a
    /// daily probe may.
    pub const fn may_send(&self) -> bool {
        matches!(
            self.status,
            Status::Active | Status::Disabled { reason: DisabledReason::Unwell, .. }
        )
    }

    /// Until when everything of this endpoint waits, if it does so at `now`.
    pub fn waits_until(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        self.not_before.filter(|until| *until > now)
    }

    /// Does everything of this endpoint wait at `now`, for its time or for an operator?
    pub fn waits(&self, now: OffsetDateTime) -> bool {
        !self.may_send() || self.waits_until(now).is_some()
    }

    /// Is it let alone but for one probe at a time?
    pub(super) const fn is_probed(&self) -> bool {
        matches!(self.breaker, Breaker::Open { .. }) || self.is_disabled_for_being_unwell()
    }

    pub(super) const fn is_disabled_for_being_unwell(&self) -> bool {
        matches!(self.status, Status::Disabled { reason: DisabledReason::Unwell, .. })
    }

    pub(super) const fn is_deleted(&self) -> bool {
        matches!(self.status, Status::Disabled { reason: DisabledReason::Deleted, .. })
    }
}
