//! The event's clock: when a refused event is tried again, and when that ends.
//!
//! Source of the default: Standard Webhooks 1.0.0, "Deliverability and reliability".

use std::time::Duration;

use crate::Invalid;

/// Waits between the attempts of a refused event. After the last one the event is exhausted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    // At least one; each 1 s to 7 days.
    waits: Vec<Duration>,
}

/// Most waits of a schedule: what is tried more often is better mended.
const WAITS_MAX: usize = 20;
const WAIT_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

const STANDARD_SECONDS: [u64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

impl Default for Schedule {
    /// At once, then 5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h: 75 h 35 m 5 s in all.
    fn default() -> Self {
        Self { waits: STANDARD_SECONDS.map(Duration::from_secs).to_vec() }
    }
}

impl Schedule {
    /// A schedule of these waits.
    ///
    /// # Errors
    /// Without a wait, with more than 20, or with one outside 1 s to 7 days.
    pub fn try_new(waits: Vec<Duration>) -> Result<Self, Invalid> {
        let in_range = |wait: &Duration| (WAIT_MIN..=WAIT_MAX).contains(wait);
        if waits.is_empty() || waits.len() > WAITS_MAX || !waits.iter().all(in_range) {
            return Err(Invalid::new(
                "policy.schedule_s",
                "must be 1 to 20 waits, each of 1 to 604800 seconds",
            ));
        }
        Ok(Self { waits })
    }

    /// The wait after the `refusals`-th refusal (from 1), or none: the schedule is used up.
    pub fn after(&self, refusals: u32) -> Option<Duration> {
        let index = usize::try_from(refusals.checked_sub(1)?).ok()?;
        self.waits.get(index).copied()
    }

    /// The longest of its waits.
    pub fn longest(&self) -> Duration {
        self.waits.iter().copied().max().unwrap_or(WAIT_MIN)
    }

    /// From the first attempt to the end of the last wait.
    pub fn span(&self) -> Duration {
        self.waits.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_one_of_the_standard() {
        let schedule = Schedule::default();
        assert_eq!(schedule.after(1), Some(Duration::from_secs(5)));
        assert_eq!(schedule.after(9), Some(Duration::from_secs(86_400)));
        assert_eq!(schedule.after(10), None);
        assert_eq!(schedule.after(0), None);
        assert_eq!(schedule.span(), Duration::from_secs(75 * 3600 + 35 * 60 + 5));
    }

    #[test]
    fn absurd_schedules_are_refused() {
        assert!(Schedule::try_new(vec![]).is_err());
        assert!(Schedule::try_new(vec![Duration::ZERO]).is_err());
        assert!(Schedule::try_new(vec![Duration::from_secs(1); 21]).is_err());
        assert!(Schedule::try_new(vec![Duration::from_secs(8 * 24 * 3600)]).is_err());
    }
}
