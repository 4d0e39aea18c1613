//! The breaker's window: what the last twenty outcomes of an `unordered` endpoint were.
//!
//! Several attempts at once rarely fail five times in a row, so there a share counts as well. The
//! window begins as twenty successes: a single failure at a new endpoint is not all of its history.

use serde::{Deserialize, Serialize};

/// Outcomes that are remembered.
const OUTCOMES: u32 = 20;

/// The last twenty outcomes; a bit that is set was unwell, the lowest is the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Window(u32);

impl Window {
    /// The window after one more outcome.
    pub(super) fn after(self, unwell: bool) -> Self {
        Self(((self.0 << 1) | u32::from(unwell)) & ((1 << OUTCOMES) - 1))
    }

    /// Were `percent` of a hundred of them unwell, or more?
    pub(super) fn holds(self, percent: u32) -> bool {
        self.0.count_ones() * 100 >= percent * OUTCOMES
    }

    /// Does it hold nothing but successes?
    pub(super) fn is_clear(&self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_last_twenty_is_reached_by_the_tenth_of_them() {
        let mut window = Window::default();
        for _ in 0..9 {
            window = window.after(true).after(false);
        }
        assert!(!window.holds(50));
        assert!(window.after(true).holds(50));
    }

    #[test]
    fn twenty_successes_clear_it() {
        let mut window = Window::default().after(true);
        for _ in 0..19 {
            window = window.after(false);
            assert!(!window.is_clear());
        }
        assert!(window.after(false).is_clear());
    }
}
