//! The journal as it is kept: yesterday's lines must be readable tomorrow.
//!
//! The fixtures are never edited, only added to: an event of today is written as it was then. The
//! second has the reasons that the first lacks, and ends with a deletion.

use std::collections::BTreeSet;

use domain::endpoint::{
    DisabledReason, EnabledBecause, EndpointEvent, EndpointState, Entry, fold, history,
};
use domain::{Fault, Unwell};

/// A journal, the state that it folds to, and the story that it tells.
struct Kept {
    journal: &'static str,
    state: &'static str,
    story: &'static str,
}

const KEPT: [Kept; 2] = [
    Kept {
        journal: include_str!("../fixtures/journal_v1.jsonl"),
        state: include_str!("../fixtures/state_v1.json"),
        story: include_str!("../fixtures/history_v1.txt"),
    },
    Kept {
        journal: include_str!("../fixtures/journal_v1_reasons.jsonl"),
        state: include_str!("../fixtures/state_v1_deleted.json"),
        story: include_str!("../fixtures/history_v1_reasons.txt"),
    },
];

impl Kept {
    fn events(&self) -> Vec<EndpointEvent> {
        self.journal.lines().map(|line| serde_json::from_str(line).expect("an event")).collect()
    }
}

/// A match without a rest and the names of all its arms: the compiler asks whoever adds a variant, or
/// a field, for an arm, and the arm asks the fixtures for a line.
macro_rules! every {
    ($names:ident, $name:ident($type:ty): $($pattern:pat => $text:literal),+ $(,)?) => {
        const $names: &[&str] = &[$($text),+];

        const fn $name(of: &$type) -> &'static str {
            match of {
                $($pattern => $text,)+
            }
        }
    };
}

type Event = EndpointEvent;

every!(KINDS, kind(EndpointEvent):
    Event::FoundUnwell {
        delivery: _, cause: _, span_begins: _, in_window: _, at: _, not_before: _,
    } => "found unwell",
    Event::BreakerOpened { at: _ } => "breaker opened",
    Event::FoundPoisonous { delivery: _, at: _ } => "found poisonous",
    Event::Recovered { delivery: _, lanes: None, at: _ } => "recovered",
    Event::Recovered { delivery: _, lanes: Some(_), at: _ } => "recovered with lanes",
    Event::Answered { lanes: None, at: _ } => "answered",
    Event::Answered { lanes: Some(_), at: _ } => "answered with lanes",
    Event::Blocked { delivery: _, fault: None, at: _, not_before: _ } => "blocked",
    Event::Blocked { delivery: _, fault: Some(_), at: _, not_before: _ } => "blocked by a fault",
    Event::Unblocked { at: _ } => "unblocked",
    Event::FoundFault { fault: _, at: _, not_before: _ } => "found fault",
    Event::FaultEnded { at: _ } => "fault ended",
    Event::Disabled { reason: _, at: _ } => "disabled",
    Event::Enabled { because: _, at: _ } => "enabled",
    Event::Paused { at: _ } => "paused",
    Event::Resumed { at: _ } => "resumed",
    Event::UrlChanged { at: _ } => "url changed",
    Event::OrderingChanged { at: _ } => "ordering changed",
    Event::Skipped { delivery: _, at: _ } => "skipped",
    Event::Redelivered { deliveries: _, at: _ } => "redelivered",
);

every!(CAUSES, cause_name(Unwell):
    Unwell::Dns => "dns",
    Unwell::Connect => "connect",
    Unwell::Tls => "tls",
    Unwell::Timeout => "timeout",
    Unwell::Protocol => "protocol",
    Unwell::Status(_) => "status",
);

every!(FAULTS, fault_name(Fault):
    Fault::Blocked => "address blocked",
    Fault::Secret => "secret",
    Fault::NamesUnavailable => "names unavailable",
    Fault::CannotConnect => "cannot connect",
    Fault::PayloadUnavailable => "payload unavailable",
    Fault::PayloadMissing => "payload missing",
    Fault::PayloadTooLarge => "payload too large",
    Fault::PayloadInvalid => "payload invalid",
    Fault::Busy => "busy",
);

every!(REASONS, reason_name(DisabledReason):
    DisabledReason::Gone => "gone",
    DisabledReason::Unwell => "unwell for days",
    DisabledReason::Operator => "by an operator",
    DisabledReason::Deleted => "deleted",
);

every!(WHYS, why_name(EnabledBecause):
    EnabledBecause::Operator => "by an operator again",
    EnabledBecause::Probe => "by a probe",
    EnabledBecause::NewUrl => "by a new URL",
);

/// The event's own name and that of what it holds.
fn names(event: &EndpointEvent) -> Vec<&'static str> {
    let held = match event {
        EndpointEvent::FoundUnwell { cause, .. } => Some(cause_name(cause)),
        EndpointEvent::FoundFault { fault, .. } => Some(fault_name(fault)),
        EndpointEvent::Blocked { fault, .. } => fault.as_ref().map(fault_name),
        EndpointEvent::Disabled { reason, .. } => Some(reason_name(reason)),
        EndpointEvent::Enabled { because, .. } => Some(why_name(because)),
        _ => None,
    };
    [Some(kind(event)), held].into_iter().flatten().collect()
}

#[test]
fn a_journal_of_version_1_folds_to_the_state_that_it_was_written_with() {
    for kept in &KEPT {
        let expected: EndpointState = serde_json::from_str(kept.state).expect("a state");
        assert_eq!(fold(&kept.events()), expected);
    }
}

#[test]
fn events_are_written_as_they_were() {
    for kept in &KEPT {
        for (line, event) in kept.journal.lines().zip(kept.events()) {
            let written = serde_json::to_value(event).expect("serialises");
            assert_eq!(written, serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        }
    }
}

#[test]
fn the_fixtures_have_every_event_with_every_reason() {
    let events: Vec<EndpointEvent> = KEPT.iter().flat_map(Kept::events).collect();
    let seen: BTreeSet<&str> = events.iter().flat_map(names).collect();
    let all = [KINDS, CAUSES, FAULTS, REASONS, WHYS].concat();
    let lacks: Vec<&&str> = all.iter().filter(|name| !seen.contains(**name)).collect();
    assert!(lacks.is_empty(), "no line of: {lacks:?}");
}

#[test]
fn a_state_of_before_the_walk_the_window_and_the_block_is_readable() {
    let old = r#"{"status":{"is":"active"},"breaker":{"is":"open","since":"2026-01-05T12:00:00Z"},
        "unwell":{"since":"2026-01-05T12:00:00Z","consecutive":5,
        "last_at":"2026-01-05T12:01:00Z","cause":{"status":500}},
        "fault":null,"not_before":"2026-01-05T12:02:00Z"}"#;
    let state: EndpointState = serde_json::from_str(old).expect("reads");
    assert_eq!(state.unwell.expect("unwell").consecutive, 5);
    assert!(state.may_send());
}

#[test]
fn the_journal_tells_a_story() {
    for kept in &KEPT {
        let journal = kept.events();
        let entries = journal.iter().map(|event| Entry {
            event,
            actor: matches!(event, EndpointEvent::Paused { .. }).then_some("anna"),
        });
        assert_eq!(format!("{}\n", history(entries).join("\n")), kept.story);
    }
}
