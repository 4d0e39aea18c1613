//! Operators: what they order, when, and whether they send it twice.
//!
//! Each order has a number, which is its command id. What a merchant's operator leaves behind at
//! the end (paused, disabled) stays: a forgotten pause is part of the game.

use domain::endpoint::Ordering;

use super::{Payment, moments};
use crate::clock::{DAY, HOUR, MILLI, MINUTE, Micros, SECOND};
use crate::dice::Dice;

/// Something an operator orders.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    pub(crate) at: Micros,
    /// The command's id.
    pub(crate) number: u64,
    pub(crate) deed: Deed,
    /// Sent once more, with the same id, after so long.
    pub(crate) again_after: Option<Micros>,
}

/// What is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Send nothing for now.
    Pause,
    /// The pause is over.
    Resume,
    /// Send nothing until it is enabled.
    Disable,
    /// Send again.
    Enable,
    /// The endpoint is somewhere else now.
    ChangeUrl,
    /// Its deliveries go out in another order now.
    ChangeOrdering(Ordering),
    /// The n-th of those that wait.
    Skip(usize),
    /// At most so many of those that were exhausted or cancelled.
    Redeliver(u32),
    /// It is dealt with like this from now on; the settings as they are stored.
    ChangePolicy(&'static str),
    /// Does it ask for what payments make?
    Subscribe(bool),
    /// It is no more.
    Delete,
}

/// Policies to change to: the default one, a hurried one, and one that gives up early and opens its
/// breaker at once.
const POLICIES: [&str; 3] = [
    "{}",
    r#"{"schedule_s": [1, 30, 600], "backoff_initial_ms": 1000, "backoff_max_ms": 120000,
        "throttled_wait_min_ms": 5000, "parallelism": 3}"#,
    r#"{"breaker_opens_after": 1, "disables_after_s": 86400, "probes_every_s": 43200,
        "expires_after_s": 604800}"#,
];

pub(super) fn generate(dice: &mut Dice, payments: &[Payment], horizon: Micros) -> Vec<Order> {
    let count = dice.between(1, 8);
    let mut orders = Vec::new();
    for mut at in moments(dice, count, horizon) {
        // Many come while something is under way.
        if dice.chance(50) && !payments.is_empty() {
            let near = payments[dice.index(payments.len())].commits_at;
            at = near + dice.between(0, 200 * MILLI);
        }
        let deed = deed(dice);
        orders.push((at, deed));
        // A pause is most often ended; a forgotten one is not.
        let undo = match deed {
            Deed::Pause => Some(Deed::Resume),
            Deed::Disable => Some(Deed::Enable),
            Deed::Subscribe(false) => Some(Deed::Subscribe(true)),
            _ => None,
        };
        if let Some(undo) = undo.filter(|_| dice.chance(85)) {
            let lasts = dice.pick(&[MINUTE, HOUR, DAY, 6 * DAY]);
            orders.push((at + lasts, undo));
        }
    }
    // Some end for good, most of them while a transaction is open that saw the endpoint.
    if dice.chance(30) {
        let mut at = dice.between(HOUR, horizon);
        if dice.chance(80) && !payments.is_empty() {
            let open = payments[dice.index(payments.len())];
            at = dice.between(open.begins_at, open.commits_at);
        }
        orders.push((at, Deed::Delete));
    }
    orders.sort_by_key(|(at, _)| *at);
    let mut number = 0;
    orders
        .into_iter()
        .filter(|(at, _)| *at <= horizon)
        .map(|(at, deed)| {
            number += 1;
            let again_after = dice.chance(30).then(|| dice.between(1, HOUR));
            Order { at, number, deed, again_after }
        })
        .collect()
}

/// Transactions that are open when their endpoint is deleted commit after it, one by one.
pub(super) fn hold_open(dice: &mut Dice, orders: &[Order], payments: &mut [Payment]) {
    for order in orders.iter().filter(|order| order.deed == Deed::Delete) {
        let is_open =
            |payment: &&mut Payment| (order.at - SECOND..order.at).contains(&payment.begins_at);
        for payment in payments.iter_mut().filter(is_open) {
            payment.commits_at = order.at + dice.between(0, SECOND / 2);
        }
    }
}

fn deed(dice: &mut Dice) -> Deed {
    match dice.index(12) {
        0..=2 => Deed::Pause,
        3 => Deed::Disable,
        4 | 5 => Deed::Enable,
        6 => Deed::ChangeUrl,
        7 => Deed::ChangeOrdering(dice.pick(&[
            Ordering::Ordered,
            Ordering::Strict,
            Ordering::Unordered,
        ])),
        8 => Deed::Skip(dice.index(3)),
        9 => Deed::ChangePolicy(dice.pick(&POLICIES)),
        10 => Deed::Subscribe(false),
        _ => Deed::Redeliver(u32::try_from(dice.between(1, 10)).unwrap_or(1)),
    }
}
