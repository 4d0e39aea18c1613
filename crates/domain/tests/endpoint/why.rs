//! What people are told of a delivery: one sentence for each thing that can be the matter.

use domain::endpoint::{
    Asked, Block, Breaker, DeliveryStory, DisabledReason, Ended, EndpointState, EndpointStory,
    FaultSpan, Faulty, LastAttempt, Status, Subject, UnwellSpan, Why,
};
use domain::{DeliveryId, EndpointId, Fault, PaymentId, Unwell};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

const NOW: OffsetDateTime = datetime!(2026-01-05 12:00 UTC);

fn ago(seconds: i64) -> OffsetDateTime {
    NOW - Duration::seconds(seconds)
}

fn story(state: EndpointState) -> DeliveryStory {
    DeliveryStory {
        delivery: DeliveryId::from(Uuid::from_u128(1)),
        event: Uuid::from_u128(2).into(),
        event_type: "payment.succeeded".to_owned(),
        object_id: "pay_1".to_owned(),
        endpoint: EndpointId::from(Uuid::from_u128(3)),
        written_at: ago(840),
        put_back_at: None,
        ended: None,
        attempts: 0,
        next_attempt_at: None,
        ahead: 3,
        last: None,
        state: Some(state),
        looked_at: Some(ago(20)),
        traceparent: None,
    }
}

fn why(story: DeliveryStory) -> Why {
    Subject::Delivery(Box::new(story)).why(None, NOW)
}

fn attempt(class: &str, status: u16) -> LastAttempt {
    let sentence = Some("said so".to_owned());
    LastAttempt { at: ago(20), class: class.to_owned(), status: Some(status), sentence }
}

fn unwell() -> EndpointState {
    EndpointState {
        breaker: Breaker::Open { since: ago(600) },
        unwell: Some(UnwellSpan {
            since: ago(840),
            consecutive: 6,
            last_at: ago(20),
            until: None,
            cause: Unwell::Status(503),
        }),
        not_before: Some(NOW + Duration::seconds(130)),
        ..EndpointState::default()
    }
}

#[test]
fn behind_an_endpoint_that_is_unwell_it_says_what_how_long_who_is_ahead_and_when() {
    let told =
        why(DeliveryStory { last: Some(attempt("unwell", 503)), attempts: 6, ..story(unwell()) });
    assert_eq!(told.is, "unwell");
    assert_eq!(told.next_at, Some(NOW + Duration::seconds(130)));
    assert_eq!(
        told.sentences,
        [
            "waiting: the endpoint has been unwell for 14 min (it answers 503, 6 in a row); the \
             breaker is open, next probe in 2 min 10 s; 3 deliveries ahead",
            "attempt 6, 20 s ago: unwell, status 503: said so",
        ]
    );
}

#[test]
fn a_pause_is_ended_by_a_person_and_it_says_how() {
    let paused =
        EndpointState { status: Status::Paused { since: ago(7_200) }, ..EndpointState::default() };
    let told = why(story(paused));
    assert_eq!((told.is, told.next_at), ("paused", None));
    assert!(told.sentences[0].contains("paused for 2 h"), "{told:?}");
    assert!(told.sentences[0].contains("posthorn endpoint resume ep_"), "{told:?}");
}

#[test]
fn a_disabled_endpoint_is_told_with_its_reason_and_only_an_unwell_one_has_a_probe() {
    for (reason, part, has_probe) in [
        (DisabledReason::Gone, "answered 410", false),
        (DisabledReason::Operator, "by an operator", false),
        (DisabledReason::Unwell, "its daily probe comes in 2 min 10 s", true),
    ] {
        let status = Status::Disabled { reason, since: ago(60) };
        let told = why(story(EndpointState { status, ..unwell() }));
        assert_eq!((told.is, told.next_at.is_some()), ("disabled", has_probe), "{told:?}");
        assert!(told.sentences[0].contains(part), "{told:?}");
        assert!(told.sentences[0].contains("posthorn endpoint enable ep_"), "{told:?}");
    }
}

#[test]
fn a_fault_of_ours_is_called_ours() {
    let fault = FaultSpan { since: ago(90), consecutive: 4, fault: Fault::PayloadUnavailable };
    let not_before = Some(NOW + Duration::seconds(40));
    let told = why(story(EndpointState { fault: Some(fault), not_before, ..Default::default() }));
    assert_eq!((told.is, told.next_at), ("stuck", not_before));
    assert!(told.sentences[0].contains("a fault on our side for 1 min 30 s: the data service"));
    let stuck = Subject::Delivery(Box::new(story(EndpointState::default())))
        .why(Some("the database is away"), NOW);
    assert_eq!(stuck.is, "stuck");
    assert!(stuck.sentences[0].contains("our side is stuck: the database is away"), "{stuck:?}");
}

#[test]
fn one_that_was_refused_comes_back_by_its_own_schedule() {
    let told = why(DeliveryStory {
        attempts: 2,
        next_attempt_at: Some(NOW + Duration::minutes(5)),
        last: Some(attempt("refused", 404)),
        ..story(EndpointState::default())
    });
    assert_eq!(told.is, "aside");
    assert!(told.sentences[0].ends_with("others go on meanwhile; attempt 3 in 5 min"), "{told:?}");
}

