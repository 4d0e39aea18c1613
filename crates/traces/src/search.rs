//! What may be asked for: a service, an operation, tags, a time, a duration.
//!
//! All of it must be true of one span, as Jaeger has it. A search reads every kept trace, the
//! newest first, until it has as many as it was asked for.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use crate::jaeger;
use crate::shelf::{KeptSpan, Shelf};

/// Traces that are answered when nobody says how many.
const LIMIT_DEFAULT: usize = 20;
/// Traces that are answered at most, as many as the user interface offers.
const LIMIT_MAX: usize = 1_500;

/// The query of `/api/traces`, by Jaeger's names; times in microseconds.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Query {
    service: Option<String>,
    operation: Option<String>,
    // A JSON object of texts.
    tags: Option<String>,
    start: Option<u64>,
    end: Option<u64>,
    // Such as 1.5ms.
    min_duration: Option<String>,
    max_duration: Option<String>,
    limit: Option<usize>,
}

/// A query that was understood.
#[derive(Debug)]
pub(crate) struct Search {
    service: Option<String>,
    operation: Option<String>,
    tags: HashMap<String, String>,
    started_us: std::ops::RangeInclusive<u64>,
    took_us: std::ops::RangeInclusive<u64>,
    limit: usize,
}

impl TryFrom<Query> for Search {
    type Error = String;

    fn try_from(query: Query) -> Result<Self, String> {
        let said = |text: Option<String>| text.filter(|text| !text.is_empty());
        let tags = match said(query.tags) {
            None => HashMap::new(),
            Some(text) => {
                let tags: HashMap<String, Value> =
                    serde_json::from_str(&text).map_err(|error| {
                        format!("tags: {error}; expected an object such as {{\"name\":\"value\"}}")
                    })?;
                tags.into_iter().map(|(name, value)| (name, text_of(&value))).collect()
            }
        };
        let duration = |name: &str, text: Option<String>| match said(text) {
            None => Ok(None),
            Some(text) => micros(&text)
                .map(Some)
                .ok_or_else(|| format!("{name}: {text:?} is no duration such as 1.5ms, 2s, 300us")),
        };
        let shortest = duration("minDuration", query.min_duration)?.unwrap_or(0);
        let longest = duration("maxDuration", query.max_duration)?.unwrap_or(u64::MAX);
        Ok(Self {
            service: said(query.service),
            operation: said(query.operation).filter(|operation| operation != "all"),
            tags,
            started_us: query.start.unwrap_or(0)..=query.end.unwrap_or(u64::MAX),
            took_us: shortest..=longest,
            limit: query.limit.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX),
        })
    }
}

impl Search {
    /// The traces that it finds, ready to send, as JSON.
    pub(crate) fn run(&self, shelf: &Shelf) -> Vec<String> {
        shelf
            .newest_first()
            .filter(|trace| trace.iter().any(|span| self.finds(span)))
            .take(self.limit)
            .map(|trace| jaeger::trace(trace).to_string())
            .collect()
    }

    fn finds(&self, kept: &KeptSpan) -> bool {
        if self.service.as_deref().is_some_and(|name| name != jaeger::service(&kept.process)) {
            return false;
        }
        let span = kept.span();
        if self.operation.as_ref().is_some_and(|operation| *operation != span.name)
            || !self.started_us.contains(&(span.start_time_unix_nano / 1_000))
            || !self.took_us.contains(&jaeger::duration_us(&span))
        {
            return false;
        }
        if self.tags.is_empty() {
            return true;
        }
        let mut has: HashMap<String, String> = jaeger::process_tags(&kept.process)
            .map(|(name, value)| (name, text_of(&value)))
            .collect();
        has.extend(
            jaeger::tags(&span, &kept.scope).into_iter().map(|(name, v)| (name, text_of(&v))),
        );
        self.tags.iter().all(|(name, value)| has.get(name) == Some(value))
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A duration as the user interface writes it, in microseconds.
fn micros(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ns" => 0.001,
        "us" | "µs" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        "h" => 3_600e6,
        _ => return None,
    };
    let micros = number.parse::<f64>().ok()? * factor;
    // Some thirty years; what is longer was not meant.
    (micros < 1e15).then(|| {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1e15")]
        let whole = micros as u64;
        whole
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_as_the_user_interface_writes_it() {
        for (text, expected) in [
            ("1.5ms", Some(1_500)),
            ("100us", Some(100)),
            ("2s", Some(2_000_000)),
            ("1m", Some(60_000_000)),
            ("5", None),
            ("ms", None),
            ("1 ms", None),
            ("999999999999h", None),
        ] {
            assert_eq!(micros(text), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_told() {
        let tags = Query { tags: Some("posthorn.payment.id=1".to_owned()), ..Query::default() };
        assert!(Search::try_from(tags).expect_err("no JSON").starts_with("tags:"));
        let soon = Query { min_duration: Some("soon".to_owned()), ..Query::default() };
        assert!(Search::try_from(soon).expect_err("no duration").starts_with("minDuration:"));
    }
}
