//! What a check says when it is broken.

use crate::clock::{DAY, Micros};

/// A check that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not true: {check} (day {}, {at} µs): {what}", at / DAY)]
pub struct Violation {
    /// The sentence that is not true.
    pub check: &'static str,
    /// When it was seen, in microseconds of simulated time.
    pub at: Micros,
    /// What was seen.
    pub what: String,
}
