//! What operators tell an endpoint.

use domain::endpoint::{
    Breaker, Command, DisabledReason, Disposition, EnabledBecause, EndpointEvent, EndpointState,
    FinishReason, Objection, Ordering, Status, objection,
};
use domain::{Fault, Outcome};

use crate::being::{DAY_S, Endpoint, NOON, delivery, id, secs, status};

#[test]
fn a_command_that_was_obeyed_before_changes_nothing() {
    let mut endpoint = Endpoint::new(Ordering::Ordered);
    for command in [Command::Pause, Command::Resume, Command::Disable, Command::Enable] {
        assert_eq!(endpoint.tell(command).events.len(), 1, "{command:?}");
        assert_eq!(endpoint.tell(command).events, [], "{command:?}");
    }
}

#[test]
fn a_disabled_endpoint_is_enabled_and_a_paused_one_resumed_not_the_other_way_round() {
    let mut endpoint = Endpoint::new(Ordering::Ordered);
    endpoint.tell(Command::Pause);
    assert_eq!(objection(&endpoint.state, &Command::Enable), Some(Objection::IsPaused));
    assert_eq!(endpoint.tell(Command::Enable).events, []);
    endpoint.tell(Command::Disable);
    for command in [Command::Pause, Command::Resume] {
        assert_eq!(objection(&endpoint.state, &command), Some(Objection::IsDisabled));
        assert_eq!(endpoint.tell(command).events, []);
    }
    assert_eq!(objection(&endpoint.state, &Command::Enable), None);
}

#[test]
fn a_pause_stops_everything_and_a_resume_goes_on_with_the_waits_as_they_were() {
    let mut endpoint = Endpoint::new(Ordering::Ordered);
    endpoint.attempts(3, delivery(1), status(500));
    let not_before = endpoint.state.not_before;
    endpoint.tell(Command::Pause);
    assert!(!endpoint.state.may_send());
    endpoint.now += secs(3);
    endpoint.tell(Command::Resume);
    assert!(endpoint.state.may_send());
    assert_eq!(endpoint.state.not_before, not_before);
    let span = endpoint.state.unwell.expect("unwell");
    assert_eq!((span.since, span.consecutive), (endpoint.now, 3));
}

#[test]
fn the_time_of_a_pause_is_not_the_merchants() {
    let mut endpoint = Endpoint::new(Ordering::Ordered);
    let mut head = delivery(1);
    endpoint.attempts(3, head, status(500));
    head.first_attempt_at = Some(NOON);
    endpoint.tell(Command::Pause);
    endpoint.now += secs(30 * DAY_S);
    endpoint.tell(Command::Resume);
    assert_eq!(endpoint.attempt(head, status(500)), Disposition::Stay);
    assert_eq!(endpoint.state.status, Status::Active);
}

#[test]
fn a_new_url_forgets_what_stood_in_the_way_of_the_old_one() {
    let mut endpoint = Endpoint::new(Ordering::Ordered);
    endpoint.attempts(9, delivery(1), status(500));
    endpoint.attempt(delivery(1), Outcome::Fault { fault: Fault::Blocked });
    endpoint.tell(Command::UrlChanged);
    let state = endpoint.state;
    assert_eq!(EndpointState { stale_before: None, ..state }, EndpointState::default());
}

#[test]
fn a_new_url_enables_what_the_old_one_had_disabled_and_not_what_an_operator_had() {
    let enabled = |endpoint: &mut Endpoint| {
        let at = endpoint.now;
        let events = endpoint.tell(Command::UrlChanged).events;
        assert_eq!(events[0], EndpointEvent::UrlChanged { at });
        let because = EnabledBecause::NewUrl;
        let is_told = events.get(1) == Some(&EndpointEvent::Enabled { because, at });
        assert_eq!(is_told, events.len() == 2, "{events:?}");
        is_told
    };
    let mut gone = Endpoint::new(Ordering::Ordered);
    gone.attempt(delivery(1), status(410));
    assert!(enabled(&mut gone) && gone.state.status == Status::Active);
    let mut unwell = Endpoint::new(Ordering::Ordered);
    while unwell.state.status == Status::Active {
        unwell.attempts(1, delivery(1), status(500));
    }
    assert!(enabled(&mut unwell) && !unwell.state.waits(unwell.now));
    for command in [Command::Disable, Command::Pause] {
        let mut endpoint = Endpoint::new(Ordering::Ordered);
        endpoint.tell(command);
        let before = endpoint.state.status;
        assert!(!enabled(&mut endpoint) && endpoint.state.status == before, "{command:?}");
    }
}

#[test]
fn a_new_secret_ends_the_wait_for_one_and_no_other() {
    let lacks_one = Outcome::Fault { fault: Fault::Secret };
    for ordering in [Ordering::Ordered, Ordering::Strict, Ordering::Unordered] {
        let mut endpoint = Endpoint::new(ordering);
        endpoint.attempt(delivery(1), status(503));
        let of_the_merchant = endpoint.state;
        assert_eq!(endpoint.tell(Command::SecretMade).events, []);
        for _ in 0..9 {
            endpoint.attempt(delivery(1), lacks_one);
        }
        let at = endpoint.now;
        assert!(endpoint.state.not_before > of_the_merchant.not_before);
        assert_eq!(endpoint.tell(Command::SecretMade).events, [EndpointEvent::FaultEnded { at }]);
        assert_eq!(endpoint.state, of_the_merchant);
        endpoint.attempt(delivery(1), Outcome::Fault { fault: Fault::Blocked });
        assert_eq!(endpoint.tell(Command::SecretMade).events, []);
    }
}

