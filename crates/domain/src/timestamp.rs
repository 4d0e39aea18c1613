//! Times as text, one form everywhere: UTC, microseconds, `Z`.
//!
//! The topic's records, the webhook's body and the answers of our fronts all use it, so that two
//! of them can be compared as strings. A line for people has it to the second.

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

const FORM: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

const TO_THE_SECOND: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");

/// `time` in UTC to the second, such as `2026-01-05T12:00:00Z`.
pub fn rfc3339_seconds(time: OffsetDateTime) -> String {
    time.to_offset(time::UtcOffset::UTC).format(TO_THE_SECOND).unwrap_or_default()
}

/// `time` in UTC with six digits of microseconds, such as `2026-01-05T12:00:00.000001Z`.
pub fn rfc3339_micros(time: OffsetDateTime) -> String {
    // A year beyond 9999 is the only thing that cannot be written.
    time.to_offset(time::UtcOffset::UTC).format(FORM).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn times_have_six_digits_and_are_in_utc() {
        let time = datetime!(2026-01-05 12:00:00.000001 +01:00);
        assert_eq!(rfc3339_micros(time), "2026-01-05T11:00:00.000001Z");
        assert_eq!(rfc3339_seconds(time), "2026-01-05T11:00:00Z");
    }
}
