//! The rules: what follows from an attempt's outcome.
//!
//! A decision has two halves: what becomes of the delivery, and what happened to the endpoint (the
//! journal's events). An outcome that changes nothing about the endpoint makes no event. Nothing
//! here knows who performs it.

use std::time::Duration;

use time::OffsetDateTime;

use super::{
    Backoff, Breaker, DisabledReason, EndpointEvent, EndpointState, Jitter, Policy, evolve,
};
use crate::{DeliveryId, Fault, Outcome, Unwell};

/// What an endpoint can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// An attempt has ended.
    Settle {
        /// Of which delivery.
        delivery: DeliveryFacts,
        /// What it came to.
        outcome: Outcome,
    },
}

/// What the rules need to know of a delivery, as it was before this attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryFacts {
    /// Which one.
    pub id: DeliveryId,
    /// Requests made for it so far.
    pub attempts: u32,
    /// How many of them were refusals.
    pub refusals: u32,
    /// When the first one began; none: this is the first.
    pub first_attempt_at: Option<OffsetDateTime>,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What becomes of the delivery.
    pub disposition: Disposition,
    /// What happened to the endpoint, in order.
    pub events: Vec<EndpointEvent>,
}

impl Decision {
    /// The state once all events have happened.
    pub fn state_after(&self, state: EndpointState) -> EndpointState {
        self.events.iter().fold(state, evolve)
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
    /// It keeps its place; the endpoint waits as a whole.
    Stay,
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
}

impl FinishReason {
    /// The terminal state and the reason, as the database has them.
    pub const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Delivered => ("delivered", "accepted"),
            Self::Refused => ("exhausted", "refused"),
            Self::Unwell => ("exhausted", "unwell"),
        }
    }
}

/// These statuses ask for patience: a minute at least, unless the merchant says how long.
const THROTTLED: [u16; 4] = [429, 502, 503, 504];
/// Standard Webhooks names the statuses; the minute is svix-server's overload penalty.
const THROTTLED_WAIT_MIN: Duration = Duration::from_secs(60);

/// What follows from `command`, at `now` by PostgreSQL's clock.
pub fn decide(
    state: &EndpointState,
    policy: &Policy,
    command: &Command,
    now: OffsetDateTime,
    jitter: Jitter,
) -> Decision {
    let Command::Settle { delivery, outcome } = command;
    match *outcome {
        Outcome::Delivered { .. } => Decision {
            disposition: Disposition::Finish(FinishReason::Delivered),
            events: answered(state, delivery.id, now),
        },
        Outcome::Refused { .. } => Decision {
            disposition: refused(policy, delivery, now, jitter),
            events: answered(state, delivery.id, now),
        },
        Outcome::Gone => {
            let mut events = answered(state, delivery.id, now);
            events.push(EndpointEvent::Disabled { reason: DisabledReason::Gone, at: now });
            Decision { disposition: Disposition::Stay, events }
        }
        Outcome::Unwell { cause, retry_after } => {
            unwell(state, policy, delivery, Seen { cause, retry_after }, now, jitter)
        }
        Outcome::Fault { fault } => faulty(state, delivery, fault, now, jitter),
    }
}

/// The endpoint answered: whatever stood in the way does so no longer.
fn answered(
    state: &EndpointState,
    delivery: DeliveryId,
    now: OffsetDateTime,
) -> Vec<EndpointEvent> {
    let mut events = Vec::new();
    if state.fault.is_some() {
        events.push(EndpointEvent::FaultEnded { at: now });
    }
    if state.unwell.is_some() || state.breaker != Breaker::Closed || state.not_before.is_some() {
        events.push(EndpointEvent::Recovered { delivery, at: now });
    }
    events
}

/// The event's own clock: it steps aside until its schedule says, or is over.
fn refused(
    policy: &Policy,
    delivery: &DeliveryFacts,
    now: OffsetDateTime,
    jitter: Jitter,
) -> Disposition {
    match policy.schedule.after(delivery.refusals.saturating_add(1)) {
        Some(wait) => Disposition::StepAside { until: now + jitter.apply(wait), refused: true },
        None => Disposition::Finish(FinishReason::Refused),
    }
}

struct Seen {
    cause: Unwell,
    retry_after: Option<Duration>,
}

/// The endpoint's clock: everything waits, the delivery keeps its place and is the next probe.
fn unwell(
    state: &EndpointState,
    policy: &Policy,
    delivery: &DeliveryFacts,
    seen: Seen,
    now: OffsetDateTime,
    jitter: Jitter,
) -> Decision {
    let before = state.unwell;
    let consecutive = before.map_or(1, |span| span.consecutive.saturating_add(1));
    let wait = wait_of(policy, &seen, consecutive, jitter);
    // A gap of more than twice the wait that was scheduled is our own outage, not the merchant's.
    let span_begins = before.is_none_or(|span| {
        let scheduled =
            state.not_before.map_or(Duration::ZERO, |until| between(span.last_at, until));
        between(span.last_at, now) > scheduled.saturating_mul(2)
    });
    let mut events = vec![EndpointEvent::FoundUnwell {
        delivery: delivery.id,
        cause: seen.cause,
        span_begins,
        at: now,
        not_before: now + wait,
    }];
    if state.fault.is_some() {
        events.insert(0, EndpointEvent::FaultEnded { at: now });
    }
    if state.breaker == Breaker::Closed && consecutive >= policy.breaker_opens_after {
        events.push(EndpointEvent::BreakerOpened { at: now });
    }
    let since = before.filter(|_| !span_begins).map_or(now, |span| span.since);
    let counts_from = delivery.first_attempt_at.map_or(now, |first| first.max(since));
    let disposition = if between(counts_from, now) >= policy.schedule.span() {
        Disposition::Finish(FinishReason::Unwell)
    } else {
        Disposition::Stay
    };
    Decision { disposition, events }
}

fn wait_of(policy: &Policy, seen: &Seen, consecutive: u32, jitter: Jitter) -> Duration {
    if let Some(asked) = seen.retry_after {
        return asked;
    }
    let wait = jitter.apply(policy.backoff.after(consecutive));
    match seen.cause {
        Unwell::Status(status) if THROTTLED.contains(&status) => wait.max(THROTTLED_WAIT_MIN),
        _ => wait,
    }
}

/// Our own fault: the merchant's clocks stand still.
fn faulty(
    state: &EndpointState,
    delivery: &DeliveryFacts,
    fault: Fault,
    now: OffsetDateTime,
    jitter: Jitter,
) -> Decision {
    if !fault.is_of_the_endpoint() {
        let wait = jitter.apply(Backoff::FAULT.after(delivery.attempts.saturating_add(1)));
        return Decision {
            disposition: Disposition::StepAside { until: now + wait, refused: false },
            events: Vec::new(),
        };
    }
    let consecutive = state.fault.map_or(1, |span| span.consecutive.saturating_add(1));
    let not_before = now + jitter.apply(Backoff::FAULT.after(consecutive));
    Decision {
        disposition: Disposition::Stay,
        events: vec![EndpointEvent::FoundFault { fault, at: now, not_before }],
    }
}

/// From `earlier` to `later`, or nothing when they are the other way round.
fn between(earlier: OffsetDateTime, later: OffsetDateTime) -> Duration {
    Duration::try_from(later - earlier).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
