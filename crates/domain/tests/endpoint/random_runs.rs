//! Random runs of everything that an endpoint can be told: every step keeps every invariant, and
//! the journal folds to the state that it was written with.

use domain::endpoint::invariants::{Step, broken};
use domain::endpoint::{
    Command, DeliveryFacts, Disposition, EndpointEvent, EndpointState, Jitter, Ordering, Policy,
    decide, fold,
};
use domain::{Fault, Outcome, Unwell};
use proptest::prelude::*;

use crate::being::{NOON, delivery, id, secs, status};

#[derive(Debug, Clone, Copy)]
enum Deed {
    Attempt { place: usize, took_s: u64, outcome: Outcome },
    Told(Command),
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(status(200)),
        2 => prop::sample::select(vec![301_u16, 400, 404, 422]).prop_map(status),
        8 => prop::sample::select(vec![408_u16, 429, 500, 503]).prop_map(status),
        2 => Just(Outcome::Unwell { cause: Unwell::Timeout, retry_after: None }),
        1 => Just(Outcome::of_status(429, Some(secs(9_999_999)))),
        1 => Just(Outcome::Fault { fault: Fault::PayloadUnavailable }),
        1 => Just(Outcome::Fault { fault: Fault::Secret }),
        1 => Just(Outcome::Fault { fault: Fault::PayloadMissing }),
        1 => Just(status(410)),
    ]
}

fn any_deed() -> impl Strategy<Value = Deed> {
    let told = prop::sample::select(vec![
        Command::Pause,
        Command::Resume,
        Command::Disable,
        Command::Enable,
        Command::Enable,
        Command::UrlChanged,
        Command::OrderingChanged,
        Command::SecretMade,
        Command::Skip(id(1)),
        Command::Expire { delivery: id(2), waiting_since: NOON },
        Command::Redeliver(1),
    ]);
    prop_oneof![
        240 => (0..4_usize, 0..30_u64, any_outcome())
            .prop_map(|(place, took_s, outcome)| Deed::Attempt { place, took_s, outcome }),
        20 => told.prop_map(Deed::Told),
        1 => Just(Deed::Told(Command::Delete)),
    ]
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let orderings = vec![Ordering::Ordered, Ordering::Strict, Ordering::Unordered];
    (prop::sample::select(orderings), 1..12_u8, 1..8_u32).prop_map(
        |(ordering, parallelism, breaker_opens_after)| Policy {
            parallelism,
            breaker_opens_after,
            ..Policy::default().with_ordering(ordering)
        },
    )
}

/// What a delivery is after `disposition`; a finished one makes place for another.
fn moved_on(facts: &mut DeliveryFacts, disposition: Disposition, now: time::OffsetDateTime) {
    facts.attempts += 1;
    facts.first_attempt_at.get_or_insert(now);
    facts.refusals += u32::from(disposition.is_a_refusal());
    if matches!(disposition, Disposition::Finish(_)) {
        *facts = delivery(facts.id.uuid().as_u128() + 10);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_step_keeps_every_invariant_and_the_journal_folds_to_the_state(
        policy in any_policy(),
        run in prop::collection::vec((any_deed(), 0.0_f64..1.0, 0_u64..40_000), 1..80),
    ) {
        let (mut state, mut now) = (EndpointState::default(), NOON);
        let mut journal: Vec<EndpointEvent> = Vec::new();
        let mut line: Vec<_> = (1..=4).map(delivery).collect();
        for (deed, unit, idle_s) in run {
            now += secs(idle_s);
            let command = match deed {
                Deed::Told(command) => command,
                Deed::Attempt { place, took_s, outcome } => {
                    let started_at = now - secs(took_s);
                    Command::Settle { delivery: line[place], started_at, outcome }
                }
            };
            let decision = decide(&state, &policy, &command, now, Jitter::from_unit(unit));
            let after = decision.state_after(state);
            let step = Step {
                before: &state, policy: &policy, command: &command, now,
                decision: &decision, after: &after,
            };
            prop_assert_eq!(broken(&step), None, "{:#?}", step);
            journal.extend(&decision.events);
            prop_assert_eq!(fold(&journal), after);
            for facts in &mut line {
                facts.poisonous |= decision.marks_poisonous().any(|marked| marked == facts.id);
            }
            if let Deed::Attempt { place, .. } = deed {
                moved_on(&mut line[place], decision.disposition, now);
            }
            state = after;
        }
        let stored = serde_json::to_string(&state).expect("serialises");
        prop_assert_eq!(serde_json::from_str::<EndpointState>(&stored).expect("reads"), state);
        let written = serde_json::to_string(&journal).expect("serialises");
        let read: Vec<EndpointEvent> = serde_json::from_str(&written).expect("reads");
        prop_assert_eq!(read, journal);
    }
}