#[test]
fn behind_one_that_blocks_a_strict_line_it_names_that_one() {
    let delivery = DeliveryId::from(Uuid::from_u128(9));
    let blocked = Some(Block { delivery, since: ago(300), fault: None });
    let told = why(story(EndpointState { blocked, ..EndpointState::default() }));
    assert_eq!(told.is, "blocked");
    assert!(told.sentences[0].contains(&delivery.to_string()), "{told:?}");
}

#[test]
fn one_that_stepped_aside_from_an_endpoint_that_waits_too_is_told_the_later_of_both_times() {
    let aside = |minutes, state| {
        why(DeliveryStory {
            attempts: 2,
            next_attempt_at: Some(NOW + Duration::minutes(minutes)),
            last: Some(attempt("refused", 404)),
            ..story(state)
        })
    };
    let own = aside(5, unwell());
    assert_eq!((own.is, own.next_at), ("aside", Some(NOW + Duration::minutes(5))));
    assert_eq!(own.sentences[0], "waiting: the merchant refused this event; attempt 3 in 5 min");
    let besides = "besides: the endpoint has been unwell for 14 min (it answers 503, 6 in a row); \
                   the breaker is open, next probe in 2 min 10 s";
    assert_eq!(own.sentences[1], besides);
    let endpoints = aside(1, unwell());
    assert_eq!((endpoints.is, endpoints.next_at), ("unwell", Some(NOW + Duration::seconds(130))));
    assert!(endpoints.sentences[0].ends_with("; it stepped aside itself, for 1 min"));
    let paused =
        EndpointState { status: Status::Paused { since: ago(60) }, ..EndpointState::default() };
    let paused = aside(5, paused);
    assert_eq!((paused.is, paused.next_at), ("paused", None));
    assert!(paused.sentences[0].ends_with("; it stepped aside itself, for 5 min"), "{paused:?}");
}

#[test]
fn in_line_is_nothing_special_however_slow_the_line() {
    let told = why(story(EndpointState::default()));
    assert_eq!(told.sentences, ["waiting: in line, 3 deliveries ahead"]);
    // It was written 14 min ago, and the line has moved since.
    let next = why(DeliveryStory { ahead: 0, ..story(EndpointState::default()) });
    assert_eq!(next.sentences, ["waiting: the next one to be sent"]);
    // Nobody looked for long, as there was nothing to look for.
    let fresh = DeliveryStory {
        looked_at: Some(ago(9_000)),
        written_at: ago(1),
        ahead: 0,
        ..story(EndpointState::default())
    };
    assert_eq!(why(fresh).is, "in_line");
}

#[test]
fn where_nobody_looked_though_something_could_be_sent_it_is_forgotten() {
    for looked_at in [Some(ago(91)), None] {
        let told = why(DeliveryStory { looked_at, ..story(EndpointState::default()) });
        assert_eq!(told.is, "forgotten", "{looked_at:?}");
    }
    let told = why(DeliveryStory { looked_at: Some(ago(100)), ..story(EndpointState::default()) });
    assert!(told.sentences[0].contains("nobody looked for 1 min 40 s"), "{told:?}");
    // Nobody has to look while the endpoint waits, and for a while after.
    let since = |not_before| {
        let state = EndpointState { not_before: Some(not_before), ..unwell() };
        why(DeliveryStory { looked_at: Some(ago(900)), ..story(state) }).is
    };
    assert_eq!(
        [since(NOW + Duration::seconds(1)), since(ago(80)), since(ago(100))],
        ["unwell", "unwell", "forgotten"]
    );
}

#[test]
fn one_whose_endpoint_was_deleted_is_about_to_be_cancelled() {
    let deleted = DeliveryStory { state: None, ..story(EndpointState::default()) };
    assert_eq!(why(deleted).is, "deleted");
}

#[test]
fn what_is_over_says_how_and_what_can_still_be_done() {
    let at = ago(840) + Duration::milliseconds(31);
    let ended = Ended { state: "delivered".to_owned(), reason: "accepted".to_owned(), at };
    let quick =
        why(DeliveryStory { ended: Some(ended), attempts: 1, ..story(EndpointState::default()) });
    assert!(quick.sentences[0].ends_with("by 1 attempt, 31 ms after it was written"), "{quick:?}");
    let again = DeliveryStory {
        put_back_at: Some(at - Duration::milliseconds(65)),
        written_at: at - Duration::minutes(15),
        ended: Some(Ended { state: "delivered".to_owned(), reason: "accepted".to_owned(), at }),
        attempts: 2,
        ..story(EndpointState::default())
    };
    let again = why(again);
    let parts = "by 2 attempts, 65 ms after it was put back in line, 15 min after it was written";
    assert!(again.sentences[0].ends_with(parts), "{again:?}");
    let over = |state: &str, reason: &str| {
        let ended =
            Some(Ended { state: state.to_owned(), reason: reason.to_owned(), at: ago(839) });
        let last = Some(attempt("delivered", 204));
        why(DeliveryStory { ended, last, attempts: 1, ..story(EndpointState::default()) })
    };
    let delivered = over("delivered", "accepted");
    assert_eq!(
        delivered.sentences,
        [
            "delivered at 2026-01-05 11:46:01 by 1 attempt, 1 s after it was written: it answered 204"
        ]
    );
    for (reason, part) in
        [("refused", "schedule was used up"), ("unwell", "whole span"), ("expired", "too long")]
    {
        let told = over("exhausted", reason);
        assert!(told.sentences[0].contains(part), "{told:?}");
        assert!(told.sentences[2].contains("posthorn endpoint redeliver ep_"), "{told:?}");
    }
    let cancelled = over("cancelled", "skipped");
    assert!(cancelled.sentences[0].starts_with("skipped by an operator"), "{cancelled:?}");
}

