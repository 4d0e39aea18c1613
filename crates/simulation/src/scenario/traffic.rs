//! Payments: each makes one delivery for the endpoint, in the transaction that commits it.
//!
//! A trickle over the whole time and bursts within a second, whose transactions overlap: the
//! sequence is drawn when one writes, the row is visible when it commits.

use super::moments;
use crate::clock::{MILLI, Micros, SECOND};
use crate::dice::Dice;

/// One payment's transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Payment {
    /// Which one: it stays the same when others are left out.
    pub(crate) number: u32,
    /// When it writes its row: the sequence is drawn.
    pub(crate) begins_at: Micros,
    /// When it commits: the row is visible.
    pub(crate) commits_at: Micros,
}

pub(super) fn generate(dice: &mut Dice, horizon: Micros) -> Vec<Payment> {
    let mut begins = Vec::new();
    let trickle = dice.between(5, 60);
    begins.extend(moments(dice, trickle, horizon));
    let bursts = dice.between(0, 4);
    for from in moments(dice, bursts, horizon) {
        let (count, width) = (dice.between(3, 30), dice.pick(&[20, 200, 2_000]) * MILLI);
        begins.extend((0..count).map(|_| from + dice.between(0, width)));
    }
    begins.sort_unstable();
    let mut number = 0;
    begins
        .into_iter()
        .map(|begins_at| {
            number += 1;
            let takes = if dice.chance(3) { 2 * SECOND } else { 10 * MILLI };
            Payment { number, begins_at, commits_at: begins_at + dice.between(MILLI, takes) }
        })
        .collect()
}
