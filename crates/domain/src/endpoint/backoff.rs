//! The endpoint's clock: how long everything waits while the endpoint is unwell.
//!
//! Validated once and total afterwards: no number of failures makes it overflow.

use std::time::Duration;

use crate::Invalid;

/// Waits that double from `initial` to `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
}

const INITIAL_MIN: Duration = Duration::from_millis(100);
const MAX_MAX: Duration = Duration::from_secs(24 * 3600);

impl Backoff {
    /// Of an unwell endpoint: 5 s doubling to 1 h.
    pub const UNWELL: Self =
        Self { initial: Duration::from_secs(5), max: Duration::from_secs(3_600) };
    /// Of a fault on our side that stands in the way of one delivery only: 5 s doubling to 1 h. A
    /// payload that is missing rarely comes back, and every try is a row.
    pub const DELIVERY_FAULT: Self =
        Self { initial: Duration::from_secs(5), max: Duration::from_secs(3_600) };
    /// Of a fault on our side that stands in the way of the whole endpoint: 5 s doubling to 10 min.
    pub const FAULT: Self = Self { initial: Duration::from_secs(5), max: Duration::from_secs(600) };

    /// Waits that double from `initial` to `max`.
    ///
    /// # Errors
    /// When `initial` is under 100 ms or over `max`, or `max` is over 24 h.
    pub fn try_new(initial: Duration, max: Duration) -> Result<Self, Invalid> {
        if initial < INITIAL_MIN || initial > max || max > MAX_MAX {
            return Err(Invalid::new(
                "policy.backoff",
                "must begin at 100 ms or more and end at 24 h or less, the end not before the beginning",
            ));
        }
        Ok(Self { initial, max })
    }

    /// The wait after the `consecutive`-th failure in a row (from 1).
    pub fn after(&self, consecutive: u32) -> Duration {
        let doublings = consecutive.saturating_sub(1).min(31);
        self.initial.saturating_mul(1 << doublings).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_an_hour_and_never_overflow() {
        let secs = |consecutive| Backoff::UNWELL.after(consecutive).as_secs();
        assert_eq!([1, 2, 3, 9, 10, 11].map(secs), [5, 10, 20, 1_280, 2_560, 3_600]);
        assert_eq!(secs(u32::MAX), 3_600);
        assert_eq!(secs(0), 5);
    }

    #[test]
    fn absurd_backoffs_are_refused() {
        let secs = Duration::from_secs;
        assert!(Backoff::try_new(Duration::ZERO, secs(1)).is_err());
        assert!(Backoff::try_new(secs(2), secs(1)).is_err());
        assert!(Backoff::try_new(secs(1), secs(90_000)).is_err());
    }
}
