//! `strict` and `unordered`, where they differ from `ordered`.

use domain::endpoint::{
    Breaker, Command, DeliveryFacts, Disposition, EndpointEvent, EndpointState, FinishReason,
    Ordering, next_up,
};
use domain::{Fault, Outcome};

use crate::being::{Endpoint, NO_CONNECTION, delivery, id, secs, status};

#[test]
fn in_strict_a_refused_event_blocks_until_it_is_exhausted_then_the_next_one_goes() {
    let mut endpoint = Endpoint::new(Ordering::Strict);
    let mut head = delivery(1);
    let began = endpoint.now;
    for refusals in 0..9 {
        head.refusals = refusals;
        assert_eq!(endpoint.attempt(head, status(400)), Disposition::Block);
        assert_eq!(endpoint.state.blocked.expect("blocked").delivery, id(1));
        assert!(endpoint.state.waits(endpoint.now));
        endpoint.wait();
    }
    head.refusals = 9;
    assert_eq!(endpoint.attempt(head, status(400)), Disposition::Finish(FinishReason::Refused));
    assert_eq!(endpoint.state, EndpointState::default());
    assert_eq!(endpoint.now - began, endpoint.policy.schedule.span());
}

#[test]
fn in_strict_the_line_goes_on_when_what_blocks_it_is_skipped() {
    let mut endpoint = Endpoint::new(Ordering::Strict);
    endpoint.attempt(delivery(1), status(400));
    endpoint.tell(Command::Skip(id(2)));
    assert!(endpoint.state.waits(endpoint.now));
    endpoint.tell(Command::Skip(id(1)));
    assert_eq!(endpoint.state, EndpointState::default());
}

#[test]
fn in_strict_nobody_passes_an_event_whose_payload_is_missing() {
    let mut endpoint = Endpoint::new(Ordering::Strict);
    let missing = Outcome::Fault { fault: Fault::PayloadMissing };
    assert_eq!(endpoint.attempt(delivery(1), missing), Disposition::Stay);
    assert!(endpoint.state.waits(endpoint.now));
    endpoint.wait();
    endpoint.attempt(delivery(1), status(200));
    assert_eq!(endpoint.state, EndpointState::default());
}

#[test]
fn another_order_does_not_wait_for_what_blocked_the_old_one() {
    let mut endpoint = Endpoint::new(Ordering::Strict);
    endpoint.attempt(delivery(1), status(400));
    endpoint.tell(Command::OrderingChanged);
    assert!(!endpoint.state.waits(endpoint.now));
}

#[test]
fn attempts_that_began_before_the_last_unwell_one_do_not_count_again() {
    let mut endpoint = Endpoint::new(Ordering::Unordered);
    let began = endpoint.now;
    endpoint.now += secs(1);
    for n in 1..=8 {
        endpoint.attempt_begun_at(began, delivery(n), NO_CONNECTION);
    }
    assert_eq!(endpoint.state.unwell.expect("unwell").consecutive, 1);
    assert_eq!(endpoint.journal.len(), 1);
    // Neither does their success say that the endpoint is back.
    endpoint.attempt_begun_at(began, delivery(9), status(200));
    assert!(endpoint.state.waits(endpoint.now));
}

#[test]
fn unordered_opens_the_breaker_when_half_of_the_last_twenty_were_unwell() {
    let mut endpoint = Endpoint::new(Ordering::Unordered);
    for n in 0..10 {
        assert_eq!(endpoint.state.breaker, Breaker::Closed, "after {n}");
        endpoint.attempts(1, delivery(n), NO_CONNECTION);
        if n < 9 {
            endpoint.attempts(1, delivery(100 + n), status(200));
        }
    }
    assert_ne!(endpoint.state.breaker, Breaker::Closed);
    // Once closed, the next failure alone does not open it again.
    endpoint.attempts(1, delivery(200), status(200));
    endpoint.attempts(1, delivery(201), NO_CONNECTION);
    assert_eq!(endpoint.state.breaker, Breaker::Closed);
}

