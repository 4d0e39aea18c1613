//! A scenario: all that happens to one endpoint from outside, as data.
//!
//! Who pays when, how the merchant behaves, what breaks on our side, what operators do. Endpoints
//! do not depend on each other, so one is a whole run; a seed and a number make it, and parts of
//! it can be left out to find what a failure needs. Nothing here knows the rules.

mod merchant;
mod mishap;
mod order;
mod traffic;

use std::time::Duration;

use domain::endpoint::{Backoff, Ordering, Policy, Schedule};

pub(crate) use merchant::{Answer, Behaviour, Merchant, Request};
pub(crate) use mishap::{Mishap, Point, What};
pub use order::Deed;
pub(crate) use order::Order;
pub(crate) use traffic::Payment;

use crate::clock::{DAY, HOUR, Micros, SECOND};
use crate::dice::Dice;

/// After the last payment, mishap and order, time goes on for so long: a breaker that is open for
/// an hour, a daily probe and a schedule of three days must come to their end.
pub(crate) const TAIL: Micros = 9 * DAY;

/// What happens to one endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) endpoint: u64,
    pub(crate) policy: Policy,
    /// Deliveries of one look, at most.
    pub(crate) limit: usize,
    /// How much earlier than it should Restate's timers fire.
    pub(crate) early: Micros,
    pub(crate) payments: Vec<Payment>,
    pub(crate) merchant: Merchant,
    pub(crate) mishaps: Vec<Mishap>,
    pub(crate) orders: Vec<Order>,
    /// When the last of these is over.
    pub(crate) quiet_from: Micros,
}

impl Scenario {
    /// The scenario of the `endpoint`-th endpoint of `seed`, over `days`.
    pub(crate) fn generate(seed: u64, endpoint: u64, days: u32) -> Self {
        let mut dice = Dice::new(seed, endpoint);
        let horizon = Micros::from(days.max(1)) * DAY;
        let is_calm = dice.chance(25);
        let policy = policy(&mut dice);
        let mut payments = traffic::generate(&mut dice, horizon);
        let merchant = Merchant::generate(&mut dice, horizon, payments.len());
        let mishaps =
            if is_calm { Vec::new() } else { mishap::generate(&mut dice, &payments, horizon) };
        let orders = if dice.chance(40) {
            order::generate(&mut dice, &payments, horizon)
        } else {
            Vec::new()
        };
        order::hold_open(&mut dice, &orders, &mut payments);
        Self {
            seed,
            endpoint,
            limit: usize::try_from(dice.between(8, 50)).unwrap_or(8),
            early: if dice.chance(20) { dice.between(1, SECOND / 2) } else { 0 },
            policy,
            payments,
            merchant,
            orders,
            quiet_from: mishaps.iter().map(Mishap::is_over_at).fold(horizon, Micros::max) + HOUR,
            mishaps,
        }
    }

    /// When it is over.
    pub(crate) fn ends_at(&self) -> Micros {
        self.quiet_from + TAIL
    }

    /// How much there is in it: what shrinking makes smaller.
    pub(crate) fn size(&self) -> usize {
        self.payments.len()
            + self.mishaps.len()
            + self.orders.len()
            + self.merchant.segments.len()
            + usize::try_from(self.quiet_from / DAY).unwrap_or(0)
    }
}

fn policy(dice: &mut Dice) -> Policy {
    let ordering = dice.pick(&[
        Ordering::Ordered,
        Ordering::Ordered,
        Ordering::Strict,
        Ordering::Unordered,
        Ordering::Unordered,
    ]);
    let mut policy = Policy::default().with_ordering(ordering);
    if dice.chance(30) {
        policy.parallelism = u8::try_from(dice.between(1, 32)).unwrap_or(8);
    }
    if dice.chance(20) {
        // Hurried merchants: waits of seconds, so that rare turns come often.
        let secs = Duration::from_secs;
        policy.schedule = Schedule::try_new(vec![secs(1), secs(30), secs(600)]).unwrap_or_default();
        policy.backoff = Backoff::try_new(secs(1), secs(120)).unwrap_or(Backoff::UNWELL);
        policy.throttled_wait_min = secs(5);
        policy.disables_after = secs(24 * 3_600);
        policy.probes_every = secs(12 * 3_600);
    }
    if dice.chance(20) {
        policy.breaker_opens_after = u32::try_from(dice.between(1, 20)).unwrap_or(5);
    }
    if dice.chance(15) {
        policy.expires_after = Duration::from_secs(7 * 24 * 3_600);
    }
    policy
}

/// Some moments between 0 and `horizon`, in order.
fn moments(dice: &mut Dice, count: i64, horizon: Micros) -> Vec<Micros> {
    let mut moments: Vec<_> = (0..count).map(|_| dice.between(HOUR / 4, horizon)).collect();
    moments.sort_unstable();
    moments
}
