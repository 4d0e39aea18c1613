//! Randomness, as an argument.
//!
//! Whoever calls draws it; the rules only stretch or shrink a wait by it. Source of the ±20 %:
//! svix-server's worker.

use std::time::Duration;

/// Where in the permitted spread a wait falls: -1 (shortest) to 1 (longest).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jitter(f64);

/// How far a wait may be stretched or shrunk.
const SPREAD: f64 = 0.2;

impl Jitter {
    /// No jitter: the wait as it was written down.
    pub const NONE: Self = Self(0.0);

    /// From a number drawn evenly between 0 and 1; what lies outside is taken to the nearer end.
    pub fn from_unit(unit: f64) -> Self {
        if unit.is_nan() { Self::NONE } else { Self(unit.clamp(0.0, 1.0) * 2.0 - 1.0) }
    }

    /// `wait`, at most 20 % shorter or longer, in whole microseconds: PostgreSQL keeps no finer ones,
    /// and a time must be the same in the journal as in its column.
    pub fn apply(self, wait: Duration) -> Duration {
        let wait = wait.mul_f64(1.0 + SPREAD * self.0);
        Duration::from_micros(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_stays_within_a_fifth() {
        let wait = Duration::from_secs(10);
        assert_eq!(Jitter::from_unit(0.0).apply(wait), Duration::from_secs(8));
        assert_eq!(Jitter::NONE.apply(wait), wait);
        assert_eq!(Jitter::from_unit(1.0).apply(wait), Duration::from_secs(12));
        assert_eq!(Jitter::from_unit(7.0).apply(wait), Duration::from_secs(12));
        assert_eq!(Jitter::from_unit(f64::NAN).apply(wait), wait);
    }

    #[test]
    fn a_wait_ends_on_a_microsecond_as_the_database_keeps_it() {
        let wait = Jitter::from_unit(0.123_456_789).apply(Duration::from_secs(5));
        assert_eq!(wait.subsec_nanos() % 1_000, 0, "{wait:?}");
    }
}
