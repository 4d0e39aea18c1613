//! Unwell for days: disabled, and back without anybody's help.

use domain::endpoint::{
    Command, DisabledReason, Disposition, EndpointEvent, Ordering, Status, next_up,
};
use domain::{Fault, Outcome};

use crate::being::{DAY_S, Endpoint, HOUR_S, NO_CONNECTION, NOON, delivery, secs, status};

/// An endpoint that was down until it was disabled for it.
fn disabled() -> Endpoint {
    let mut endpoint = Endpoint::new(Ordering::Ordered);
    let mut n = 0;
    while endpoint.state.status == Status::Active {
        n += 1;
        endpoint.attempts(1, delivery(1), NO_CONNECTION);
        assert!(n < 200, "it is never disabled");
    }
    endpoint
}

#[test]
fn five_days_of_being_unwell_disable_an_endpoint() {
    let endpoint = disabled();
    let took = endpoint.now - NOON;
    assert!(took >= secs(5 * DAY_S) && took <= secs(5 * DAY_S + HOUR_S), "{took}");
    let Status::Disabled { reason, .. } = endpoint.state.status else { panic!("not disabled") };
    assert_eq!(reason, DisabledReason::Unwell);
}

#[test]
fn then_one_probe_a_day_goes_out_and_uses_nothing_up() {
    let mut endpoint = disabled();
    let mut head = delivery(1);
    head.first_attempt_at = Some(NOON);
    for _ in 0..30 {
        let line = [head, delivery(2)];
        assert_eq!(next_up(&endpoint.state, &endpoint.policy, &line, 0, endpoint.now), None);
        let before = endpoint.now;
        endpoint.wait();
        assert_eq!(endpoint.now - before, secs(DAY_S));
        assert_eq!(next_up(&endpoint.state, &endpoint.policy, &line, 0, endpoint.now), Some(0));
        assert_eq!(next_up(&endpoint.state, &endpoint.policy, &line, 1, endpoint.now), None);
        assert_eq!(endpoint.attempt(head, NO_CONNECTION), Disposition::Stay);
    }
}

#[test]
fn the_probe_that_gets_an_answer_enables_it_again() {
    for answer in [status(200), status(422)] {
        let mut endpoint = disabled();
        endpoint.wait();
        endpoint.attempt(delivery(1), answer);
        assert_eq!(endpoint.state.status, Status::Active);
        assert!(!endpoint.state.waits(endpoint.now));
    }
}

#[test]
fn a_probe_that_hears_410_ends_the_probes() {
    let mut endpoint = disabled();
    endpoint.wait();
    endpoint.attempt(delivery(1), status(410));
    assert!(!endpoint.state.may_send());
}

#[test]
fn a_fault_of_ours_costs_the_probe_minutes_and_not_a_day() {
    let mut endpoint = disabled();
    endpoint.wait();
    endpoint.attempt(delivery(1), Outcome::Fault { fault: Fault::PayloadUnavailable });
    let until = endpoint.state.not_before.expect("waits");
    assert!(until - endpoint.now <= secs(600));
}

#[test]
fn an_outage_of_ours_is_not_the_merchants() {
    let mut endpoint = Endpoint::new(Ordering::Ordered);
    for _ in 0..20 {
        endpoint.attempts(3, delivery(1), NO_CONNECTION);
        endpoint.now += secs(DAY_S);
    }
    assert_eq!(endpoint.state.status, Status::Active);
}

#[test]
fn a_fault_of_ours_between_two_failures_is_an_outage_too() {
    let mut endpoint = Endpoint::new(Ordering::Ordered);
    endpoint.attempts(3, delivery(1), NO_CONNECTION);
    for _ in 0..2_000 {
        endpoint.attempts(1, delivery(1), Outcome::Fault { fault: Fault::PayloadUnavailable });
    }
    assert!(endpoint.now - NOON > secs(7 * DAY_S));
    endpoint.attempts(1, delivery(1), NO_CONNECTION);
    assert_eq!(endpoint.state.status, Status::Active);
    assert_eq!(endpoint.state.unwell.expect("unwell").since, endpoint.now);
}

#[test]
fn a_slow_merchant_that_asks_for_a_second_is_not_taken_for_an_outage_of_ours() {
    let mut endpoint = Endpoint::new(Ordering::Ordered);
    let slow = Outcome::of_status(429, Some(secs(1)));
    let mut n = 0;
    while endpoint.state.status == Status::Active {
        n += 1;
        endpoint.wait();
        let began = endpoint.now;
        endpoint.now += secs(29);
        endpoint.attempt_begun_at(began, delivery(1), slow);
        assert!(n < 20_000, "it is never disabled");
    }
    assert!(endpoint.now - NOON >= secs(5 * DAY_S));
}

#[test]
fn being_disabled_is_told_with_its_probe() {
    let endpoint = disabled();
    let last = &endpoint.journal[endpoint.journal.len() - 2..];
    let [EndpointEvent::FoundUnwell { not_before, .. }, EndpointEvent::Disabled { at, .. }] = last
    else {
        panic!("{last:?}")
    };
    assert_eq!(*not_before - *at, secs(DAY_S));
}

#[test]
fn a_strict_endpoint_that_is_disabled_keeps_its_head_until_an_operator_skips_it() {
    let mut endpoint = Endpoint::new(Ordering::Strict);
    let mut head = delivery(1);
    head.first_attempt_at = Some(NOON);
    while endpoint.state.status == Status::Active {
        endpoint.attempts(1, delivery(1), status(500));
    }
    // Far longer than the span of its schedule, and whatever the endpoint answers.
    for _ in 0..20 {
        endpoint.wait();
        assert_eq!(endpoint.attempt(head, status(500)), Disposition::Stay);
    }
    endpoint.tell(Command::Skip(head.id));
    endpoint.wait();
    endpoint.attempt(delivery(2), status(200));
    assert_eq!(endpoint.state.status, Status::Active);
}