#[test]
fn what_the_old_url_still_answers_says_nothing_about_the_new_one() {
    let patience = Outcome::of_status(429, Some(secs(3_600)));
    let ours = Outcome::Fault { fault: Fault::Blocked };
    for ordering in [Ordering::Ordered, Ordering::Strict, Ordering::Unordered] {
        for outcome in [status(410), status(500), status(400), status(200), patience, ours] {
            let mut endpoint = Endpoint::new(ordering);
            let began = endpoint.now;
            endpoint.now += secs(1);
            endpoint.tell(Command::UrlChanged);
            endpoint.now += secs(1);
            let before = endpoint.state;
            endpoint.attempt_begun_at(began, delivery(1), outcome);
            assert_eq!(endpoint.state, before, "{outcome:?}");
            assert!(!endpoint.state.waits(endpoint.now), "the new one is asked at once");
            // Who is asked there counts.
            endpoint.attempt(delivery(1), status(500));
            assert!(endpoint.state.waits(endpoint.now));
        }
    }
}

#[test]
fn an_operator_who_enables_is_taken_at_his_word() {
    for reason in [status(410), status(500)] {
        let mut endpoint = Endpoint::new(Ordering::Ordered);
        endpoint.attempts(9, delivery(1), reason);
        endpoint.tell(Command::Disable);
        endpoint.tell(Command::Enable);
        assert!(!endpoint.state.waits(endpoint.now));
        assert_eq!(endpoint.state.breaker, Breaker::Closed);
    }
}

#[test]
fn neither_a_410_nor_an_operators_word_is_undone_by_an_answer() {
    let mut endpoint = Endpoint::new(Ordering::Unordered);
    endpoint.attempt(delivery(1), status(410));
    endpoint.attempt(delivery(2), status(200));
    let reason = |endpoint: &Endpoint| match endpoint.state.status {
        Status::Disabled { reason, .. } => Some(reason),
        _ => None,
    };
    assert_eq!(reason(&endpoint), Some(DisabledReason::Gone));
    endpoint.tell(Command::Disable);
    endpoint.attempt(delivery(3), status(410));
    assert_eq!(reason(&endpoint), Some(DisabledReason::Operator));
}

#[test]
fn what_is_deleted_is_told_nothing_any_more_and_no_answer_brings_it_back() {
    let mut endpoint = Endpoint::new(Ordering::Ordered);
    endpoint.attempts(9, delivery(1), status(500));
    assert_eq!(endpoint.tell(Command::Delete).events.len(), 1);
    for command in [Command::Enable, Command::Disable, Command::Delete, Command::UrlChanged] {
        assert_eq!(endpoint.tell(command).events, [], "{command:?}");
    }
    let deleted = endpoint.state;
    assert!(matches!(deleted.status, Status::Disabled { reason: DisabledReason::Deleted, .. }));
    endpoint.wait();
    let ours = Outcome::Fault { fault: Fault::Blocked };
    for outcome in [status(200), status(400), status(410), status(500), ours] {
        endpoint.attempt(delivery(1), outcome);
        assert_eq!(endpoint.state, deleted, "{outcome:?}");
    }
    assert_eq!(FinishReason::Deleted.names(), ("cancelled", "deleted"));
}

#[test]
fn a_skip_ends_the_delivery_and_nothing_else() {
    let mut endpoint = Endpoint::new(Ordering::Ordered);
    endpoint.attempts(2, delivery(1), status(500));
    let before = endpoint.state;
    let decision = endpoint.tell(Command::Skip(id(1)));
    assert_eq!(decision.disposition, Disposition::Finish(FinishReason::Skipped));
    assert_eq!(decision.events, [EndpointEvent::Skipped { delivery: id(1), at: endpoint.now }]);
    assert_eq!(endpoint.state, before);
}

#[test]
fn a_delivery_expires_after_sixty_days_and_not_before() {
    let mut endpoint = Endpoint::new(Ordering::Ordered);
    let expire = Command::Expire { delivery: id(1), waiting_since: NOON };
    endpoint.now = NOON + secs(60 * DAY_S - 1);
    assert_eq!(endpoint.tell(expire).disposition, Disposition::Stay);
    endpoint.now += secs(1);
    let decision = endpoint.tell(expire);
    assert_eq!(decision.disposition, Disposition::Finish(FinishReason::Expired));
    assert_eq!(FinishReason::Expired.names(), ("exhausted", "expired"));
}

#[test]
fn a_redelivery_is_on_record() {
    let mut endpoint = Endpoint::new(Ordering::Ordered);
    let at = endpoint.now;
    let events = endpoint.tell(Command::Redeliver(3)).events;
    assert_eq!(events, [EndpointEvent::Redelivered { deliveries: 3, at }]);
    assert_eq!(endpoint.tell(Command::Redeliver(0)).events, []);
}
