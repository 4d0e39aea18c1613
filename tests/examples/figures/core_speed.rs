//! Transitions of the pure core: decide on an attempt, and fold what was decided.

use std::hint::black_box;
use std::time::{Duration, Instant};

use domain::Outcome;
use domain::endpoint::{
    Command, DeliveryFacts, EndpointState, Jitter, Ordering, Policy, decide, next_up,
};
use time::macros::datetime;
use uuid::Uuid;

const ROUNDS: u32 = 2_000_000;
/// What a merchant answers, over and over: it recovers, fails a while, refuses.
const ANSWERS: [u16; 16] =
    [200, 200, 200, 400, 200, 200, 500, 500, 500, 500, 500, 503, 200, 200, 422, 200];

pub(crate) fn measure() {
    for ordering in [Ordering::Ordered, Ordering::Strict, Ordering::Unordered] {
        let policy = Policy::default().with_ordering(ordering);
        let line: Vec<DeliveryFacts> = (1..=50).map(facts).collect();
        let (mut state, mut now) = (EndpointState::default(), datetime!(2026-01-01 00:00 UTC));
        let mut events = 0;
        let began = Instant::now();
        for (round, status) in (0..ROUNDS).zip(ANSWERS.iter().cycle()) {
            now = state.waits_until(now).unwrap_or(now) + Duration::from_millis(3);
            let place = black_box(next_up(&state, &policy, &line, 0, now)).unwrap_or(0);
            let delivery = line[place];
            let outcome = Outcome::of_status(*status, None);
            let command = Command::Settle { delivery, started_at: now, outcome };
            let jitter = Jitter::from_unit(f64::from(round % 7) / 7.0);
            let decision = decide(&state, &policy, &command, now, jitter);
            events += decision.events.len();
            state = black_box(decision.state_after(state));
        }
        let per_second = f64::from(ROUNDS) / began.elapsed().as_secs_f64();
        println!("{ordering:?}: {per_second:.0} transitions/s ({ROUNDS} of them, {events} events)");
    }
}

fn facts(number: u128) -> DeliveryFacts {
    DeliveryFacts {
        id: Uuid::from_u128(number).into(),
        attempts: 0,
        refusals: 0,
        first_attempt_at: None,
        poisonous: false,
    }
}
