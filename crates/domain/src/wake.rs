//! When a wake runs, and when it may end: the rule by which nobody is missed.
//!
//! A `notify` reads the object's counter `looks` and sends a wake keyed by it, so any number of
//! notifies leave at most one wake waiting. A wake raises the counter before its first slice. So a
//! notify that still read the old counter was merged into this wake, and its delivery was visible
//! before that first slice was acknowledged, hence before the second look began; one that reads
//! the new counter gets a wake of its own. A wake therefore never ends on its first look, unless
//! that look says that the whole endpoint waits: then the timer comes for all of them.
//!
//! A deleted endpoint's object forgets everything, its counter too: a wake that was sent for a counter
//! of before has looked for nobody yet, so it runs, and counts on from there.
//! `tests/wake_model.rs` walks through every interleaving of this.

use std::time::Duration;

/// Slices of one wake, at most: then the next wake goes on, so that no journal grows.
/// Never under two: the first look cannot end a wake, so one slice a wake would go on for ever.
pub const SLICES_MAX: u32 = 16;
/// Time of one wake, at most; for the same reason.
pub const WAKE_TIME_MAX: Duration = Duration::from_secs(60);

/// Does a wake that was sent for `sent_for` run, when the object's counter is `looks`?
///
/// Without a counter it always does: timers, commands and the sweeper want a look in any case. One
/// that was sent for a smaller one does not: a later wake has looked for it.
pub fn runs(sent_for: Option<u64>, looks: u64) -> bool {
    sent_for.is_none_or(|sent_for| sent_for >= looks)
}

/// What the counter is raised to by a wake that was sent for `sent_for` and runs: never one by which
/// somebody was merged into this wake.
pub fn raised(sent_for: Option<u64>, looks: u64) -> u64 {
    sent_for.map_or(looks, |sent_for| sent_for.max(looks)).saturating_add(1)
}

/// What a slice came back with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SliceEnd {
    /// Its look filled its limit, or it stopped before the end of what was due.
    pub more: bool,
    /// The whole endpoint waits: for its timer, or for a command.
    pub waits: bool,
}

/// What a wake does after a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another slice.
    LookAgain,
    /// Nothing is left that is due.
    End,
    /// Its budget is used up: it sends the next wake, keyed by the new counter, and ends.
    HandOver,
}

/// What a wake does after its `slices`-th slice (from 1), `elapsed` after it began.
pub fn after_slice(slices: u32, elapsed: Duration, end: SliceEnd) -> Next {
    if end.waits || (slices > 1 && !end.more) {
        Next::End
    } else if slices >= SLICES_MAX || (slices > 1 && elapsed >= WAKE_TIME_MAX) {
        Next::HandOver
    } else {
        Next::LookAgain
    }
}

/// What a wake does about the endpoint's one timer when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arm {
    /// Nothing: none is needed, or the one that is armed is early enough.
    Keep,
    /// Arm one, and cancel the one that is armed, if any.
    New {
        /// How long from now.
        delay: Duration,
        /// When that is, in milliseconds since 1970.
        at_ms: i64,
    },
}

/// Shortest delay of a timer after one that fired early, by a skewed clock: it must not spin.
pub const EARLY_DELAY_MIN: Duration = Duration::from_secs(1);

/// What to do about the timer that is armed for `armed_ms`, when there is something to do at
/// `next_ms` and it is `now_ms`; `early`: this wake was a timer's, and it came too early.
///
/// One for an earlier time stays, a later one is replaced. One that is overdue was lost (an
/// operator cancelled it): it counts as none.
pub fn arm(armed_ms: Option<i64>, next_ms: Option<i64>, now_ms: i64, early: bool) -> Arm {
    let Some(next_ms) = next_ms else { return Arm::Keep };
    if armed_ms.is_some_and(|armed_ms| armed_ms > now_ms && armed_ms <= next_ms) {
        return Arm::Keep;
    }
    let delay = Duration::from_millis(u64::try_from(next_ms - now_ms).unwrap_or(0));
    let delay = if early { delay.max(EARLY_DELAY_MIN) } else { delay };
    Arm::New { delay, at_ms: next_ms }
}

/// Waits while something on our side stands in the way of a whole slice: 5 s doubling to 60 s.
const STUCK_WAIT_FIRST: Duration = Duration::from_secs(5);
const STUCK_WAIT_MAX: Duration = Duration::from_secs(60);

/// The wait before the next wake, when a slice was stuck and `before` wakes in a row were already.
pub fn stuck_wait(before: u32) -> Duration {
    STUCK_WAIT_FIRST.saturating_mul(1 << before.min(6)).min(STUCK_WAIT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(delay_ms: u64, at_ms: i64) -> Arm {
        Arm::New { delay: Duration::from_millis(delay_ms), at_ms }
    }

    #[test]
    fn nothing_to_come_arms_nothing() {
        assert_eq!(arm(None, None, 1_000, false), Arm::Keep);
    }

    #[test]
    fn an_earlier_timer_stays_and_a_later_one_is_replaced() {
        assert_eq!(arm(Some(5_000), Some(6_000), 1_000, false), Arm::Keep);
        assert_eq!(arm(Some(5_000), Some(5_000), 1_000, false), Arm::Keep);
        assert_eq!(arm(Some(5_000), Some(4_000), 1_000, false), new(3_000, 4_000));
    }

    #[test]
    fn a_timer_that_is_overdue_was_lost() {
        assert_eq!(arm(Some(900), Some(6_000), 1_000, false), new(5_000, 6_000));
    }

    #[test]
    fn a_timer_that_fired_early_waits_at_least_a_second() {
        assert_eq!(arm(None, Some(1_010), 1_000, true), new(1_000, 1_010));
    }

    #[test]
    fn a_stuck_wake_comes_back_in_five_seconds_and_never_later_than_in_a_minute() {
        assert_eq!([0, 1, 3, 4, 999].map(|n| stuck_wait(n).as_secs()), [5, 10, 40, 60, 60]);
    }

    const EMPTY: SliceEnd = SliceEnd { more: false, waits: false };
    const FULL: SliceEnd = SliceEnd { more: true, waits: false };

    #[test]
    fn a_wake_never_ends_on_its_first_look_unless_the_whole_endpoint_waits() {
        assert_eq!(after_slice(1, Duration::ZERO, EMPTY), Next::LookAgain);
        assert_eq!(after_slice(1, WAKE_TIME_MAX * 2, EMPTY), Next::LookAgain);
        assert_eq!(after_slice(2, Duration::ZERO, EMPTY), Next::End);
        let waits = SliceEnd { more: true, waits: true };
        assert_eq!(after_slice(1, Duration::ZERO, waits), Next::End);
    }

    #[test]
    fn a_wake_hands_over_when_its_budget_is_used_up() {
        assert_eq!(after_slice(2, Duration::ZERO, FULL), Next::LookAgain);
        assert_eq!(after_slice(2, WAKE_TIME_MAX, FULL), Next::HandOver);
        assert_eq!(after_slice(SLICES_MAX, Duration::ZERO, FULL), Next::HandOver);
    }

    #[test]
    fn a_wake_that_another_has_looked_for_returns_at_once() {
        assert!(runs(Some(3), 3));
        assert!(!runs(Some(3), 4));
        assert!(runs(None, 4));
        assert_eq!((raised(Some(3), 3), raised(None, 3)), (4, 4));
    }

    #[test]
    fn a_wake_of_before_the_counter_was_forgotten_runs_and_counts_on() {
        assert!(runs(Some(3), 0));
        assert_eq!(raised(Some(3), 0), 4);
    }
}
