//! When a wake runs, and when it may end: the rule by which nobody is missed.
//!
//! A `notify` reads the object's counter `looks` and sends a wake keyed by it, so any number of
//! notifies leave at most one wake waiting. A wake raises the counter before its first slice. So a
//! notify that still read the old counter was merged into this wake, and its delivery was visible
//! before that first slice was acknowledged, hence before the second look began; one that reads
//! the new counter gets a wake of its own. A wake therefore never ends on its first look, unless
//! that look says that the whole endpoint waits: then the timer comes for all of them.
//! `tests/wake_model.rs` walks through every interleaving of this.

use std::time::Duration;

/// Slices of one wake, at most: then the next wake goes on, so that no journal grows.
/// Never under two: the first look cannot end a wake, so one slice a wake would go on for ever.
pub const SLICES_MAX: u32 = 16;
/// Time of one wake, at most; for the same reason.
pub const WAKE_TIME_MAX: Duration = Duration::from_secs(60);

/// Does a wake that was sent for `sent_for` run, when the object's counter is `looks`?
///
/// Without a counter it always does: timers, commands and the sweeper want a look in any case.
pub fn runs(sent_for: Option<u64>, looks: u64) -> bool {
    sent_for.is_none_or(|sent_for| sent_for == looks)
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

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
