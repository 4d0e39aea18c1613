//! The rules: what follows from a command.
//!
//! A decision has two halves: what becomes of the delivery, and what happened to the endpoint (the
//! journal's events). What changes nothing about the endpoint makes no event. Nothing here knows
//! who performs it. What follows from an attempt stands in `settle`.

use time::OffsetDateTime;

use super::settle::{Attempted, Moment, settle};
use super::time_between::between;
use super::{
    Breaker, Command, DisabledReason, EnabledBecause, EndpointEvent, EndpointState, Jitter, Policy,
    Status, evolve, objection,
};
use crate::{DeliveryId, Fault};

/// What follows.
///
/// The store writes it in one transaction: the delivery's disposition, `poisonous` on every
/// delivery of [`Decision::marks_poisonous`] that still waits, the events and their fold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What becomes of the delivery that the command names, if it names one.
    pub disposition: Disposition,
    /// What happened to the endpoint, in order.
    pub events: Vec<EndpointEvent>,
}

impl Decision {
    /// The state once all events have happened.
    pub fn state_after(&self, state: EndpointState) -> EndpointState {
        self.events.iter().fold(state, evolve)
    }

    /// Was the breaker of an endpoint that stood at `state` open, and is no more?
    pub fn closes_breaker(&self, state: EndpointState) -> bool {
        let is_open = |state: EndpointState| matches!(state.breaker, Breaker::Open { .. });
        is_open(state) && !is_open(self.state_after(state))
    }

    /// Deliveries whose 5xx count as refusals from now on: at most eight.
    pub fn marks_poisonous(&self) -> impl Iterator<Item = DeliveryId> {
        self.events.iter().filter_map(|event| match event {
            EndpointEvent::FoundPoisonous { delivery, .. } => Some(*delivery),
            _ => None,
        })
    }
}

/// What becomes of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// It is over.
    Finish(FinishReason),
    /// It leaves the line and comes back at `until`; the next ones go on.
    StepAside {
        /// When it is due again.
        until: OffsetDateTime,
        /// Does its schedule advance?
        refused: bool,
    },
    /// It keeps its place.
    Stay,
    /// It was refused and keeps its place: its schedule advances, and nobody passes it.
    Block,
}

impl Disposition {
    /// Was this one of the event's refusals?
    pub const fn is_a_refusal(self) -> bool {
        matches!(
            self,
            Self::Finish(FinishReason::Refused)
                | Self::StepAside { refused: true, .. }
                | Self::Block
        )
    }
}

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The merchant has it.
    Delivered,
    /// It was refused until its schedule was used up.
    Refused,
    /// The endpoint was unwell for the schedule's whole span.
    Unwell,
    /// It waited for too long: a forgotten pause.
    Expired,
    /// An operator took it out of the line.
    Skipped,
    /// Its endpoint was deleted.
    Deleted,
}

impl FinishReason {
    /// The terminal state and the reason, as the database has them.
    pub const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Delivered => ("delivered", "accepted"),
            Self::Refused => ("exhausted", "refused"),
            Self::Unwell => ("exhausted", "unwell"),
            Self::Expired => ("exhausted", "expired"),
            Self::Skipped => ("cancelled", "skipped"),
            Self::Deleted => ("cancelled", "deleted"),
        }
    }
}

/// What follows from `command`, at `now` by PostgreSQL's clock.
pub fn decide(
    state: &EndpointState,
    policy: &Policy,
    command: &Command,
    now: OffsetDateTime,
    jitter: Jitter,
) -> Decision {
    match *command {
        Command::Settle { delivery, started_at, outcome } => {
            let attempted = Attempted { delivery, started_at, outcome };
            settle(state, policy, &attempted, Moment { now, jitter })
        }
        Command::Skip(delivery) => {
            let mut events = vec![EndpointEvent::Skipped { delivery, at: now }];
            events.extend(unblocked_by(state, delivery, now));
            Decision { disposition: Disposition::Finish(FinishReason::Skipped), events }
        }
        Command::Expire { delivery, waiting_since } => {
            if between(waiting_since, now) < policy.expires_after {
                return Decision { disposition: Disposition::Stay, events: Vec::new() };
            }
            let events = unblocked_by(state, delivery, now).into_iter().collect();
            Decision { disposition: Disposition::Finish(FinishReason::Expired), events }
        }
        _ => Decision { disposition: Disposition::Stay, events: told(state, command, now) },
    }
}

/// What a command that names no delivery makes happen.
fn told(state: &EndpointState, command: &Command, at: OffsetDateTime) -> Vec<EndpointEvent> {
    if objection(state, command).is_some() {
        return Vec::new();
    }
    if *command == Command::UrlChanged {
        return moved(state, at);
    }
    let event = match (*command, state.status) {
        // What is deleted is told nothing any more.
        (_, Status::Disabled { reason: DisabledReason::Deleted, .. }) => None,
        (Command::Delete, _) => {
            Some(EndpointEvent::Disabled { reason: DisabledReason::Deleted, at })
        }
        (Command::Pause, Status::Active) => Some(EndpointEvent::Paused { at }),
        (Command::Resume, Status::Paused { .. }) => Some(EndpointEvent::Resumed { at }),
        (Command::Disable, Status::Disabled { reason: DisabledReason::Operator, .. }) => None,
        (Command::Disable, _) => {
            Some(EndpointEvent::Disabled { reason: DisabledReason::Operator, at })
        }
        (Command::Enable, Status::Disabled { .. }) => {
            Some(EndpointEvent::Enabled { because: EnabledBecause::Operator, at })
        }
        (Command::OrderingChanged, _) => Some(EndpointEvent::OrderingChanged { at }),
        // There is one to sign with again. What else is the matter, it does not cure.
        (Command::SecretMade, _) => {
            let of_secrets = state.fault.filter(|span| span.fault == Fault::Secret);
            of_secrets.map(|_| EndpointEvent::FaultEnded { at })
        }
        (Command::Redeliver(deliveries), _) if deliveries > 0 => {
            Some(EndpointEvent::Redelivered { deliveries, at })
        }
        _ => None,
    };
    event.into_iter().collect()
}

/// The endpoint is somewhere else. Whether it is up is not known of the new URL, so what the old one
/// did disables it no longer; an operator's word is not of a URL and stands.
fn moved(state: &EndpointState, at: OffsetDateTime) -> Vec<EndpointEvent> {
    let because = EnabledBecause::NewUrl;
    match state.status {
        Status::Disabled { reason: DisabledReason::Deleted, .. } => Vec::new(),
        Status::Disabled { reason: DisabledReason::Gone | DisabledReason::Unwell, .. } => {
            vec![EndpointEvent::UrlChanged { at }, EndpointEvent::Enabled { because, at }]
        }
        Status::Active
        | Status::Paused { .. }
        | Status::Disabled { reason: DisabledReason::Operator, .. } => {
            vec![EndpointEvent::UrlChanged { at }]
        }
    }
}

/// The line goes on when the delivery that blocks it is over.
pub(super) fn unblocked_by(
    state: &EndpointState,
    delivery: DeliveryId,
    at: OffsetDateTime,
) -> Option<EndpointEvent> {
    state
        .blocked
        .filter(|block| block.delivery == delivery)
        .map(|_| EndpointEvent::Unblocked { at })
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
