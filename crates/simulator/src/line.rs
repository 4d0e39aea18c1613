//! One request, as the ledger's file and the API write it: a line of JSON.
//!
//! It holds no body: its SHA-256 and its length say whether two requests carried the same.

use std::fmt::Write as _;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::StaticFormatDescription;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// A request and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// Its place in the order of arrival, from 1.
    pub number: u64,
    /// The path after `/webhooks/`.
    pub merchant: String,
    pub webhook_id: Option<String>,
    pub event_type: Option<String>,
    /// `data.id` of the body.
    pub payment_id: Option<String>,
    /// The event's own time.
    pub timestamp: Option<Micros>,
    pub arrived_at: Micros,
    pub body_sha256: Digest,
    pub body_bytes: u32,
    pub headers: Headers,
    /// What was answered; none: not yet, or never.
    pub status: Option<u16>,
}

/// The headers that are kept, as they came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Headers {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_timestamp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_signature: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// A moment in microseconds since 1970, UTC; written as RFC 3339 with six digits and `Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Micros(pub i64);

const RFC_3339_MICROS: StaticFormatDescription =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

impl Micros {
    /// The moment that an RFC 3339 text names.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(at.unix_timestamp_nanos() / 1_000).ok().map(Self)
    }

    /// This moment, by the machine's clock.
    pub(crate) fn now() -> Self {
        let nanos = OffsetDateTime::now_utc().unix_timestamp_nanos();
        Self(i64::try_from(nanos / 1_000).unwrap_or(i64::MAX))
    }
}

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000)
            .map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&at.format(RFC_3339_MICROS).map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Micros {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&str>::deserialize(deserializer)?;
        Self::parse(text).ok_or_else(|| D::Error::custom("not a time of RFC 3339"))
    }
}

/// The SHA-256 of a body; written in hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest(pub [u8; 32]);

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut hex = String::with_capacity(64);
        for byte in self.0 {
            write!(hex, "{byte:02x}").map_err(serde::ser::Error::custom)?;
        }
        serializer.serialize_str(&hex)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hex = <&str>::deserialize(deserializer)?;
        let digits = hex.as_bytes().as_chunks::<2>();
        let mut bytes = [0; 32];
        if digits.0.len() != bytes.len() || !digits.1.is_empty() {
            return Err(D::Error::custom("not 64 hex digits"));
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.0) {
            let pair = std::str::from_utf8(pair).map_err(D::Error::custom)?;
            *byte = u8::from_str_radix(pair, 16).map_err(D::Error::custom)?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A line in which everything is set.
    pub(crate) fn full() -> Line {
        Line {
            number: 7,
            merchant: "demo/a".to_owned(),
            webhook_id: Some("evt_0198c5a4-1111-7abc-8def-0123456789ab".to_owned()),
            event_type: Some("payment.succeeded".to_owned()),
            payment_id: Some("pay_0198c5a4-2222-7abc-8def-0123456789ab".to_owned()),
            timestamp: Micros::parse("2025-01-02T03:04:05.000006Z"),
            arrived_at: Micros(1_735_787_045_123_456),
            body_sha256: Digest([0xa5; 32]),
            body_bytes: 321,
            headers: Headers {
                webhook_timestamp: Some("1735787045".to_owned()),
                webhook_signature: Some("v1,abc v1a,def".to_owned()),
                content_type: Some("application/json".to_owned()),
                user_agent: Some("Posthorn/0.1.0".to_owned()),
                traceparent: Some(format!("00-{}-{}-01", "1".repeat(32), "2".repeat(16))),
            },
            status: Some(200),
        }
    }

    #[test]
    fn a_line_that_is_written_and_read_again_is_the_same() -> anyhow::Result<()> {
        for line in [
            full(),
            Line {
                webhook_id: None,
                timestamp: None,
                headers: Headers::default(),
                status: None,
                ..full()
            },
        ] {
            assert_eq!(serde_json::from_str::<Line>(&serde_json::to_string(&line)?)?, line);
        }
        let json = serde_json::to_value(full())?;
        assert_eq!(json["timestamp"], "2025-01-02T03:04:05.000006Z");
        assert_eq!(json["body_sha256"], "a5".repeat(32));
        Ok(())
    }

    #[test]
    fn a_line_that_is_torn_or_wrong_is_refused() -> anyhow::Result<()> {
        let json = serde_json::to_string(&full())?;
        for bad in [&json[..json.len() - 1], &json.replace("a5a5", "zz"), &json.replace("T03", "X")]
        {
            assert!(serde_json::from_str::<Line>(bad).is_err(), "{bad}");
        }
        Ok(())
    }
}
