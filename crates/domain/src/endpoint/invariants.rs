//! What must be true of every step, whatever happened before: one sentence each.
//!
//! They are said once more, from the outside, so that a rule and its check do not share a mistake.
//! Property tests and the simulation call [`broken`] after every step that they make. It reads and
//! never decides.

use std::time::Duration;

use time::OffsetDateTime;

use super::settle::RETRY_AFTER_MAX;
use super::time_between::between;
use super::{
    Backoff, Breaker, Command, Decision, DeliveryFacts, DisabledReason, Disposition, EndpointEvent,
    EndpointState, FinishReason, Jitter, Ordering, Policy, Status,
};
use crate::{Fault, Outcome, Unwell};

/// A step that was made.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Where the endpoint stood.
    pub before: &'a EndpointState,
    /// How it is dealt with.
    pub policy: &'a Policy,
    /// What it was told.
    pub command: &'a Command,
    /// When.
    pub now: OffsetDateTime,
    /// What followed.
    pub decision: &'a Decision,
    /// Where it stands now.
    pub after: &'a EndpointState,
}

type Invariant = (&'static str, fn(&Step<'_>) -> bool);

macro_rules! named {
    ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn(&Step<'_>) -> bool)),*] };
}

/// Every invariant with its name.
pub const ALL: [Invariant; 27] = named![
    the_events_fold_to_the_state,
    only_a_2xx_delivers,
    only_a_refusal_advances_the_schedule_of_an_event,
    a_refused_event_is_exhausted_when_its_schedule_is_used_up_and_not_before,
    an_event_is_exhausted_by_an_unwell_endpoint_after_the_whole_span_and_not_before,
    a_paused_or_disabled_endpoint_uses_nothing_up,
    only_an_old_delivery_expires,
    only_an_operator_cancels,
    who_keeps_its_place_waits_with_the_endpoint,
    who_steps_aside_comes_back_and_not_too_late,
    in_strict_nobody_steps_aside,
    nobody_waits_longer_than_the_longest_wait,
    a_wait_has_a_cause,
    a_fault_of_ours_moves_no_clock_of_the_merchant,
    a_fault_of_ours_never_makes_a_wait_shorter,
    an_answer_ends_what_stood_in_the_way,
    a_stale_attempt_says_nothing_about_the_endpoint,
    an_open_breaker_has_seen_an_unwell_endpoint,
    the_breaker_opens_on_an_unwell_outcome_only,
    a_merchant_is_disabled_after_the_whole_time_and_not_before,
    a_merchant_is_told_apart_from_an_operator,
    only_an_operator_pauses_and_resumes,
    a_new_url_enables_what_the_old_one_had_disabled_and_nothing_else,
    a_new_secret_ends_a_fault_of_secrets_and_nothing_else,
    only_a_probe_that_gets_through_convicts,
    parallelism_comes_back_by_doubling,
    what_changes_nothing_writes_no_event,
];

/// The name of an invariant that `step` breaks, if it breaks one.
pub fn broken(step: &Step<'_>) -> Option<&'static str> {
    ALL.iter().find(|(_, holds)| !holds(step)).map(|(name, _)| *name)
}

struct Settled<'a> {
    delivery: &'a DeliveryFacts,
    outcome: Outcome,
    is_stale: bool,
    /// The endpoint was disabled for being unwell: then nothing is the event's own failure.
    is_disabled: bool,
}

impl Step<'_> {
    fn settled(&self) -> Option<Settled<'_>> {
        let Command::Settle { delivery, started_at, outcome } = self.command else { return None };
        let is_stale = is_disabled_for(self.before, DisabledReason::Deleted)
            || self.before.stale_before.is_some_and(|before| *started_at < before);
        let is_disabled = is_disabled_for(self.before, DisabledReason::Unwell);
        Some(Settled { delivery, outcome: *outcome, is_stale, is_disabled })
    }

    fn finished(&self) -> Option<FinishReason> {
        match self.decision.disposition {
            Disposition::Finish(reason) => Some(reason),
            _ => None,
        }
    }

    fn has(&self, is_it: fn(&EndpointEvent) -> bool) -> bool {
        self.decision.events.iter().any(is_it)
    }
}

