//! The probes' walk: which delivery probes an endpoint whose breaker is open.
//!
//! One poisonous event makes a merchant's code answer 500 for as long as it is tried; it must not
//! stop the shop. So while the endpoint does answer, probes walk head, second, head, third … up to
//! the eighth. When another than those that failed gets through, the endpoint was never down: the
//! events that failed in this round are poisonous. An endpoint that does not answer at all is down
//! for everybody: the walk starts over at the head.

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
    suspects: Suspects,
}

impl Walk {
    /// The place in a line of so many of the next probe, from 0. In a short line the walk turns
    /// round at its end, so that whoever joins is probed as the next but one.
    pub(super) fn place(&self, line: usize) -> usize {
        let others = line.min(WALK_MAX).saturating_sub(1);
        if self.probes.is_multiple_of(2) || others == 0 {
            return 0;
        }
        1 + usize::from(self.probes / 2) % others
    }

    /// The walk after `delivery` found the endpoint unwell; `open`: it was a probe.
    pub(super) fn after(mut self, delivery: DeliveryId, cause: Unwell, open: bool) -> Self {
        if !cause.is_an_answer() {
            return Self::default();
        }
        if is_a_server_error(cause) {
            self.suspects.add(delivery);
        }
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
struct Suspects([Option<DeliveryId>; WALK_MAX]);

impl Suspects {
    fn iter(&self) -> impl Iterator<Item = DeliveryId> {
        self.0.into_iter().flatten()
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

impl From<Vec<DeliveryId>> for Suspects {
    fn from(ids: Vec<DeliveryId>) -> Self {
        let mut suspects = Self::default();
        ids.into_iter().for_each(|id| suspects.add(id));
        suspects
    }
}

impl From<Suspects> for Vec<DeliveryId> {
    fn from(suspects: Suspects) -> Self {
        suspects.iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> DeliveryId {
        uuid::Uuid::from_u128(n).into()
    }

    const SERVER_ERROR: Unwell = Unwell::Status(500);

    #[test]
    fn probes_walk_head_second_head_third_up_to_the_eighth_and_begin_again() {
        let mut walk = Walk::default();
        let mut places = Vec::new();
        for _ in 0..16 {
            places.push(walk.place(50));
            walk = walk.after(id(1), SERVER_ERROR, true);
        }
        assert_eq!(places, [0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 1]);
    }

    #[test]
    fn in_a_short_line_the_walk_turns_round_at_its_end() {
        let place = |probes, line| Walk { probes, ..Walk::default() }.place(line);
        assert_eq!([1, 3, 5, 7].map(|probes| place(probes, 3)), [1, 2, 1, 2]);
        assert_eq!([1, 3, 5, 7].map(|probes| place(probes, 2)), [1, 1, 1, 1]);
        assert_eq!([1, 3].map(|probes| place(probes, 1)), [0, 0]);
        assert_eq!(place(0, 0), 0);
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
