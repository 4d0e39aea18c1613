//! What the object's state keeps of the one timer that is armed.
//!
//! When one is armed, kept or replaced is `domain::wake::arm`'s to say.

use serde::{Deserialize, Serialize};

use crate::kept::Kept;

/// The timer that is armed: a delayed wake of the object to itself.
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

/// Is the timer of this `generation` the one that is armed? Of one that another build armed, in a form
/// that this one cannot read, it may be: a look too many costs nothing.
pub(crate) fn is_armed(armed: Option<&Kept<Timer>>, generation: u64) -> bool {
    armed.is_some_and(|Kept(timer)| timer.as_ref().is_none_or(|it| it.generation == generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_fires_for_its_own_generation_and_for_one_that_cannot_be_read() {
        let text = String::new;
        let armed = Timer { at_ms: 1, at: text(), generation: 3, invocation: text() };
        assert!(is_armed(Some(&Kept(Some(armed.clone()))), 3));
        assert!(!is_armed(Some(&Kept(Some(armed))), 2));
        assert!(is_armed(Some(&Kept(None)), 2));
        assert!(!is_armed(None, 3));
    }
}