impl Settled<'_> {
    fn is_an_answer(&self) -> bool {
        matches!(self.outcome, Outcome::Delivered { .. } | Outcome::Refused { .. })
    }

    fn is_a_refusal(&self) -> bool {
        let is_a_500 = matches!(self.outcome, Outcome::Unwell { cause: Unwell::Status(500..), .. });
        let is_its_own = self.delivery.poisonous && !self.is_disabled;
        matches!(self.outcome, Outcome::Refused { .. }) || (is_its_own && is_a_500)
    }
}

fn longest(wait: Duration) -> Duration {
    Jitter::from_unit(1.0).apply(wait)
}

fn is_disabled_for(state: &EndpointState, because: DisabledReason) -> bool {
    matches!(state.status, Status::Disabled { reason, .. } if reason == because)
}

fn the_events_fold_to_the_state(step: &Step<'_>) -> bool {
    step.decision.state_after(*step.before) == *step.after
}

fn only_a_2xx_delivers(step: &Step<'_>) -> bool {
    let accepted = step.settled().is_some_and(|s| matches!(s.outcome, Outcome::Delivered { .. }));
    accepted == (step.finished() == Some(FinishReason::Delivered))
}

fn only_a_refusal_advances_the_schedule_of_an_event(step: &Step<'_>) -> bool {
    !step.decision.disposition.is_a_refusal() || step.settled().is_some_and(|s| s.is_a_refusal())
}

fn a_refused_event_is_exhausted_when_its_schedule_is_used_up_and_not_before(
    step: &Step<'_>,
) -> bool {
    let Some(settled) = step.settled() else { return true };
    if !step.decision.disposition.is_a_refusal() {
        return true;
    }
    let is_used_up = step.policy.schedule.after(settled.delivery.refusals + 1).is_none();
    is_used_up == (step.finished() == Some(FinishReason::Refused))
}

fn an_event_is_exhausted_by_an_unwell_endpoint_after_the_whole_span_and_not_before(
    step: &Step<'_>,
) -> bool {
    let (Some(settled), Some(span)) = (step.settled(), step.after.unwell) else {
        return step.finished() != Some(FinishReason::Unwell);
    };
    if settled.is_stale || !matches!(settled.outcome, Outcome::Unwell { .. }) {
        return true;
    }
    let first = settled.delivery.first_attempt_at.unwrap_or(step.now);
    let is_over = between(first.max(span.since), step.now) >= step.policy.schedule.span();
    let counts = step.after.status == Status::Active && !settled.is_a_refusal();
    (is_over && counts) == (step.finished() == Some(FinishReason::Unwell))
}

fn a_paused_or_disabled_endpoint_uses_nothing_up(step: &Step<'_>) -> bool {
    let is_active = step.before.status == Status::Active && step.after.status == Status::Active;
    is_active || step.finished() != Some(FinishReason::Unwell)
}

fn only_an_old_delivery_expires(step: &Step<'_>) -> bool {
    let is_old = match step.command {
        Command::Expire { waiting_since, .. } => {
            between(*waiting_since, step.now) >= step.policy.expires_after
        }
        _ => false,
    };
    is_old == (step.finished() == Some(FinishReason::Expired))
}

fn only_an_operator_cancels(step: &Step<'_>) -> bool {
    let asked = matches!(step.command, Command::Skip(_));
    asked == (step.finished() == Some(FinishReason::Skipped))
}

fn who_keeps_its_place_waits_with_the_endpoint(step: &Step<'_>) -> bool {
    let keeps = matches!(step.decision.disposition, Disposition::Stay | Disposition::Block);
    // A stale attempt is made again, and that one is not stale.
    step.settled().is_none_or(|s| s.is_stale) || !keeps || step.after.waits(step.now)
}