#[test]
fn what_there_is_not_is_said_and_what_is_no_id_is_refused() {
    let payment = PaymentId::from(Uuid::from_u128(7));
    let told = Subject::NoPayment(payment).why(None, NOW);
    assert_eq!(told.is, "unknown");
    assert!(told.sentences[0].contains("rolled back"), "{told:?}");
    let told = Subject::NoEvent { payment, at: NOW }.why(None, NOW);
    assert_eq!(told.is, "no_event");
    assert!(told.sentences[0].contains("events are not kept for ever"), "{told:?}");
    let nobody = Subject::NoDelivery {
        event: Uuid::from_u128(2).into(),
        event_type: "payment.failed".to_owned(),
        merchant_id: "demo".to_owned(),
        at: NOW,
    };
    assert_eq!(nobody.why(None, NOW).is, "no_endpoint");
    let more = Subject::MoreEvents(payment, 100);
    assert_eq!((more.id(), more.why(None, NOW).is), (payment.to_string(), "more"));
    assert_eq!(payment.to_string().parse(), Ok(Asked::Payment(payment)));
    for bad in ["", "pay_", "pay_1", "att_00000000-0000-0000-0000-000000000001", "PAY_x"] {
        assert!(bad.parse::<Asked>().is_err(), "{bad}");
    }
}

fn standing(endpoint: EndpointId) -> EndpointStory {
    let looked_at = Some(ago(20));
    let state = EndpointState::default();
    EndpointStory { endpoint, state, waiting: 0, due_since: None, looked_at, faulty: None }
}

#[test]
fn an_endpoint_at_which_nobody_looks_though_something_waits_is_forgotten() {
    let of = |state: EndpointState, looked_at, due_since| {
        let endpoint = EndpointId::from(Uuid::from_u128(3));
        let looked_at = Some(ago(looked_at));
        let story =
            EndpointStory { state, waiting: 14, due_since, looked_at, ..standing(endpoint) };
        Subject::Endpoint(Box::new(story)).why(None, NOW)
    };
    let told = of(EndpointState::default(), 100, Some(ago(840)));
    assert_eq!(told.is, "forgotten");
    let first = "14 deliveries wait, and nobody looked for 1 min 40 s: the workers";
    assert!(told.sentences[0].starts_with(first), "{told:?}");
    let paused =
        EndpointState { status: Status::Paused { since: ago(840) }, ..EndpointState::default() };
    for (state, looked_at, due_since, is) in [
        (EndpointState::default(), 20, Some(ago(840)), "well"),
        (EndpointState::default(), 9_000, Some(ago(20)), "well"),
        (EndpointState::default(), 9_000, None, "well"),
        (unwell(), 9_000, Some(ago(9_000)), "unwell"),
        (paused, 9_000, Some(ago(9_000)), "paused"),
    ] {
        assert_eq!(of(state, looked_at, due_since).is, is);
    }
}

#[test]
fn an_endpoint_says_what_waits_for_it() {
    let endpoint = EndpointId::from(Uuid::from_u128(3));
    let of = |state: EndpointState, waiting| {
        Subject::Endpoint(Box::new(EndpointStory { state, waiting, ..standing(endpoint) }))
            .why(None, NOW)
    };
    assert_eq!(
        of(EndpointState::default(), 0).sentences,
        ["nothing stands in the way: nothing waits for it"]
    );
    let told = of(unwell(), 10_001);
    assert!(told.sentences[0].ends_with("more than 10000 deliveries wait"), "{told:?}");
}

#[test]
fn an_endpoint_at_which_a_delivery_stepped_aside_on_our_fault_is_not_well() {
    let endpoint = EndpointId::from(Uuid::from_u128(3));
    let delivery = DeliveryId::from(Uuid::from_u128(7));
    let faulty = Faulty { delivery, fault: Fault::PayloadMissing, since: ago(60), others: 2 };
    let story = EndpointStory { waiting: 5, faulty: Some(faulty), ..standing(endpoint) };
    let told = Subject::Endpoint(Box::new(story)).why(None, NOW);
    assert_eq!(told.is, "stuck");
    let expected = format!(
        "{delivery} stepped aside on a fault on our side 1 min ago: the data service knows no such \
         object, as did 2 more"
    );
    let others = "nothing else stands in the way: 5 deliveries wait".to_owned();
    assert_eq!(told.sentences, [expected, others]);
}
