//! The rules for an attempt: is the endpoint down, or only this event? Table: ARCHITECTURE.md.
//!
//! An answer ends whatever stood in the endpoint's way; a refusal is an answer, and only the
//! event's own clock goes on. No answer, or one that says so, makes everything wait by the
//! endpoint's clock. A fault of ours moves neither. An attempt that began before the endpoint was
//! found unwell, or became another one, says nothing about it: there the next one asks again. Of
//! one that was deleted nothing is said any more.

use std::time::Duration;

use time::OffsetDateTime;

use super::decide::unblocked_by;
use super::time_between::between;
use super::walk::is_a_server_error;
use super::{
    Backoff, Breaker, Decision, DeliveryFacts, DisabledReason, Disposition, EnabledBecause,
    EndpointEvent, EndpointState, FinishReason, Jitter, Ordering, Policy, Status, UnwellSpan,
};
use crate::{Fault, Outcome, Unwell};

/// These statuses ask for patience, unless the merchant says how much: Standard Webhooks names
/// them.
const THROTTLED: [u16; 4] = [429, 502, 503, 504];
/// A merchant's wish is honoured within these bounds, whoever read it from the answer.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);
/// An attempt that comes so much later than it should have is no sign of an outage of ours: a
/// timer, a queue and a sweeper's round fit into it.
const DELAY_WITHOUT_OUTAGE: Duration = Duration::from_secs(120);

/// An attempt that has ended.
pub(super) struct Attempted {
    pub(super) delivery: DeliveryFacts,
    pub(super) started_at: OffsetDateTime,
    pub(super) outcome: Outcome,
}

/// What is asked of the world.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: OffsetDateTime,
    pub(super) jitter: Jitter,
}

/// The delivery keeps its place, and the endpoint stands where it stood.
const NOTHING: Decision = Decision { disposition: Disposition::Stay, events: Vec::new() };

/// The rules, for one attempt.
pub(super) fn settle(
    state: &EndpointState,
    policy: &Policy,
    attempted: &Attempted,
    moment: Moment,
) -> Decision {
    let case = Case { state, policy, attempted, now: moment.now, jitter: moment.jitter };
    match attempted.outcome {
        Outcome::Delivered { .. } => Decision {
            disposition: Disposition::Finish(FinishReason::Delivered),
            events: case.answered(),
        },
        Outcome::Refused { .. } => case.refused(case.answered()),
        // That it fails is known of the event, and says nothing about the endpoint.
        Outcome::Unwell { cause, .. } if case.is_poisoned(cause) => {
            case.refused(case.fault_ended())
        }
        Outcome::Gone | Outcome::Unwell { .. } if case.is_stale() => NOTHING,
        Outcome::Gone => case.gone(),
        Outcome::Unwell { cause, retry_after } => case.unwell(cause, retry_after),
        Outcome::Fault { fault } => case.faulty(fault),
    }
}

/// All that a rule may look at.
struct Case<'a> {
    state: &'a EndpointState,
    policy: &'a Policy,
    attempted: &'a Attempted,
    now: OffsetDateTime,
    jitter: Jitter,
}