#[test]
fn in_ordered_only_failures_in_a_row_open_it() {
    let mut endpoint = Endpoint::new(Ordering::Ordered);
    for n in 0..40 {
        endpoint.attempts(1, delivery(n), NO_CONNECTION);
        endpoint.attempts(1, delivery(n), status(200));
    }
    assert_eq!(endpoint.state, EndpointState::default());
}

/// How many of `line` may be begun at once.
fn lanes(endpoint: &Endpoint, line: &[DeliveryFacts]) -> usize {
    (0..)
        .find(|in_flight| {
            next_up(&endpoint.state, &endpoint.policy, line, *in_flight, endpoint.now).is_none()
        })
        .expect("bounded")
}

#[test]
fn after_a_recovery_parallelism_comes_back_one_two_four_eight() {
    let mut endpoint = Endpoint::new(Ordering::Unordered);
    let line: Vec<_> = (1..=20).map(delivery).collect();
    assert_eq!(lanes(&endpoint, &line), 8);
    endpoint.attempts(5, delivery(1), NO_CONNECTION);
    endpoint.wait();
    assert_eq!(lanes(&endpoint, &line), 1);
    for expected in [1, 2, 4, 8] {
        endpoint.now += secs(1);
        endpoint.attempt(delivery(1), status(200));
        assert_eq!(lanes(&endpoint, &line), expected);
        // One that began before the step was taken does not take the next one.
        let early = endpoint.now - secs(1);
        endpoint.now += secs(1);
        endpoint.attempt_begun_at(early, delivery(2), status(200));
        assert_eq!(lanes(&endpoint, &line), expected);
    }
}

#[test]
fn a_success_that_changes_nothing_writes_no_event_in_any_order() {
    for ordering in [Ordering::Ordered, Ordering::Strict, Ordering::Unordered] {
        let mut endpoint = Endpoint::new(ordering);
        endpoint.attempt(delivery(1), status(500));
        for n in 0..40 {
            endpoint.wait();
            endpoint.now += secs(1);
            endpoint.attempt(delivery(n), status(200));
        }
        let settled = endpoint.journal.len();
        endpoint.attempt(delivery(99), status(200));
        assert_eq!(endpoint.journal.len(), settled, "{ordering:?}");
        assert_eq!(endpoint.state, EndpointState::default());
        let recoveries =
            endpoint.journal.iter().filter(|e| matches!(e, EndpointEvent::Recovered { .. }));
        assert_eq!(recoveries.count(), 1);
    }
}

#[test]
fn a_fault_of_ours_does_not_shorten_the_wait_that_the_merchant_asked_for() {
    let mut endpoint = Endpoint::new(Ordering::Unordered);
    endpoint.attempt(delivery(1), Outcome::of_status(429, Some(secs(3_600))));
    let asked = endpoint.state.not_before;
    endpoint.now += secs(1);
    endpoint.attempt(delivery(2), Outcome::Fault { fault: Fault::Blocked });
    assert_eq!(endpoint.state.not_before, asked);
    assert!(endpoint.state.fault.is_some());
}

#[test]
fn once_the_breaker_is_open_a_merchant_may_ask_for_more_patience_and_not_for_less() {
    let mut endpoint = Endpoint::new(Ordering::Ordered);
    let at_once = Outcome::of_status(503, Some(secs(1)));
    endpoint.attempts(5, delivery(1), at_once);
    assert!(matches!(endpoint.state.breaker, Breaker::Open { .. }));
    for asked in [1, 3_600] {
        endpoint.wait();
        let before = endpoint.now;
        let consecutive = endpoint.state.unwell.map_or(0, |span| span.consecutive);
        endpoint.attempt(delivery(1), Outcome::of_status(503, Some(secs(asked))));
        let backoff = endpoint.policy.backoff.after(consecutive + 1);
        assert_eq!(endpoint.state.not_before, Some(before + backoff.max(secs(asked))));
    }
}
