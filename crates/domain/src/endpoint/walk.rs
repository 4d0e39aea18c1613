//! The probes' walk: which delivery probes an endpoint whose breaker is open.
//!
//! One poisonous event makes a merchant's code answer 500 for as long as it is tried; it must not
//! stop the shop. So while the endpoint does answer, probes walk head, second, head, third … up to
//! the eighth. When another than those that failed gets through, the endpoint was never down: the
//! events that failed in this round are poisonous. An endpoint that does not answer at all is down
//! for everybody: the walk starts over at the head.
//!
//! What must never happen: a probe that passes a delivery that was not tried in this round. So the
//! walk counts whom it tried, not how far it got: a line grows while it walks.

use serde::{Deserialize, Serialize};

use crate::{DeliveryId, Unwell};

/// How far down the line probes walk. Every other probe is the head, so a round of them is fourteen
/// waits long; further down would take days at the longest backoff.
const WALK_MAX: usize = 8;
/// Probes of one round: the head before each of the seven others.
const ROUND: u8 = 14;

/// Where the walk stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Walk {
    /// Probes that failed in this round since the breaker opened.
    probes: u8,
    /// Deliveries that got a 5xx in this round, in the order in which they did.
    suspects: Deliveries,
    /// Deliveries that got an answer in this round and not through, who was tried last at the end.
    #[serde(skip_serializing_if = "Deliveries::is_empty")]
    tried: Deliveries,
}

impl Walk {
    /// The place in `line`, from 0, of the next probe: the head and, every other time, the first
    /// that was not tried. When all were, whoever waits longest for another try.
    pub(super) fn place(&self, line: impl Iterator<Item = DeliveryId>) -> usize {
        if self.probes.is_multiple_of(2) {
            return 0;
        }
        let nearest = line.take(WALK_MAX).enumerate();
        nearest.min_by_key(|(_, id)| self.tried.place(*id)).map_or(0, |(place, _)| place)
    }

    /// The walk after `delivery` found the endpoint unwell; `open`: it was a probe.
    pub(super) fn after(mut self, delivery: DeliveryId, cause: Unwell, open: bool) -> Self {
        if !cause.is_an_answer() {
            return Self::default();
        }
        if is_a_server_error(cause) {
            self.suspects.add(delivery);
        }
        self.tried.add_last(delivery);
        if open {
            self.probes += 1;
        }
        if self.probes < ROUND { self } else { Self::default() }
    }

    /// Who is poisonous, when `delivery` got an answer while the breaker was open: those that
    /// failed before it. One that had failed itself shows that the endpoint is back, and no more.
    pub(super) fn convicts(&self, delivery: DeliveryId) -> impl Iterator<Item = DeliveryId> {
        let acquitted = self.suspects.iter().any(|suspect| suspect == delivery);
        self.suspects.iter().filter(move |_| !acquitted)
    }

    /// Is there nothing in it?
    pub(super) fn is_new(&self) -> bool {
        *self == Self::default()
    }
}

/// A 5xx: what a merchant's code says when an event breaks it.
pub(super) const fn is_a_server_error(cause: Unwell) -> bool {
    matches!(cause, Unwell::Status(500..))
}

/// At most eight deliveries, each once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<DeliveryId>", into = "Vec<DeliveryId>")]
struct Deliveries([Option<DeliveryId>; WALK_MAX]);

impl Deliveries {
    fn iter(&self) -> impl Iterator<Item = DeliveryId> {
        self.0.into_iter().flatten()
    }

    fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Its place from the front; none when it is not among them, which is less than any.
    fn place(&self, delivery: DeliveryId) -> Option<usize> {
        self.iter().position(|other| other == delivery)
    }

    /// Puts it at the end; of nine, the first is forgotten.
    fn add_last(&mut self, delivery: DeliveryId) {
        let mut others = Self::default();
        self.iter().filter(|other| *other != delivery).for_each(|other| others.add(other));
        if others.0.iter().all(Option::is_some) {
            others.0.rotate_left(1);
            others.0[WALK_MAX - 1] = None;
        }
        others.add(delivery);
        *self = others;
    }