impl Case<'_> {
    /// Does the attempt say nothing about the endpoint, because it is another one by now, or none?
    fn is_stale(&self) -> bool {
        self.state.is_deleted()
            || self.state.stale_before.is_some_and(|before| self.attempted.started_at < before)
    }

    /// Is it the event that fails? Not while the endpoint is disabled: then nothing is used up.
    fn is_poisoned(&self, cause: Unwell) -> bool {
        self.attempted.delivery.poisonous
            && is_a_server_error(cause)
            && !self.state.is_disabled_for_being_unwell()
    }

    fn is_unordered(&self) -> bool {
        self.policy.ordering == Ordering::Unordered
    }

    /// The endpoint answered: whatever stood in the way does so no longer.
    fn answered(&self) -> Vec<EndpointEvent> {
        let (state, at, delivery) = (self.state, self.now, self.attempted.delivery.id);
        if self.is_stale() {
            return Vec::new();
        }
        let mut events = self.fault_ended();
        if state.blocked.is_some() {
            events.push(EndpointEvent::Unblocked { at });
        }
        if state.is_disabled_for_being_unwell() {
            events.push(EndpointEvent::Enabled { because: EnabledBecause::Probe, at });
        }
        if state.unwell.is_some() || state.breaker != Breaker::Closed {
            if state.breaker != Breaker::Closed && self.policy.ordering != Ordering::Strict {
                let poisonous = state.walk.convicts(delivery);
                events.extend(
                    poisonous.map(|delivery| EndpointEvent::FoundPoisonous { delivery, at }),
                );
            }
            let lanes = self.is_unordered().then_some(1);
            events.push(EndpointEvent::Recovered { delivery, lanes, at });
        } else if let Some(lanes) = self.widened() {
            events.push(EndpointEvent::Answered { lanes, at });
        }
        events
    }

    /// The parallelism from now on, when an endpoint that is still watched answers.
    fn widened(&self) -> Option<Option<u8>> {
        let state = self.state;
        let Some(ramp) = state.ramp else {
            return (!state.window.is_clear()).then_some(None);
        };
        // Each step needs an answer to an attempt that was made on it.
        if self.attempted.started_at < ramp.since {
            return (!state.window.is_clear()).then_some(Some(ramp.lanes));
        }
        let lanes = ramp.lanes.saturating_mul(2);
        Some(Some(lanes).filter(|lanes| *lanes < self.policy.parallelism))
    }

    fn fault_ended(&self) -> Vec<EndpointEvent> {
        let fault = self.state.fault.filter(|_| !self.is_stale());
        fault.map(|_| EndpointEvent::FaultEnded { at: self.now }).into_iter().collect()
    }

    /// The event's own clock: it steps aside until its schedule says, or is over.
    fn refused(&self, mut events: Vec<EndpointEvent>) -> Decision {
        let delivery = &self.attempted.delivery;
        let Some(wait) = self.policy.schedule.after(delivery.refusals.saturating_add(1)) else {
            let is_said = self.is_stale()
                || events.iter().any(|e| matches!(e, EndpointEvent::Unblocked { .. }));
            events.extend(unblocked_by(self.state, delivery.id, self.now).filter(|_| !is_said));
            return Decision { disposition: Disposition::Finish(FinishReason::Refused), events };
        };
        let until = self.now + self.jitter.apply(wait);
        if self.policy.ordering == Ordering::Strict {
            if self.is_stale() {
                return NOTHING;
            }
            // It is blocked still: no need to say that it is not, first.
            events.retain(|event| !matches!(event, EndpointEvent::Unblocked { .. }));
            events.push(self.blocked(None, until));
            return Decision { disposition: Disposition::Block, events };
        }
        Decision { disposition: Disposition::StepAside { until, refused: true }, events }
    }

    fn blocked(&self, fault: Option<Fault>, not_before: OffsetDateTime) -> EndpointEvent {
        let delivery = self.attempted.delivery.id;
        EndpointEvent::Blocked { delivery, fault, at: self.now, not_before }
    }

    fn gone(&self) -> Decision {
        let mut events = self.fault_ended();
        let is_up_to_the_merchant = match self.state.status {
            Status::Active | Status::Paused { .. } => true,
            Status::Disabled { reason, .. } => reason == DisabledReason::Unwell,
        };
        if is_up_to_the_merchant {
            events.push(EndpointEvent::Disabled { reason: DisabledReason::Gone, at: self.now });
        }
        Decision { disposition: Disposition::Stay, events }
    }

    /// The endpoint's clock: everything waits, the delivery keeps its place and is the next probe.
    fn unwell(&self, cause: Unwell, retry_after: Option<Duration>) -> Decision {
        let (state, policy, at) = (self.state, self.policy, self.now);
        let before = state.unwell;
        let consecutive = before.map_or(1, |span| span.consecutive.saturating_add(1));
        let span_begins = before.is_none_or(|span| self.was_our_outage(&span));
        let since = before.filter(|_| !span_begins).map_or(at, |span| span.since);
        let disables =
            state.status == Status::Active && between(since, at) >= policy.disables_after;
        let is_disabled = disables || state.is_disabled_for_being_unwell();
        let wait = if is_disabled {
            policy.probes_every
        } else {
            self.wait(cause, retry_after, consecutive)
        };
        let in_window = self.is_unordered();
        let mut events = self.fault_ended();
        events.push(EndpointEvent::FoundUnwell {
            delivery: self.attempted.delivery.id,
            cause,
            span_begins,
            in_window,
            at,
            not_before: at + wait,
        });
        let too_many = consecutive >= policy.breaker_opens_after
            || (in_window && state.window.after(true).holds(policy.breaker_opens_at_percent));
        if state.breaker == Breaker::Closed && (too_many || disables) {
            events.push(EndpointEvent::BreakerOpened { at });
        }
        if disables {
            events.push(EndpointEvent::Disabled { reason: DisabledReason::Unwell, at });
        }
        let disposition = if self.is_used_up(since, disables) {
            Disposition::Finish(FinishReason::Unwell)
        } else {
            Disposition::Stay
        };
        Decision { disposition, events }
    }

    /// Was the endpoint unwell for the schedule's whole span since the delivery's first attempt?
    fn is_used_up(&self, since: OffsetDateTime, disables: bool) -> bool {
        // A paused or disabled endpoint collects deliveries and loses none, whatever its order: a
        // strict one that stays disabled for its head's sake is an operator's to free.
        let is_active = self.state.status == Status::Active && !disables;
        let first = self.attempted.delivery.first_attempt_at.unwrap_or(self.now);
        is_active && between(first.max(since), self.now) >= self.policy.schedule.span()
    }

    /// Did this attempt begin so late after the last one that the time between is ours, not the
    /// merchant's: more than twice the wait?
    fn was_our_outage(&self, span: &UnwellSpan) -> bool {
        let until = span.until.or(self.state.not_before).unwrap_or(span.last_at);
        let wait = between(span.last_at, until);
        let gap = between(span.last_at, self.attempted.started_at);
        gap > wait.saturating_mul(2).max(wait + DELAY_WITHOUT_OUTAGE)
    }

    fn wait(&self, cause: Unwell, retry_after: Option<Duration>, consecutive: u32) -> Duration {
        let wait = self.jitter.apply(self.policy.backoff.after(consecutive));
        if let Some(asked) = retry_after {
            let asked = asked.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX);
            // Once it was let alone, it may ask for more patience and not for less.
            return match self.state.breaker {
                Breaker::Closed => asked,
                Breaker::Open { .. } => asked.max(wait),
            };
        }
        match cause {
            Unwell::Status(status) if THROTTLED.contains(&status) => {
                wait.max(self.policy.throttled_wait_min)
            }
            _ => wait,
        }
    }

    /// Our own fault: the merchant's clocks stand still.
    fn faulty(&self, fault: Fault) -> Decision {
        let at = self.now;
        let is_strict = self.policy.ordering == Ordering::Strict;
        if self.is_stale() && (is_strict || fault.is_of_the_endpoint()) {
            return NOTHING;
        }
        if fault.is_of_the_endpoint() {
            let consecutive = self.state.fault.map_or(1, |span| span.consecutive.saturating_add(1));
            let until = at + self.jitter.apply(Backoff::FAULT.after(consecutive));
            let not_before = self.no_sooner(until);
            let events = vec![EndpointEvent::FoundFault { fault, at, not_before }];
            return Decision { disposition: Disposition::Stay, events };
        }
        let attempts = self.attempted.delivery.attempts.saturating_add(1);
        let until = at + self.jitter.apply(Backoff::DELIVERY_FAULT.after(attempts));
        if is_strict {
            let events = vec![self.blocked(Some(fault), self.no_sooner(until))];
            return Decision { disposition: Disposition::Stay, events };
        }
        let disposition = Disposition::StepAside { until, refused: false };
        Decision { disposition, events: Vec::new() }
    }

    /// A fault of ours never makes a wait shorter that the merchant asked for.
    fn no_sooner(&self, until: OffsetDateTime) -> OffsetDateTime {
        self.state.not_before.map_or(until, |before| before.max(until))
    }
}