fn who_steps_aside_comes_back_and_not_too_late(step: &Step<'_>) -> bool {
    let Disposition::StepAside { until, .. } = step.decision.disposition else { return true };
    let fault = Backoff::DELIVERY_FAULT.after(u32::MAX);
    let longest_wait = step.policy.schedule.longest().max(fault);
    until > step.now && between(step.now, until) <= longest(longest_wait)
}

fn in_strict_nobody_steps_aside(step: &Step<'_>) -> bool {
    step.policy.ordering != Ordering::Strict
        || !matches!(step.decision.disposition, Disposition::StepAside { .. })
}

fn nobody_waits_longer_than_the_longest_wait(step: &Step<'_>) -> bool {
    if step.decision.events.is_empty() {
        return true;
    }
    let Some(until) = step.after.waits_until(step.now) else { return true };
    let policy = step.policy;
    let longest_wait = longest(policy.backoff.after(u32::MAX))
        .max(longest(Backoff::DELIVERY_FAULT.after(u32::MAX)))
        .max(longest(policy.schedule.longest()))
        .max(policy.throttled_wait_min)
        .max(policy.probes_every)
        .max(RETRY_AFTER_MAX);
    between(step.now, until) <= longest_wait
}

fn a_wait_has_a_cause(step: &Step<'_>) -> bool {
    let after = step.after;
    let has_cause = after.unwell.is_some() || after.fault.is_some() || after.blocked.is_some();
    after.not_before.is_none() || has_cause
}

fn a_fault_of_ours_moves_no_clock_of_the_merchant(step: &Step<'_>) -> bool {
    let is_ours = step.settled().is_some_and(|s| matches!(s.outcome, Outcome::Fault { .. }));
    let (before, after) = (step.before, step.after);
    let is_unmoved = before.unwell == after.unwell
        && before.breaker == after.breaker
        && before.status == after.status
        && (before.walk, before.window, before.ramp) == (after.walk, after.window, after.ramp)
        && step.finished().is_none();
    !is_ours || is_unmoved
}

fn a_fault_of_ours_never_makes_a_wait_shorter(step: &Step<'_>) -> bool {
    let is_ours = step.settled().is_some_and(|s| matches!(s.outcome, Outcome::Fault { .. }));
    !is_ours || step.after.not_before >= step.before.not_before
}

fn an_answer_ends_what_stood_in_the_way(step: &Step<'_>) -> bool {
    let answered = step.settled().is_some_and(|s| s.is_an_answer() && !s.is_stale);
    let after = step.after;
    let is_well = after.unwell.is_none()
        && after.fault.is_none()
        && after.breaker == Breaker::Closed
        && !is_disabled_for(after, DisabledReason::Unwell);
    let waits = after.not_before.is_some();
    !answered || (is_well && waits == (step.decision.disposition == Disposition::Block))
}

fn a_stale_attempt_says_nothing_about_the_endpoint(step: &Step<'_>) -> bool {
    !step.settled().is_some_and(|s| s.is_stale)
        || (step.decision.events.is_empty() && step.before == step.after)
}

fn an_open_breaker_has_seen_an_unwell_endpoint(step: &Step<'_>) -> bool {
    step.after.breaker == Breaker::Closed || step.after.unwell.is_some()
}

fn the_breaker_opens_on_an_unwell_outcome_only(step: &Step<'_>) -> bool {
    let opened = step.before.breaker == Breaker::Closed && step.after.breaker != Breaker::Closed;
    let unwell =
        step.settled().is_some_and(|s| matches!(s.outcome, Outcome::Unwell { .. } | Outcome::Gone));
    !opened || unwell
}

