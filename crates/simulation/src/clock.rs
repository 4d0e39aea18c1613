//! The virtual clock: microseconds since the simulation's beginning, as PostgreSQL counts them.
//!
//! Nothing here waits. The domain's times are made of these numbers and back.

use std::time::Duration;

use time::OffsetDateTime;
use time::macros::datetime;

/// A point in simulated time, in microseconds.
pub(crate) type Micros = i64;

pub(crate) const MILLI: Micros = 1_000;
pub(crate) const SECOND: Micros = 1_000 * MILLI;
pub(crate) const MINUTE: Micros = 60 * SECOND;
pub(crate) const HOUR: Micros = 60 * MINUTE;
pub(crate) const DAY: Micros = 24 * HOUR;

const BEGINNING: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);

/// What PostgreSQL's clock shows at `at`.
pub(crate) fn shown(at: Micros) -> OffsetDateTime {
    BEGINNING + time::Duration::microseconds(at)
}

/// When the clock shows `time`, cut to the microsecond as PostgreSQL keeps it.
pub(crate) fn micros(time: OffsetDateTime) -> Micros {
    i64::try_from((time - BEGINNING).whole_microseconds()).unwrap_or(i64::MAX)
}

/// A duration as microseconds.
pub(crate) fn length(duration: Duration) -> Micros {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Milliseconds, rounded up: a timer must not fire before its time.
pub(crate) fn millis_up(at: Micros) -> i64 {
    at.div_euclid(MILLI) + 1
}
