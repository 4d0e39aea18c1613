//! The one timer of an endpoint: a delayed wake to itself, and what is known of it.
//!
//! The object's state and the time at which there is something to do come in; what to do about
//! the timer goes out. At most one is armed: one for an earlier time stays, a later one is
//! cancelled. One that is overdue was lost (an operator cancelled it): it counts as none.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The timer that is armed, as the object's state has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Timer {
    /// When it fires, by PostgreSQL's clock, in milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// The same, for people.
    pub(crate) at: String,
    /// Which one it is; a timer of another generation that fires returns at once.
    pub(crate) generation: u64,
    /// The delayed invocation.
    pub(crate) invocation: String,
}

/// What to do about the timer at the end of a wake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arm {
    /// Nothing: none is needed, or the one that is armed is early enough.
    Keep,
    /// Arm one, and cancel the one that is armed, if any.
    New {
        /// How long from now.
        delay: Duration,
        /// When that is.
        at_ms: i64,
    },
}

/// Shortest delay: a timer that fired early, by a skewed clock, must not spin.
const DELAY_MIN: Duration = Duration::from_secs(1);

/// What to do about `armed`, when there is something to do at `next_ms` and it is `now_ms`.
pub(crate) fn arm(armed: Option<&Timer>, next_ms: Option<i64>, now_ms: i64, early: bool) -> Arm {
    let Some(next_ms) = next_ms else { return Arm::Keep };
    if armed.is_some_and(|timer| timer.at_ms > now_ms && timer.at_ms <= next_ms) {
        return Arm::Keep;
    }
    let delay = Duration::from_millis(u64::try_from(next_ms - now_ms).unwrap_or(0));
    let delay = if early { delay.max(DELAY_MIN) } else { delay };
    Arm::New { delay, at_ms: next_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer(at_ms: i64) -> Timer {
        Timer { at_ms, at: String::new(), generation: 1, invocation: "inv_1".to_owned() }
    }

    fn new(delay_ms: u64, at_ms: i64) -> Arm {
        Arm::New { delay: Duration::from_millis(delay_ms), at_ms }
    }

    #[test]
    fn nothing_to_come_arms_nothing() {
        assert_eq!(arm(None, None, 1_000, false), Arm::Keep);
    }

    #[test]
    fn an_earlier_timer_stays_and_a_later_one_is_replaced() {
        assert_eq!(arm(Some(&timer(5_000)), Some(6_000), 1_000, false), Arm::Keep);
        assert_eq!(arm(Some(&timer(5_000)), Some(5_000), 1_000, false), Arm::Keep);
        assert_eq!(arm(Some(&timer(5_000)), Some(4_000), 1_000, false), new(3_000, 4_000));
    }

    #[test]
    fn a_timer_that_is_overdue_was_lost() {
        assert_eq!(arm(Some(&timer(900)), Some(6_000), 1_000, false), new(5_000, 6_000));
    }

    #[test]
    fn a_timer_that_fired_early_waits_at_least_a_second() {
        assert_eq!(arm(None, Some(1_010), 1_000, true), new(1_000, 1_010));
    }
}
