//! What may be set per endpoint, validated once; what is not set is the default.

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
    /// When a refused event is tried again.
    pub schedule: Schedule,
    /// How long everything waits while the endpoint is unwell.
    pub backoff: Backoff,
    /// Unwell outcomes in a row that open the breaker.
    pub breaker_opens_after: u32,
    /// The longest an attempt may take, from the first byte sent for it to the last one read.
    pub attempt_timeout: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            schedule: Schedule::default(),
            backoff: Backoff::UNWELL,
            breaker_opens_after: 5,
            attempt_timeout: Duration::from_secs(15),
        }
    }
}

/// A policy as it is stored: what differs from the default.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Stored {
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule_s: Option<Vec<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backoff_initial_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backoff_max_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    breaker_opens_after: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt_timeout_ms: Option<u64>,
}

const ATTEMPT_TIMEOUT_MIN_MS: u64 = 1_000;
const ATTEMPT_TIMEOUT_MAX_MS: u64 = 30_000;

impl TryFrom<Stored> for Policy {
    type Error = Invalid;

    fn try_from(stored: Stored) -> Result<Self, Invalid> {
        let default = Self::default();
        let schedule = match stored.schedule_s {
            Some(waits) => Schedule::try_new(waits.into_iter().map(Duration::from_secs).collect())?,
            None => default.schedule,
        };
        let millis = |value: Option<u64>, or: u64| Duration::from_millis(value.unwrap_or(or));
        let backoff = Backoff::try_new(
            millis(stored.backoff_initial_ms, 5_000),
            millis(stored.backoff_max_ms, 3_600_000),
        )?;
        let breaker_opens_after = stored.breaker_opens_after.unwrap_or(default.breaker_opens_after);
        if !(1..=100).contains(&breaker_opens_after) {
            return Err(Invalid::new("policy.breaker_opens_after", "must be 1 to 100"));
        }
        let timeout_ms = stored.attempt_timeout_ms.unwrap_or(15_000);
        if !(ATTEMPT_TIMEOUT_MIN_MS..=ATTEMPT_TIMEOUT_MAX_MS).contains(&timeout_ms) {
            return Err(Invalid::new("policy.attempt_timeout_ms", "must be 1000 to 30000"));
        }
        Ok(Self {
            schedule,
            backoff,
            breaker_opens_after,
            attempt_timeout: Duration::from_millis(timeout_ms),
        })
    }
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Stored::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
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
        let policy = parse(r#"{"backoff_initial_ms":200,"schedule_s":[1,2]}"#).expect("parses");
        assert_eq!(policy.backoff.after(1), Duration::from_millis(200));
        assert_eq!(policy.schedule.span(), Duration::from_secs(3));
    }

    #[test]
    fn what_is_out_of_range_or_unknown_is_refused_by_name() {
        for (json, name) in [
            (r#"{"attempt_timeout_ms":60000}"#, "attempt_timeout_ms"),
            (r#"{"breaker_opens_after":0}"#, "breaker_opens_after"),
            (r#"{"schedule_s":[]}"#, "schedule_s"),
            (r#"{"retries":3}"#, "retries"),
        ] {
            let error = parse(json).expect_err("refused").to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