    fn add(&mut self, delivery: DeliveryId) {
        if self.iter().any(|suspect| suspect == delivery) {
            return;
        }
        // A ninth is not remembered: it would only be tried again as the head.
        if let Some(free) = self.0.iter_mut().find(|place| place.is_none()) {
            *free = Some(delivery);
        }
    }
}

impl From<Vec<DeliveryId>> for Deliveries {
    fn from(ids: Vec<DeliveryId>) -> Self {
        let mut deliveries = Self::default();
        ids.into_iter().for_each(|id| deliveries.add(id));
        deliveries
    }
}

impl From<Deliveries> for Vec<DeliveryId> {
    fn from(deliveries: Deliveries) -> Self {
        deliveries.iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> DeliveryId {
        uuid::Uuid::from_u128(n).into()
    }

    const SERVER_ERROR: Unwell = Unwell::Status(500);

    /// The next probe in a line of so many, and the walk after it failed.
    fn probe(walk: Walk, line: u128) -> (u128, Walk) {
        let place = walk.place((1..=line).map(id)) as u128;
        (place, walk.after(id(place + 1), SERVER_ERROR, true))
    }

    fn places(lines: &[u128]) -> Vec<u128> {
        let mut walk = Walk::default();
        let mut one = |line: &u128| {
            let (place, after) = probe(walk, *line);
            walk = after;
            place
        };
        lines.iter().map(&mut one).collect()
    }

    #[test]
    fn probes_walk_head_second_head_third_up_to_the_eighth_and_begin_again() {
        assert_eq!(places(&[50; 16]), [0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 1]);
    }

    #[test]
    fn in_a_short_line_the_walk_turns_round_at_its_end() {
        assert_eq!(places(&[3; 8]), [0, 1, 0, 2, 0, 1, 0, 2]);
        assert_eq!(places(&[2; 4]), [0, 1, 0, 1]);
        assert_eq!(places(&[1; 4]), [0; 4]);
        assert_eq!(Walk::default().place(std::iter::empty()), 0);
    }

    #[test]
    fn nobody_is_passed_untried_though_the_line_grows_while_the_walk_is_on() {
        assert_eq!(places(&[1, 1, 1, 5, 5, 5]), [0, 0, 0, 1, 0, 2]);
        assert_eq!(places(&[2, 2, 2, 5, 5, 5, 5, 5]), [0, 1, 0, 2, 0, 3, 0, 4]);
        // The head was given up: the next one is the head, and was not tried either.
        let walk = Walk::default().after(id(1), SERVER_ERROR, true);
        assert_eq!(walk.place([id(2), id(3)].into_iter()), 0);
    }

    #[test]
    fn an_endpoint_that_does_not_answer_is_down_for_everybody() {
        let walk = Walk::default().after(id(1), SERVER_ERROR, true);
        assert!(!walk.is_new());
        assert!(walk.after(id(2), Unwell::Connect, true).is_new());
    }

    #[test]
    fn those_that_failed_before_the_one_that_gets_through_are_poisonous() {
        let walk = [1, 2, 1]
            .iter()
            .fold(Walk::default(), |walk, n| walk.after(id(*n), SERVER_ERROR, true));
        assert_eq!(walk.convicts(id(3)).collect::<Vec<_>>(), [id(1), id(2)]);
        assert_eq!(walk.convicts(id(1)).count(), 0);
    }

    #[test]
    fn a_merchant_that_asks_for_patience_convicts_nobody() {
        let walk = Walk::default().after(id(1), Unwell::Status(429), true);
        assert_eq!(walk.convicts(id(2)).count(), 0);
    }

    #[test]
    fn a_walk_survives_storage() {
        let walk =
            Walk::default().after(id(1), SERVER_ERROR, true).after(id(2), SERVER_ERROR, true);
        let stored = serde_json::to_string(&walk).expect("serialises");
        assert_eq!(serde_json::from_str::<Walk>(&stored).expect("reads"), walk);
    }
}
