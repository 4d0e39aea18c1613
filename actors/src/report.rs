//! What a slice leaves in Restate's journal: counts, times, and a copy of the state for people.
//!
//! No payload, no secret, no list that grows. A report's form is part of a deployment: code that writes
//! another form is registered under another URL. The copy of the state outlives deployments: see
//! `kept.rs`.

use domain::endpoint::{Breaker, EndpointState, Faulty, Status, trouble};
use domain::rfc3339_seconds;
use domain::wake::SliceEnd;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// The result of a slice.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SliceReport {
    /// PostgreSQL's clock at the end, in milliseconds since 1970.
    pub(crate) now_ms: i64,
    /// How long the slice took.
    pub(crate) took_ms: u64,
    /// Requests made.
    pub(crate) attempts: u32,
    /// How many of them the merchant accepted.
    pub(crate) delivered: u32,
    /// Its look filled its limit, or it stopped before the end of what was due.
    pub(crate) more: bool,
    /// The whole endpoint waits: for its time, or for an operator.
    pub(crate) waits: bool,
    /// Until when everything waits, in milliseconds since 1970.
    pub(crate) waits_until_ms: Option<i64>,
    /// When the next delivery that stepped aside comes back.
    pub(crate) next_due_ms: Option<i64>,
    /// What is the matter on our side; then nothing else in here counts.
    pub(crate) stuck: Option<String>,
    /// Where the endpoint stands; none when there is no such endpoint.
    pub(crate) view: Option<StateView>,
}

impl SliceReport {
    /// A slice that our own fault ended.
    pub(crate) fn stuck(reason: String, took_ms: u64) -> Self {
        Self { stuck: Some(reason), ..Self::empty(0, took_ms) }
    }

    /// A slice that found nothing.
    pub(crate) fn empty(now_ms: i64, took_ms: u64) -> Self {
        Self {
            now_ms,
            took_ms,
            attempts: 0,
            delivered: 0,
            more: false,
            waits: false,
            waits_until_ms: None,
            next_due_ms: None,
            stuck: None,
            view: None,
        }
    }

    /// Does it say where the endpoint stands at this version of its journal?
    pub(crate) fn is_of(&self, version: u64) -> bool {
        self.view.as_ref().is_some_and(|view| view.version == version)
    }

    /// What the wake's rule needs to know of it.
    pub(crate) fn end(&self) -> SliceEnd {
        SliceEnd { more: self.more, waits: self.waits || self.stuck.is_some() }
    }

    /// When there is something to do again without anybody's asking.
    pub(crate) fn next_ms(&self) -> Option<i64> {
        // One that waits for an operator has no time.
        if self.waits { self.waits_until_ms } else { self.next_due_ms }
    }
}

/// Where an endpoint stands, as an operator reads it with `restate kv get Endpoint ep_…`.
///
/// A copy: PostgreSQL has the truth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateView {
    pub(crate) merchant: String,
    pub(crate) status: String,
    pub(crate) breaker: String,
    /// What the endpoint last did wrong and how often in a row, since when; or our own fault, also
    /// one of a delivery that stepped aside on it.
    pub(crate) trouble: Option<String>,
    /// Until when everything waits.
    pub(crate) waits_until: Option<String>,
    /// Number of the last event of the endpoint's journal.
    pub(crate) version: u64,
}

impl StateView {
    pub(crate) fn of(
        merchant: &str,
        state: &EndpointState,
        version: u64,
        faulty: Option<&Faulty>,
        now: OffsetDateTime,
    ) -> Self {
        let status = match state.status {
            Status::Active => "active",
            Status::Paused { .. } => "paused",
            Status::Disabled { .. } => "disabled",
        };
        let breaker = match state.breaker {
            Breaker::Closed => "closed",
            Breaker::Open { .. } => "open",
        };
        Self {
            merchant: merchant.to_owned(),
            status: status.to_owned(),
            breaker: breaker.to_owned(),
            trouble: trouble(state, faulty),
            waits_until: state.waits_until(now).map(rfc3339_seconds),
            version,
        }
    }
}

/// Milliseconds since 1970, rounded up: a timer must not fire before its time.
pub(crate) fn millis(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or(i64::MAX - 1) + 1
}

/// Milliseconds since 1970 as people read them; of 0, that the time is not known.
pub(crate) fn text_of(at_ms: i64) -> String {
    if at_ms == 0 {
        return "as soon as PostgreSQL answers".to_owned();
    }
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_ms) * 1_000_000)
        .map_or_else(|_| at_ms.to_string(), rfc3339_seconds)
}
