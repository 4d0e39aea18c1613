//! What may be set per endpoint, validated once; what is not set is the default.
//!
//! A policy is stored as JSON that holds what differs from the default. Whoever parses one that is
//! out of range gets the name of the field and what is allowed; inside, nothing is checked again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Backoff, Schedule};
use crate::Invalid;

/// In what order an endpoint's deliveries go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ordering {
    /// By sequence; a refused event steps aside and may be overtaken.
    #[default]
    Ordered,
    /// By sequence; a refused event blocks until it is exhausted.
    Strict,
    /// Several at once, in any order.
    Unordered,
}

impl Ordering {
    /// Its name, as it is stored and said.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ordered => "ordered",
            Self::Strict => "strict",
            Self::Unordered => "unordered",
        }
    }
}

impl TryFrom<&str> for Ordering {
    type Error = Invalid;

    fn try_from(name: &str) -> Result<Self, Invalid> {
        match name {
            "ordered" => Ok(Self::Ordered),
            "strict" => Ok(Self::Strict),
            "unordered" => Ok(Self::Unordered),
            _ => Err(Invalid::new("ordering", "must be ordered, strict or unordered")),
        }
    }
}

/// How an endpoint is dealt with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// In what order its deliveries go out. Stored beside the policy, not in it.
    pub ordering: Ordering,
    /// Attempts at once in `unordered`, 1 to 32.
    pub parallelism: u8,
    /// When a refused event is tried again.
    pub schedule: Schedule,
    /// How long everything waits while the endpoint is unwell.
    pub backoff: Backoff,
    /// How long it waits at least after 429, 502, 503 and 504, unless the merchant says how long.
    pub throttled_wait_min: Duration,
    /// Unwell outcomes in a row that open the breaker.
    pub breaker_opens_after: u32,
    /// Share of the last twenty outcomes that opens it in `unordered`, 1 to 100 percent.
    pub breaker_opens_at_percent: u32,
    /// An endpoint that is unwell for so long is disabled.
    pub disables_after: Duration,
    /// One that was disabled for that is probed so often.
    pub probes_every: Duration,
    /// A delivery that waits for so long is over.
    pub expires_after: Duration,
    /// The longest an attempt may take, from the first byte sent for it to the last one read.
    pub attempt_timeout: Duration,
}

impl Policy {
    /// The same policy for another order.
    #[must_use]
    pub fn with_ordering(self, ordering: Ordering) -> Self {
        Self { ordering, ..self }
    }
}

const DAY_S: u64 = 24 * 3_600;

impl Default for Policy {
    fn default() -> Self {
        Self {
            ordering: Ordering::Ordered,
            parallelism: 8,
            schedule: Schedule::default(),
            backoff: Backoff::UNWELL,
            throttled_wait_min: Duration::from_secs(60),
            breaker_opens_after: 5,
            breaker_opens_at_percent: 50,
            disables_after: Duration::from_secs(5 * DAY_S),
            probes_every: Duration::from_secs(DAY_S),
            expires_after: Duration::from_secs(60 * DAY_S),
            attempt_timeout: Duration::from_secs(15),
        }
    }
}

/// A policy as it is set and stored: what differs from the default. Not yet checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicySettings {
    /// Attempts at once in `unordered`, 1 to 32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<u64>,
    /// Waits after each refusal of an event, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule_s: Option<Vec<u64>>,
    /// The first wait of an endpoint that is unwell, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_initial_ms: Option<u64>,
    /// Its longest wait, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_max_ms: Option<u64>,
    /// The least wait after 429, 502, 503 and 504, 0 to 3600000 milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttled_wait_min_ms: Option<u64>,
    /// Unwell outcomes in a row that open the breaker, 1 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker_opens_after: Option<u64>,
    /// Share of the last twenty outcomes that opens it in `unordered`, 1 to 100 percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker_opens_at_percent: Option<u64>,
    /// Unwell for so long: disabled; an hour to 60 days, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disables_after_s: Option<u64>,
    /// Then probed so often; an hour to 7 days, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes_every_s: Option<u64>,
    /// A delivery that waits for so long is over; an hour to 60 days, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_after_s: Option<u64>,
    /// The longest an attempt may take, 1000 to 30000 milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt_timeout_ms: Option<u64>,
}

/// A number that may be set, and its range.
struct Range {
    field: &'static str,
    min: u64,
    max: u64,
}

