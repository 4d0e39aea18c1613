//! The journal as it is kept: yesterday's lines must be readable tomorrow.
//!
//! The fixture is never edited, only added to: an event of today is written as it was then.

use domain::endpoint::{EndpointEvent, EndpointState, Entry, fold, history};

const JOURNAL_V1: &str = include_str!("../fixtures/journal_v1.jsonl");
const STATE_V1: &str = include_str!("../fixtures/state_v1.json");

fn journal() -> Vec<EndpointEvent> {
    JOURNAL_V1.lines().map(|line| serde_json::from_str(line).expect("an event")).collect()
}

/// The name that an event has in JSON.
fn name(event: &EndpointEvent) -> String {
    let json = serde_json::to_value(event).expect("serialises");
    json["type"].as_str().expect("a type").to_owned()
}

#[test]
fn a_journal_of_version_1_folds_to_the_state_that_it_was_written_with() {
    let expected: EndpointState = serde_json::from_str(STATE_V1).expect("a state");
    assert_eq!(fold(&journal()), expected);
}

#[test]
fn events_are_written_as_they_were() {
    for (line, event) in JOURNAL_V1.lines().zip(journal()) {
        let written = serde_json::to_value(event).expect("serialises");
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    }
}

#[test]
fn the_fixture_has_an_event_of_every_kind() {
    let names: std::collections::BTreeSet<String> = journal().iter().map(name).collect();
    // Whoever adds a kind adds a line; the compiler does not know how many there are, this does.
    let source = include_str!("../../src/endpoint/event.rs");
    let kinds = source.matches("Self::").count();
    assert_eq!(names.len(), kinds, "{names:?}");
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
    let journal = journal();
    let entries = journal.iter().map(|event| Entry {
        event,
        actor: matches!(event, EndpointEvent::Paused { .. }).then_some("anna"),
    });
    let story = history(entries).join("\n");
    assert_eq!(format!("{story}\n"), include_str!("../fixtures/history_v1.txt"));
}
