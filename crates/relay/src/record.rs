//! The record that announces a delivery: the same JSON for the same row, whoever writes it.
//!
//! A row's columns as text come in; key and value go out. It carries ids and trace context: no
//! payload and no secret ever gets into a record. Times are UTC with six digits of microseconds
//! and a `Z`; a null stays a null.

use domain::{DeliveryId, EndpointId, EventId};
use serde::Serialize;
use store::DeliveryText;
use uuid::Uuid;

use crate::pgoutput::Odd;

/// A delivery's announcement, ready for a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The delivery it announces.
    pub(crate) delivery: DeliveryId,
    /// Whose it is; the key is this, as text.
    pub(crate) endpoint: EndpointId,
    /// The key.
    pub(crate) key: String,
    /// The value: JSON, UTF-8.
    pub(crate) value: Vec<u8>,
}

// The order of the fields is the order in the record.
#[derive(Serialize)]
struct Value<'a> {
    delivery_id: DeliveryId,
    event_id: EventId,
    endpoint_id: EndpointId,
    merchant_id: &'a str,
    event_type: &'a str,
    object_id: &'a str,
    occurred_at: String,
    traceparent: Option<&'a str>,
}

impl Record {
    /// The record of a row.
    pub(crate) fn of(row: &DeliveryText) -> Result<Self, Odd> {
        let delivery = DeliveryId::from(uuid("id", row.id.as_deref())?);
        let endpoint = EndpointId::from(uuid("endpoint_id", row.endpoint_id.as_deref())?);
        let occurred_at = present("occurred_at", row.occurred_at.as_deref())?;
        let value = Value {
            delivery_id: delivery,
            event_id: EventId::from(uuid("event_id", row.event_id.as_deref())?),
            endpoint_id: endpoint,
            merchant_id: present("merchant_id", row.merchant_id.as_deref())?,
            event_type: present("event_type", row.event_type.as_deref())?,
            object_id: present("object_id", row.object_id.as_deref())?,
            occurred_at: rfc_3339(occurred_at)
                .ok_or_else(|| Odd(format!("occurred_at is no time in UTC: `{occurred_at}`")))?,
            traceparent: row.traceparent.as_deref(),
        };
        let value = serde_json::to_vec(&value).map_err(|error| Odd(error.to_string()))?;
        Ok(Self { delivery, endpoint, key: endpoint.to_string(), value })
    }
}

fn present<'a>(column: &str, value: Option<&'a str>) -> Result<&'a str, Odd> {
    value.ok_or_else(|| Odd(format!("{column} is null")))
}

fn uuid(column: &str, value: Option<&str>) -> Result<Uuid, Odd> {
    let text = present(column, value)?;
    Uuid::try_parse(text).map_err(|_| Odd(format!("{column} is not a UUID")))
}

/// PostgreSQL's `2026-11-23 16:58:02.33+00`, as RFC 3339 with six digits: PostgreSQL drops zeros
/// at the end of the fraction. None for anything else, such as `infinity` or another time zone.
fn rfc_3339(text: &str) -> Option<String> {
    const SHAPE: &[u8; 19] = b"dddd-dd-dd dd:dd:dd";
    let (seconds, rest) = text.split_at_checked(SHAPE.len())?;
    let fits = seconds.bytes().zip(SHAPE).all(|(byte, shape)| match shape {
        b'd' => byte.is_ascii_digit(),
        other => byte == *other,
    });
    let fraction = rest.strip_suffix("+00")?;
    let digits = if fraction.is_empty() { "" } else { fraction.strip_prefix('.')? };
    let fits = fits
        && digits.len() <= 6
        && digits.is_empty() == fraction.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| format!("{}T{}.{digits:0<6}Z", &seconds[..10], &seconds[11..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_gets_six_digits_whatever_postgresql_left_out() {
        for (text, expected) in [
            ("2026-11-23 16:58:02.337172+00", "2026-11-23T16:58:02.337172Z"),
            ("2026-11-23 16:58:55.34372+00", "2026-11-23T16:58:55.343720Z"),
            ("2026-11-23 16:58:55.3+00", "2026-11-23T16:58:55.300000Z"),
            ("2026-11-23 16:58:55+00", "2026-11-23T16:58:55.000000Z"),
        ] {
            assert_eq!(rfc_3339(text).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_is_no_time_in_utc_is_refused() {
        for text in [
            "",
            "infinity",
            "-infinity",
            "2026-11-23 16:58:02.337172+01",
            "2026-11-23 16:58:02.337172",
            "2026-11-23 16:58:02.+00",
            "2026-11-23 16:58:02.3371721+00",
            "2026-11-23 16:58:02.33717x+00",
            "2026-11-23T16:58:02+00",
            "10000-11-23 16:58:02+00",
            "0044-03-15 12:00:00+00 BC",
            "2026-11-23 16:58:0é+00",
        ] {
            assert_eq!(rfc_3339(text), None, "{text}");
        }
    }

    #[test]
    fn a_row_that_lacks_what_a_record_needs_is_odd_and_the_reason_names_the_column() {
        let row = DeliveryText {
            id: Some("0198c5a4-1111-7abc-8def-0123456789ab".to_owned()),
            endpoint_id: Some("nonsense".to_owned()),
            ..DeliveryText::default()
        };
        assert_eq!(Record::of(&row), Err(Odd("endpoint_id is not a UUID".to_owned())));
        let row = DeliveryText { endpoint_id: row.id.clone(), ..row };
        assert_eq!(Record::of(&row), Err(Odd("occurred_at is null".to_owned())));
    }
}