/// More lanes would be a load test of the merchant's.
const PARALLELISM: Range = Range { field: "policy.parallelism", min: 1, max: 32 };
/// As long as a `Retry-After` is honoured.
const THROTTLED_MS: Range = Range { field: "policy.throttled_wait_min_ms", min: 0, max: 3_600_000 };
const OPENS_AFTER: Range = Range { field: "policy.breaker_opens_after", min: 1, max: 100 };
const OPENS_AT: Range = Range { field: "policy.breaker_opens_at_percent", min: 1, max: 100 };
/// Sooner would disable a merchant for a deployment; later, what waits begins to expire.
const DISABLES_S: Range = Range { field: "policy.disables_after_s", min: 3_600, max: 60 * DAY_S };
const PROBES_S: Range = Range { field: "policy.probes_every_s", min: 3_600, max: 7 * DAY_S };
/// Nothing waits longer than 60 days: partitions of 100 are kept.
const EXPIRES_S: Range = Range { field: "policy.expires_after_s", min: 3_600, max: 60 * DAY_S };
const TIMEOUT_MS: Range = Range { field: "policy.attempt_timeout_ms", min: 1_000, max: 30_000 };

impl Range {
    fn check(&self, value: u64) -> Result<u64, Invalid> {
        if (self.min..=self.max).contains(&value) {
            return Ok(value);
        }
        Err(Invalid::new(self.field, format!("must be {} to {}", self.min, self.max)))
    }

    fn number<T: TryFrom<u64>>(&self, value: Option<u64>, default: T) -> Result<T, Invalid> {
        let Some(value) = value else { return Ok(default) };
        // The range ends before the type does.
        Ok(T::try_from(self.check(value)?).unwrap_or(default))
    }

    fn secs(&self, value: Option<u64>, default: Duration) -> Result<Duration, Invalid> {
        value.map_or(Ok(default), |value| self.check(value).map(Duration::from_secs))
    }

    fn millis(&self, value: Option<u64>, default: Duration) -> Result<Duration, Invalid> {
        value.map_or(Ok(default), |value| self.check(value).map(Duration::from_millis))
    }
}

impl TryFrom<PolicySettings> for Policy {
    type Error = Invalid;

    fn try_from(stored: PolicySettings) -> Result<Self, Invalid> {
        let default = Self::default();
        let schedule = match stored.schedule_s {
            Some(waits) => Schedule::try_new(waits.into_iter().map(Duration::from_secs).collect())?,
            None => default.schedule,
        };
        let millis = |value: Option<u64>, or: u64| Duration::from_millis(value.unwrap_or(or));
        Ok(Self {
            ordering: default.ordering,
            parallelism: PARALLELISM.number(stored.parallelism, default.parallelism)?,
            schedule,
            backoff: Backoff::try_new(
                millis(stored.backoff_initial_ms, 5_000),
                millis(stored.backoff_max_ms, 3_600_000),
            )?,
            throttled_wait_min: THROTTLED_MS
                .millis(stored.throttled_wait_min_ms, default.throttled_wait_min)?,
            breaker_opens_after: OPENS_AFTER
                .number(stored.breaker_opens_after, default.breaker_opens_after)?,
            breaker_opens_at_percent: OPENS_AT
                .number(stored.breaker_opens_at_percent, default.breaker_opens_at_percent)?,
            disables_after: DISABLES_S.secs(stored.disables_after_s, default.disables_after)?,
            probes_every: PROBES_S.secs(stored.probes_every_s, default.probes_every)?,
            expires_after: EXPIRES_S.secs(stored.expires_after_s, default.expires_after)?,
            attempt_timeout: TIMEOUT_MS
                .millis(stored.attempt_timeout_ms, default.attempt_timeout)?,
        })
    }
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        PolicySettings::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Policy, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn what_is_not_set_is_the_default() {
        assert_eq!(parse("{}").expect("parses"), Policy::default());
        let policy = parse(r#"{"backoff_initial_ms":200,"schedule_s":[1,2],"parallelism":32}"#)
            .expect("parses");
        assert_eq!(policy.backoff.after(1), Duration::from_millis(200));
        assert_eq!(policy.schedule.span(), Duration::from_secs(3));
        assert_eq!(policy.parallelism, 32);
    }

    #[test]
    fn what_is_out_of_range_or_unknown_is_refused_by_name() {
        for (json, name) in [
            (r#"{"attempt_timeout_ms":60000}"#, "attempt_timeout_ms"),
            (r#"{"breaker_opens_after":0}"#, "breaker_opens_after"),
            (r#"{"breaker_opens_after":4294967297}"#, "breaker_opens_after"),
            (r#"{"breaker_opens_at_percent":101}"#, "breaker_opens_at_percent"),
            (r#"{"parallelism":0}"#, "parallelism"),
            (r#"{"parallelism":257}"#, "parallelism"),
            (r#"{"disables_after_s":60}"#, "disables_after_s"),
            (r#"{"probes_every_s":1}"#, "probes_every_s"),
            (r#"{"expires_after_s":5184001}"#, "expires_after_s"),
            (r#"{"throttled_wait_min_ms":3600001}"#, "throttled_wait_min_ms"),
            (r#"{"schedule_s":[]}"#, "schedule_s"),
            (r#"{"ordering":"strict"}"#, "ordering"),
            (r#"{"retries":3}"#, "retries"),
        ] {
            let error = parse(json).expect_err("refused").to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
