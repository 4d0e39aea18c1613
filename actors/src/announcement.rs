//! The topic's record, as `notify` receives it: an announcement, not the truth.
//!
//! Bytes and Restate's own headers come in; the endpoint they are about, or why they cannot be
//! understood, goes out. Nothing of it is trusted but that somebody should look.

use domain::{DeliveryId, EndpointId};
use restate_sdk::context::HeaderMap;
use serde::Deserialize;

/// Longest record that is read; ours have some 400 bytes.
const RECORD_BYTES_MAX: usize = 64 * 1024;

/// Longest reason, in characters.
const REASON_CHARS_MAX: usize = 200;

/// The fields of the record that are looked at; the rest is for other consumers.
#[derive(Debug, Deserialize)]
struct Record {
    delivery_id: DeliveryId,
    endpoint_id: EndpointId,
}

/// Where a record stood, as Restate's Kafka ingress tells it.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

impl Origin {
    /// Of an invocation; one that did not come by Kafka has none of it.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let header = |name: &str| headers.get(name).map(String::as_str);
        Self {
            topic: header("kafka.topic").unwrap_or("(not by Kafka)").to_owned(),
            partition: header("kafka.partition").and_then(|p| p.parse().ok()).unwrap_or(-1),
            offset: header("kafka.offset").and_then(|o| o.parse().ok()).unwrap_or(-1),
        }
    }
}

/// The delivery that a record announces for the object `key`, or why it cannot be understood; none:
/// it is about nobody, made to see who announces.
pub(crate) fn parse(key: &str, value: &[u8]) -> Result<Option<DeliveryId>, String> {
    if value.len() > RECORD_BYTES_MAX {
        return Err(format!("{} bytes; at most {RECORD_BYTES_MAX} are read", value.len()));
    }
    let endpoint: EndpointId =
        key.parse().map_err(|error| bounded(&format!("the key: {error}")))?;
    let record: Record =
        serde_json::from_slice(value).map_err(|error| bounded(&format!("the value: {error}")))?;
    if record.endpoint_id != endpoint {
        return Err(format!("the key is {endpoint}, the value is about {}", record.endpoint_id));
    }
    Ok((endpoint != EndpointId::NOBODY).then_some(record.delivery_id))
}

/// A reason may repeat what it was given; a log line is no place for all of it.
fn bounded(reason: &str) -> String {
    reason.chars().take(REASON_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ep_0198c5a4-1111-7abc-8def-0123456789ab";

    fn record(endpoint: &str) -> String {
        format!(
            r#"{{"delivery_id":"dlv_0198c5a4-2222-7abc-8def-0123456789ab","endpoint_id":"{endpoint}","more":1}}"#
        )
    }

    #[test]
    fn a_record_of_ours_is_understood() {
        assert!(parse(KEY, record(KEY).as_bytes()).is_ok_and(|it| it.is_some()));
    }

    #[test]
    fn a_record_about_nobody_wakes_nobody() {
        let nobody = EndpointId::NOBODY.to_string();
        assert_eq!(parse(&nobody, record(&nobody).as_bytes()), Ok(None));
    }

    #[test]
    fn what_cannot_be_understood_is_told_with_its_reason() {
        for (key, value, reason) in [
            (KEY, "not json".to_owned(), "the value"),
            (KEY, "{}".to_owned(), "delivery_id"),
            ("demo", record(KEY), "the key"),
            (KEY, record("ep_0198c5a4-3333-7abc-8def-0123456789ab"), "the value is about"),
            (KEY, "x".repeat(RECORD_BYTES_MAX + 1), "at most"),
        ] {
            let error = parse(key, value.as_bytes()).expect_err("refused");
            assert!(error.contains(reason), "{error}");
        }
    }
}
