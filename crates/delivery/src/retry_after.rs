//! `Retry-After`: when a merchant asks to be left alone for a while.
//!
//! Seconds or an HTTP date (RFC 9110, 10.2.3). What is longer than an hour is shortened to one,
//! what is absurd is ignored: no receiver may stop its own deliveries for days by a typing error.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;

use crate::limits::{RETRY_AFTER_ABSURD, RETRY_AFTER_MAX, RETRY_AFTER_MIN};

/// What the answer asks for, bounded. Said more than once, the longest counts.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    headers
        .get_all(RETRY_AFTER)
        .iter()
        .filter_map(|value| parse(value.to_str().ok()?.trim(), now))
        .max()
}

fn parse(text: &str, now: SystemTime) -> Option<Duration> {
    let wait = if text.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(text.parse().ok()?)
    } else {
        // A date that has passed asks for nothing.
        httpdate::parse_http_date(text).ok()?.duration_since(now).ok()?
    };
    if wait < RETRY_AFTER_MIN || wait > RETRY_AFTER_ABSURD {
        return None;
    }
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http::HeaderValue;

    use super::*;

    const NOW_S: u64 = 784_111_777; // Sun, 06 Nov 1994 08:49:37 GMT

    fn asked(values: &[&str]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(RETRY_AFTER, HeaderValue::from_str(value).expect("a value"));
        }
        retry_after(&headers, UNIX_EPOCH + Duration::from_secs(NOW_S)).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_and_dates_are_honoured_up_to_an_hour() {
        assert_eq!(asked(&["120"]), Some(120));
        assert_eq!(asked(&["1"]), Some(1));
        assert_eq!(asked(&["3600"]), Some(3600));
        assert_eq!(asked(&["7200"]), Some(3600));
        assert_eq!(asked(&["Sun, 06 Nov 1994 08:51:37 GMT"]), Some(120));
        assert_eq!(asked(&["Sunday, 06-Nov-94 08:51:37 GMT"]), Some(120));
        assert_eq!(asked(&["Sun Nov  6 08:51:37 1994"]), Some(120));
    }

    #[test]
    fn what_is_past_absurd_or_no_time_is_ignored() {
        for value in [
            "",
            "0",
            "-1",
            "+5",
            "1.5",
            "abc",
            "1000000000",
            "99999999999999999999999",
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:00:00 GMT",
            "Sun, 06 Nov 2094 08:49:37 GMT",
            "120 s",
        ] {
            assert_eq!(asked(&[value]), None, "{value}");
        }
        assert_eq!(asked(&[]), None);
    }

    #[test]
    fn said_twice_the_longest_counts() {
        assert_eq!(asked(&["10", "abc", "60"]), Some(60));
    }
}