fn a_merchant_is_disabled_after_the_whole_time_and_not_before(step: &Step<'_>) -> bool {
    let found = step.has(|event| matches!(event, EndpointEvent::FoundUnwell { .. }));
    let Some(span) = step.after.unwell.filter(|_| found) else {
        return is_disabled_for(step.before, DisabledReason::Unwell)
            || !is_disabled_for(step.after, DisabledReason::Unwell);
    };
    let is_over = between(span.since, step.now) >= step.policy.disables_after;
    let was_active = step.before.status == Status::Active;
    (was_active && is_over) == (was_active && is_disabled_for(step.after, DisabledReason::Unwell))
}

fn a_merchant_is_told_apart_from_an_operator(step: &Step<'_>) -> bool {
    let was_gone = is_disabled_for(step.before, DisabledReason::Gone);
    let was_told = is_disabled_for(step.before, DisabledReason::Operator)
        || is_disabled_for(step.before, DisabledReason::Deleted);
    let is_operator = matches!(step.command, Command::Enable | Command::Disable | Command::Delete);
    // What the merchant said of a URL, it did not say of another one.
    let is_elsewhere = was_gone && *step.command == Command::UrlChanged;
    let is_unmoved = step.before.status == step.after.status;
    !(was_gone || was_told) || is_operator || is_elsewhere || is_unmoved
}

fn only_an_operator_pauses_and_resumes(step: &Step<'_>) -> bool {
    let is_paused = |state: &EndpointState| matches!(state.status, Status::Paused { .. });
    let begins = !is_paused(step.before) && is_paused(step.after);
    let ends = is_paused(step.before) && step.after.status == Status::Active;
    (!begins || *step.command == Command::Pause) && (!ends || *step.command == Command::Resume)
}

fn a_new_url_enables_what_the_old_one_had_disabled_and_nothing_else(step: &Step<'_>) -> bool {
    if *step.command != Command::UrlChanged {
        return true;
    }
    let is_of_the_url = is_disabled_for(step.before, DisabledReason::Gone)
        || is_disabled_for(step.before, DisabledReason::Unwell);
    let expected = if is_of_the_url { Status::Active } else { step.before.status };
    step.after.status == expected
}

fn a_new_secret_ends_a_fault_of_secrets_and_nothing_else(step: &Step<'_>) -> bool {
    if *step.command != Command::SecretMade {
        return true;
    }
    let (before, after) = (step.before, step.after);
    let is_cured = before.fault.is_some_and(|span| span.fault == Fault::Secret)
        && !is_disabled_for(before, DisabledReason::Deleted);
    if !is_cured {
        return before == after;
    }
    // What the merchant is waited for goes on.
    let waits_for_it = before.unwell.and_then(|span| span.until);
    *after == EndpointState { fault: None, not_before: waits_for_it, ..*before }
}

fn only_a_probe_that_gets_through_convicts(step: &Step<'_>) -> bool {
    let mut convicted = step.decision.marks_poisonous().peekable();
    if convicted.peek().is_none() {
        return true;
    }
    let Some(settled) = step.settled() else { return false };
    settled.is_an_answer()
        && !settled.is_stale
        && step.before.breaker != Breaker::Closed
        && step.policy.ordering != Ordering::Strict
        && convicted.all(|delivery| delivery != settled.delivery.id)
}

fn parallelism_comes_back_by_doubling(step: &Step<'_>) -> bool {
    let Some(ramp) = step.after.ramp.filter(|ramp| step.before.ramp != Some(*ramp)) else {
        return true;
    };
    let before = step.before.ramp.map_or(0, |ramp| ramp.lanes);
    let is_in_range = ramp.lanes == 1 || ramp.lanes < step.policy.parallelism;
    is_in_range && (ramp.lanes == 1 || ramp.lanes == before * 2)
}

fn what_changes_nothing_writes_no_event(step: &Step<'_>) -> bool {
    // An operator's word is kept whatever it changes; so is what happened to a delivery.
    let is_for_the_record =
        step.settled().is_none() || step.decision.marks_poisonous().next().is_some();
    is_for_the_record || step.decision.events.is_empty() || step.before != step.after
}
