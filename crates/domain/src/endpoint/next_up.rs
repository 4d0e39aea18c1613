//! Who may be attempted now: the one question that a slice asks between two settles.
//!
//! What the look returned and what is in flight come in, a place in the line goes out. Nothing
//! begins while the endpoint waits or may not be sent to. The slice asks again after every settle,
//! with the state that the settle left, and takes whom it was given out of the line: so serial
//! delivery, a single probe and lanes that are refilled are one loop.
//!
//! A look returns at most n deliveries by sequence, those in line and those whose time to come back
//! has come; at least eight, so that probes can walk, and at least as many as there are lanes.

use time::OffsetDateTime;

use super::{DeliveryFacts, EndpointState, Ordering, Policy};

/// The fewest deliveries that a look has to ask for: what probes walk along.
pub const LINE_MIN: usize = 8;

/// The place in `line` of the delivery to attempt now, or none: wait for what is in flight, and if
/// nothing is, the slice is over.
///
/// `line`: what is due by the last look and was not attempted since, by sequence. `in_flight`:
/// attempts that have begun and are not yet settled.
pub fn next_up(
    state: &EndpointState,
    policy: &Policy,
    line: &[DeliveryFacts],
    in_flight: usize,
    now: OffsetDateTime,
) -> Option<usize> {
    if state.waits(now) || line.is_empty() || in_flight >= at_once(state, policy) {
        return None;
    }
    if !state.is_probed() || policy.ordering == Ordering::Strict {
        return Some(0);
    }
    // What is known to fail is no probe while there is another.
    let sound = |facts: &&(usize, &DeliveryFacts)| !facts.1.poisonous;
    let probes = line.iter().enumerate().filter(|facts| sound(&facts));
    let place = state.walk.place(probes.clone().map(|(_, facts)| facts.id));
    Some(probes.map(|(place, _)| place).nth(place).unwrap_or(0))
}

/// How many attempts may be under way at once.
fn at_once(state: &EndpointState, policy: &Policy) -> usize {
    // An endpoint that was unwell last shows with one attempt whether it is back.
    if policy.ordering != Ordering::Unordered || state.is_probed() || state.unwell.is_some() {
        return 1;
    }
    let lanes = state.ramp.map_or(policy.parallelism, |ramp| ramp.lanes.min(policy.parallelism));
    usize::from(lanes.max(1))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::super::{DisabledReason, EndpointEvent, evolve};
    use super::*;
    use crate::Unwell;

    const NOW: OffsetDateTime = datetime!(2026-01-05 12:00 UTC);

    fn line(length: u128) -> Vec<DeliveryFacts> {
        (1..=length)
            .map(|n| DeliveryFacts {
                id: uuid::Uuid::from_u128(n).into(),
                attempts: 0,
                refusals: 0,
                first_attempt_at: None,
                poisonous: false,
            })
            .collect()
    }

    fn policy(ordering: Ordering) -> Policy {
        Policy::default().with_ordering(ordering)
    }

    fn after(events: &[EndpointEvent]) -> EndpointState {
        events.iter().fold(EndpointState::default(), evolve)
    }

    fn unwell(delivery: u128, not_before: OffsetDateTime) -> EndpointEvent {
        EndpointEvent::FoundUnwell {
            delivery: uuid::Uuid::from_u128(delivery).into(),
            cause: Unwell::Status(500),
            span_begins: true,
            in_window: false,
            at: NOW,
            not_before,
        }
    }

    #[test]
    fn a_healthy_endpoint_gets_one_at_a_time_or_as_many_as_its_policy_allows() {
        let healthy = EndpointState::default();
        for (ordering, at_once) in
            [(Ordering::Ordered, 1), (Ordering::Strict, 1), (Ordering::Unordered, 8)]
        {
            let policy = policy(ordering);
            assert_eq!(next_up(&healthy, &policy, &line(9), at_once - 1, NOW), Some(0));
            assert_eq!(next_up(&healthy, &policy, &line(9), at_once, NOW), None);
        }
    }

    #[test]
    fn nothing_begins_while_the_endpoint_waits_is_paused_or_disabled() {
        let waits = after(&[unwell(1, NOW + std::time::Duration::from_secs(1))]);
        let paused = after(&[EndpointEvent::Paused { at: NOW }]);
        let gone = after(&[EndpointEvent::Disabled { reason: DisabledReason::Gone, at: NOW }]);
        for state in [waits, paused, gone] {
            assert_eq!(next_up(&state, &policy(Ordering::Ordered), &line(1), 0, NOW), None);
        }
    }

    #[test]
    fn probes_walk_down_the_line_but_never_past_a_strict_head() {
        let open = after(&[EndpointEvent::BreakerOpened { at: NOW }, unwell(1, NOW)]);
        assert_eq!(next_up(&open, &policy(Ordering::Ordered), &line(9), 0, NOW), Some(1));
        assert_eq!(next_up(&open, &policy(Ordering::Unordered), &line(9), 0, NOW), Some(1));
        assert_eq!(next_up(&open, &policy(Ordering::Strict), &line(9), 0, NOW), Some(0));
        assert_eq!(next_up(&open, &policy(Ordering::Unordered), &line(9), 1, NOW), None);
    }

    #[test]
    fn what_is_known_to_be_poisonous_is_no_probe_while_there_is_another() {
        let open = after(&[unwell(1, NOW), EndpointEvent::BreakerOpened { at: NOW }]);
        let mut line = line(3);
        line[0].poisonous = true;
        assert_eq!(next_up(&open, &policy(Ordering::Ordered), &line, 0, NOW), Some(1));
        line.truncate(1);
        assert_eq!(next_up(&open, &policy(Ordering::Ordered), &line, 0, NOW), Some(0));
    }

    #[test]
    fn parallelism_comes_back_step_by_step() {
        let policy = policy(Ordering::Unordered);
        let delivery = uuid::Uuid::from_u128(1).into();
        for lanes in [1_u8, 2, 4] {
            let state =
                after(&[EndpointEvent::Recovered { delivery, lanes: Some(lanes), at: NOW }]);
            let lanes = usize::from(lanes);
            assert_eq!(next_up(&state, &policy, &line(9), lanes - 1, NOW), Some(0));
            assert_eq!(next_up(&state, &policy, &line(9), lanes, NOW), None);
        }
    }
}
