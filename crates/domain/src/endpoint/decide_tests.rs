//! The rules for an ordered endpoint, one sentence each.

use std::time::Duration;

use time::macros::datetime;

use super::super::{Breaker, DeliveryFacts, Schedule};
use super::*;
use crate::{Fault, Outcome};

const NOW: OffsetDateTime = datetime!(2026-01-05 12:00 UTC);

fn delivery() -> DeliveryFacts {
    DeliveryFacts {
        id: uuid::Uuid::from_u128(7).into(),
        attempts: 0,
        refusals: 0,
        first_attempt_at: None,
        poisonous: false,
    }
}

fn settle(state: &EndpointState, delivery: DeliveryFacts, outcome: Outcome) -> Decision {
    settle_at(state, delivery, outcome, NOW)
}

fn settle_at(
    state: &EndpointState,
    delivery: DeliveryFacts,
    outcome: Outcome,
    now: OffsetDateTime,
) -> Decision {
    let command = Command::Settle { delivery, started_at: now, outcome };
    decide(state, &Policy::default(), &command, now, Jitter::NONE)
}

fn status(status: u16) -> Outcome {
    Outcome::of_status(status, None)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A state after `outcome` was seen `times` times in a row, each at its time.
fn after(outcome: Outcome, times: usize) -> (EndpointState, OffsetDateTime) {
    let (mut state, mut now) = (EndpointState::default(), NOW);
    for _ in 0..times {
        state = settle_at(&state, delivery(), outcome, now).state_after(state);
        now = state.not_before.unwrap_or(now);
    }
    (state, now)
}

#[test]
fn a_success_at_a_healthy_endpoint_finishes_the_delivery_and_writes_no_event() {
    let decision = settle(&EndpointState::default(), delivery(), status(204));
    assert_eq!(decision.disposition, Disposition::Finish(FinishReason::Delivered));
    assert_eq!(decision.events, []);
}

#[test]
fn a_refused_event_steps_aside_and_the_endpoint_is_as_it_was() {
    let decision = settle(&EndpointState::default(), delivery(), status(400));
    let until = NOW + secs(5);
    assert_eq!(decision.disposition, Disposition::StepAside { until, refused: true });
    assert_eq!(decision.events, []);
}

#[test]
fn a_refused_event_is_exhausted_when_its_schedule_is_used_up() {
    let tired = DeliveryFacts { refusals: 9, ..delivery() };
    let decision = settle(&EndpointState::default(), tired, status(302));
    assert_eq!(decision.disposition, Disposition::Finish(FinishReason::Refused));
}

#[test]
fn an_unwell_endpoint_makes_everything_wait_and_the_delivery_keeps_its_place() {
    let decision = settle(&EndpointState::default(), delivery(), status(500));
    assert_eq!(decision.disposition, Disposition::Stay);
    let state = decision.state_after(EndpointState::default());
    assert_eq!(state.not_before, Some(NOW + secs(5)));
    assert_eq!(state.waits_until(NOW), Some(NOW + secs(5)));
    assert_eq!(state.waits_until(NOW + secs(5)), None);
}

#[test]
fn statuses_that_ask_for_patience_wait_a_minute_unless_the_merchant_says_how_long() {
    for throttled in [429, 502, 503, 504] {
        let state = settle(&EndpointState::default(), delivery(), status(throttled))
            .state_after(EndpointState::default());
        assert_eq!(state.not_before, Some(NOW + secs(60)), "{throttled}");
    }
    let asked = Outcome::of_status(429, Some(secs(2)));
    let state =
        settle(&EndpointState::default(), delivery(), asked).state_after(EndpointState::default());
    assert_eq!(state.not_before, Some(NOW + secs(2)));
}

#[test]
fn the_breaker_opens_after_five_unwell_outcomes_in_a_row_and_closes_on_an_answer() {
    let (state, _) = after(status(500), 4);
    assert_eq!(state.breaker, Breaker::Closed);
    let (state, now) = after(status(500), 5);
    assert!(matches!(state.breaker, Breaker::Open { .. }));
    let state = settle_at(&state, delivery(), status(200), now).state_after(state);
    assert_eq!(state, EndpointState::default());
}

#[test]
fn a_refusal_is_an_answer_and_closes_the_breaker_too() {
    let (state, now) = after(status(500), 6);
    let state = settle_at(&state, delivery(), status(422), now).state_after(state);
    assert_eq!(state, EndpointState::default());
}

#[test]
fn the_head_is_exhausted_when_the_endpoint_was_unwell_for_the_whole_span() {
    let (mut state, mut now) = after(status(500), 1);
    let head = DeliveryFacts { first_attempt_at: Some(NOW), attempts: 1, ..delivery() };
    let span = Schedule::default().span();
    loop {
        let decision = settle_at(&state, head, status(500), now);
        state = decision.state_after(state);
        if decision.disposition == Disposition::Finish(FinishReason::Unwell) {
            break;
        }
        assert!(between(NOW, now) < span, "still staying after the span");
        now = state.not_before.expect("waits");
    }
    assert!(between(NOW, now) >= span);
}

#[test]
fn a_gap_of_our_own_making_does_not_count_against_the_merchant() {
    let (state, _) = after(status(500), 3);
    let head = DeliveryFacts { first_attempt_at: Some(NOW), attempts: 3, ..delivery() };
    let days_later = NOW + secs(30 * 24 * 3_600);
    let decision = settle_at(&state, head, status(500), days_later);
    assert_eq!(decision.disposition, Disposition::Stay);
    assert_eq!(decision.state_after(state).unwell.expect("unwell").since, days_later);
}

#[test]
fn gone_disables_the_endpoint_and_keeps_the_delivery() {
    let decision = settle(&EndpointState::default(), delivery(), status(410));
    assert_eq!(decision.disposition, Disposition::Stay);
    let state = decision.state_after(EndpointState::default());
    assert!(!state.may_send());
    assert!(matches!(state.status, Status::Disabled { reason: DisabledReason::Gone, .. }));
}

#[test]
fn a_fault_of_ours_never_burns_the_merchants_schedule() {
    let blocked = Outcome::Fault { fault: Fault::Blocked };
    let decision = settle(&EndpointState::default(), delivery(), blocked);
    assert_eq!(decision.disposition, Disposition::Stay);
    let state = decision.state_after(EndpointState::default());
    assert_eq!((state.not_before, state.unwell), (Some(NOW + secs(5)), None));

    let missing = Outcome::Fault { fault: Fault::PayloadMissing };
    let decision = settle(&EndpointState::default(), delivery(), missing);
    let until = NOW + secs(5);
    assert_eq!(decision.disposition, Disposition::StepAside { until, refused: false });
    assert_eq!(decision.events, []);
}

#[test]
fn a_fault_ends_with_the_first_answer() {
    let (state, now) = after(Outcome::Fault { fault: Fault::Blocked }, 2);
    assert_eq!(state.fault.expect("at fault").consecutive, 2);
    let state = settle_at(&state, delivery(), status(200), now).state_after(state);
    assert_eq!(state, EndpointState::default());
}
