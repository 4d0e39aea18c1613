//! One request to a merchant, before it is signed and sent.
//!
//! [`Request::body`] makes the exact bytes that are signed and sent: `type`, `timestamp` (when the
//! event occurred, not when we try) and `data`, minified. The data's own numbers, key order and
//! escapes are kept as they are; only the blanks between its tokens go.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::{EndpointId, EventId, EventType, Fault};
use serde::de::IgnoredAny;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

use crate::headers::CustomHeaders;
use crate::limits::REQUEST_BODY_BYTES_MAX;
use crate::secrets::Secret;

/// RFC 3339 in UTC, always with microseconds: what the database has, no more and no less.
const TIMESTAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// What is sent, to whom and how.
#[derive(Clone)]
pub struct Request {
    /// Whose request it is: connections and places in flight are counted per endpoint.
    pub endpoint_id: EndpointId,
    /// Where to; judged again before it is used.
    pub url: String,
    /// Every live secret: each signs.
    pub secrets: Vec<Secret>,
    /// The event; the same on every attempt.
    pub event_id: EventId,
    /// Its type.
    pub event_type: EventType,
    /// When it occurred.
    pub occurred_at: OffsetDateTime,
    /// The event's data, as JSON.
    pub data: Bytes,
    /// What the merchant adds.
    pub headers: CustomHeaders,
    /// Is nothing known against the endpoint? Then it waits for a place with those that are prompt,
    /// until it is not.
    pub is_well: bool,
    /// The whole attempt's time, cut to [`crate::limits::ATTEMPT_TIMEOUT_MAX`].
    pub timeout: Duration,
    /// The W3C trace context, if this endpoint asks for it.
    pub traceparent: Option<String>,
    /// When no place is free until then, the attempt ends as `Fault::Busy` without a request: what
    /// the caller knows about the endpoint would be too old.
    pub start_by: Option<Instant>,
}

impl Request {
    /// The body, exactly as it is signed and sent, or why there is none.
    pub fn body(&self) -> Result<Bytes, Fault> {
        body(&self.event_type, self.occurred_at, &self.data)
    }
}

/// See [`Request::body`].
pub fn body(
    event_type: &EventType,
    occurred_at: OffsetDateTime,
    data: &[u8],
) -> Result<Bytes, Fault> {
    let timestamp = occurred_at
        .to_offset(UtcOffset::UTC)
        .format(TIMESTAMP)
        .map_err(|_| Fault::PayloadInvalid)?;
    // Blanks are what is left out, so far larger data may still fit; the bound here only keeps
    // the work small.
    if data.len() > 4 * REQUEST_BODY_BYTES_MAX {
        return Err(Fault::PayloadTooLarge);
    }
    let mut body = Vec::with_capacity(data.len() + 128);
    // An event type has no character that JSON would escape.
    body.extend_from_slice(b"{\"type\":\"");
    body.extend_from_slice(event_type.as_str().as_bytes());
    body.extend_from_slice(b"\",\"timestamp\":\"");
    body.extend_from_slice(timestamp.as_bytes());
    body.extend_from_slice(b"\",\"data\":");
    append_minified(&mut body, data)?;
    body.push(b'}');
    if body.len() > REQUEST_BODY_BYTES_MAX {
        return Err(Fault::PayloadTooLarge);
    }
    Ok(body.into())
}

/// Appends `json` without the blanks between its tokens, once it is known to be JSON.
fn append_minified(body: &mut Vec<u8>, json: &[u8]) -> Result<(), Fault> {
    // The parser skips over strings without looking at their bytes.
    std::str::from_utf8(json).map_err(|_| Fault::PayloadInvalid)?;
    serde_json::from_slice::<IgnoredAny>(json).map_err(|_| Fault::PayloadInvalid)?;
    let mut is_in_string = false;
    let mut is_escaped = false;
    for &byte in json {
        if is_in_string {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => is_in_string = false,
                _ => {}
            }
        } else if byte == b'"' {
            is_in_string = true;
        } else if byte.is_ascii_whitespace() {
            continue;
        }
        body.push(byte);
    }
    Ok(())
}

impl fmt::Debug for Request {
    /// Neither data nor secrets, and of the URL only what is no secret: nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("endpoint_id", &self.endpoint_id.to_string())
            .field("event_id", &self.event_id.to_string())
            .field("event_type", &self.event_type.as_str())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    fn body_of(data: &str) -> Result<String, Fault> {
        let event_type = EventType::try_from("payment.succeeded".to_owned()).expect("a type");
        body(&event_type, datetime!(2026-03-01 14:05:06.0071 +2), data.as_bytes())
            .map(|body| String::from_utf8(body.to_vec()).expect("text"))
    }

    #[test]
    fn the_body_is_minified_and_the_time_is_in_utc_with_microseconds() {
        let data = "{ \"b\" : [1.0, 1e400, 18446744073709551616 ],\n\t\"a\" : \"x \\\" y\\\\\" }";
        assert_eq!(
            body_of(data).as_deref(),
            Ok("{\"type\":\"payment.succeeded\",\"timestamp\":\"2026-03-01T12:05:06.007100Z\",\
                \"data\":{\"b\":[1.0,1e400,18446744073709551616],\"a\":\"x \\\" y\\\\\"}}")
        );
    }

    #[test]
    fn what_is_no_json_is_never_sent() {
        for data in ["", "{", "{\"a\":1}}", "{\"a\":1},\"b\":2", "nul", "\"a", "\u{feff}{}"] {
            assert_eq!(body_of(data), Err(Fault::PayloadInvalid), "{data}");
        }
        let event_type = EventType::try_from("a".to_owned()).expect("a type");
        let time = datetime!(2026-03-01 0:00 UTC);
        assert_eq!(body(&event_type, time, b"\"\xff\""), Err(Fault::PayloadInvalid));
    }

    #[test]
    fn a_body_of_256_kib_is_the_largest() {
        let around = body_of("\"\"").expect("a body").len();
        let fits = "x".repeat(REQUEST_BODY_BYTES_MAX - around);
        assert_eq!(
            body_of(&format!("\"{fits}\"")).map(|body| body.len()),
            Ok(REQUEST_BODY_BYTES_MAX)
        );
        assert_eq!(body_of(&format!("\"{fits}x\"")), Err(Fault::PayloadTooLarge));
        assert!(body_of(&format!("   \"{fits}\"")).is_ok());
    }

    proptest! {
        #[test]
        fn minified_data_means_the_same(keys in prop::collection::vec(".{0,12}", 0..6)) {
            let value: serde_json::Value = keys
                .iter()
                .map(|key| (key.clone(), serde_json::Value::from(key.as_str())))
                .collect();
            let pretty = serde_json::to_string_pretty(&value).expect("JSON");
            let body = body_of(&pretty).expect("a body");
            prop_assert!(!body.contains('\n'));
            let parsed: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            prop_assert_eq!(&parsed["data"], &value);
        }
    }
}
