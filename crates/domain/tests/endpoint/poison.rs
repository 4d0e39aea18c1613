//! One poisonous event that makes a merchant's code answer 500 does not stop its shop.

use std::collections::HashMap;

use domain::endpoint::{
    Breaker, Command, DeliveryFacts, Disposition, FinishReason, Ordering, next_up,
};
use domain::{DeliveryId, Outcome};
use time::OffsetDateTime;

use crate::being::{Endpoint, HOUR_S, NOON, delivery, secs, status};

/// A merchant's line, sent by the rules until it is empty; `answer` says what each delivery gets.
/// When each of them was delivered.
fn send(
    ordering: Ordering,
    length: u128,
    answer: impl Fn(&DeliveryFacts, OffsetDateTime) -> Outcome,
) -> (Endpoint, HashMap<DeliveryId, OffsetDateTime>) {
    let mut endpoint = Endpoint::new(ordering);
    let mut waiting: Vec<(DeliveryFacts, OffsetDateTime)> =
        (1..=length).map(|n| (delivery(n), NOON)).collect();
    let mut delivered = HashMap::new();
    for _ in 0..10_000 {
        let due: Vec<usize> =
            (0..waiting.len()).filter(|i| waiting[*i].1 <= endpoint.now).collect();
        let line: Vec<_> = due.iter().map(|i| waiting[*i].0).collect();
        let Some(place) = next_up(&endpoint.state, &endpoint.policy, &line, 0, endpoint.now) else {
            let Some(next) = waiting.iter().map(|(_, at)| *at).min() else { break };
            endpoint.now = endpoint.now.max(next);
            endpoint.wait();
            continue;
        };
        let index = due[place];
        let facts = waiting[index].0;
        let outcome = answer(&facts, endpoint.now);
        let decision =
            endpoint.tell(Command::Settle { delivery: facts, started_at: endpoint.now, outcome });
        for marked in decision.marks_poisonous() {
            for (facts, _) in &mut waiting {
                facts.poisonous |= facts.id == marked;
            }
        }
        let facts = &mut waiting[index];
        facts.0.attempts += 1;
        facts.0.first_attempt_at.get_or_insert(endpoint.now);
        facts.0.refusals += u32::from(decision.disposition.is_a_refusal());
        match decision.disposition {
            Disposition::Finish(reason) => {
                if reason == FinishReason::Delivered {
                    delivered.insert(facts.0.id, endpoint.now);
                }
                waiting.remove(index);
            }
            Disposition::StepAside { until, .. } => facts.1 = until,
            Disposition::Stay | Disposition::Block => {}
        }
    }
    assert!(waiting.is_empty(), "{} still wait", waiting.len());
    (endpoint, delivered)
}

fn is_one_of(poison: &[u128], facts: &DeliveryFacts) -> bool {
    poison.iter().any(|n| facts.id == delivery(*n).id)
}

#[test]
fn the_others_are_delivered_within_the_hour_and_the_poisonous_one_uses_up_its_schedule() {
    for ordering in [Ordering::Ordered, Ordering::Unordered] {
        let (endpoint, delivered) =
            send(ordering, 20, |facts, _| status(if is_one_of(&[1], facts) { 500 } else { 200 }));
        assert_eq!(delivered.len(), 19);
        let last = delivered.values().max().expect("delivered");
        assert!(*last - NOON < secs(HOUR_S), "{ordering:?}: {}", *last - NOON);
        assert_eq!(endpoint.state.breaker, Breaker::Closed);
    }
}

#[test]
fn up_to_seven_of_them_in_a_row_are_found() {
    let poison = [1, 2, 3, 4, 5, 6, 7];
    let (_, delivered) = send(Ordering::Ordered, 9, |facts, _| {
        status(if is_one_of(&poison, facts) { 500 } else { 200 })
    });
    assert_eq!(delivered.len(), 2);
    let last = delivered.values().max().expect("delivered");
    assert!(*last - NOON < secs(16 * HOUR_S), "{}", *last - NOON);
}

#[test]
fn in_strict_the_line_waits_for_the_head_whatever_it_takes() {
    let (_, delivered) = send(Ordering::Strict, 3, |facts, _| {
        status(if is_one_of(&[1], facts) { 500 } else { 200 })
    });
    let first = delivered.values().min().expect("delivered");
    assert!(*first - NOON >= Endpoint::new(Ordering::Strict).policy.schedule.span());
}

#[test]
fn a_merchant_that_was_down_for_everybody_convicts_at_most_the_head_and_it_is_delivered() {
    let back = NOON + secs(5 * HOUR_S);
    let (_, delivered) =
        send(Ordering::Ordered, 20, |_, now| status(if now < back { 500 } else { 200 }));
    assert_eq!(delivered.len(), 20);
    let last = delivered.values().max().expect("delivered");
    assert!(*last - back < secs(2 * HOUR_S), "{}", *last - back);
}

#[test]
fn a_poisonous_events_500_moves_no_clock_of_the_endpoint() {
    let mut endpoint = Endpoint::new(Ordering::Ordered);
    let poisonous = DeliveryFacts { poisonous: true, ..delivery(1) };
    let disposition = endpoint.attempt(poisonous, status(500));
    assert!(matches!(disposition, Disposition::StepAside { refused: true, .. }));
    assert_eq!(endpoint.journal, []);
    // That it is asked for patience, or not answered at all, is about the endpoint.
    assert_eq!(endpoint.attempt(poisonous, status(429)), Disposition::Stay);
    assert_eq!(endpoint.journal.len(), 1);
}
