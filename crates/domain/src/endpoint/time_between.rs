//! A span of time as the rules measure it: never negative.
//!
//! Clocks step back now and then; a rule that counts time must then count none, not wrap around.

use std::time::Duration;

use time::OffsetDateTime;

/// From `earlier` to `later`, or nothing when they are the other way round.
pub(super) fn between(earlier: OffsetDateTime, later: OffsetDateTime) -> Duration {
    Duration::try_from(later - earlier).unwrap_or(Duration::ZERO)
}
