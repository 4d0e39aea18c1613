//! Custom headers of an endpoint: what a merchant may add to its requests.
//!
//! Parsed once, when the endpoint is made or read. None of them can replace a header that we set,
//! change how the request is framed or routed, or carry a second request: such names are refused
//! here and ours are set last all the same. Values may be credentials and are never printed.

use std::collections::BTreeMap;
use std::fmt;

use domain::Invalid;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::limits::{
    CUSTOM_HEADER_NAME_BYTES_MAX, CUSTOM_HEADER_VALUE_BYTES_MAX, CUSTOM_HEADERS_BYTES_MAX,
    CUSTOM_HEADERS_MAX,
};

/// Names that we set, that frame or route the request, or that speak for somebody else.
const RESERVED_NAMES: &[&str] = &[
    "accept-encoding",
    "alt-used",
    "b3",
    "baggage",
    "connection",
    "cookie",
    "cookie2",
    "date",
    "expect",
    "forwarded",
    "from",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "metadata",
    "metadata-flavor",
    "origin",
    "pragma",
    // Servers of old made a variable of it, by which they then chose their own proxy.
    "proxy",
    "range",
    "referer",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "traceparent",
    "tracestate",
    "upgrade",
    "user-agent",
    "via",
    "x-forwarded",
    "x-real-ip",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// The same for whole families.
const RESERVED_PREFIXES: &[&str] = &[
    "content-",
    "if-",
    "posthorn-",
    "proxy-",
    "sec-",
    "webhook-",
    "x-aws-ec2-metadata-token",
    "x-b3-",
    "x-forwarded-",
    "x-google-metadata-",
    "x-http-method",
    "x-posthorn-",
];

/// Headers that a merchant adds to its requests.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CustomHeaders(HeaderMap);

impl CustomHeaders {
    /// Parses names and values, as the endpoint's owner wrote them.
    pub fn parse<'a>(
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Invalid> {
        let invalid = |allowed: String| Invalid::new("headers", allowed);
        let mut map = HeaderMap::new();
        let mut bytes = 0;
        for (name, value) in headers {
            let (name, value) = (parse_name(name)?, parse_value(value)?);
            bytes += name.as_str().len() + value.len();
            if map.insert(name, value).is_some() {
                return Err(invalid("each name at most once".to_owned()));
            }
        }
        if map.len() > CUSTOM_HEADERS_MAX {
            return Err(invalid(format!("at most {CUSTOM_HEADERS_MAX}")));
        }
        if bytes > CUSTOM_HEADERS_BYTES_MAX {
            return Err(invalid(format!("at most {CUSTOM_HEADERS_BYTES_MAX} bytes in all")));
        }
        Ok(Self(map))
    }

    /// The same from a map, which is how they are stored.
    pub fn from_map(headers: &BTreeMap<String, String>) -> Result<Self, Invalid> {
        Self::parse(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    /// Their names, in lower case, in order.
    pub fn names(&self) -> Vec<String> {
        self.to_map().into_keys().collect()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values, to be sealed.
    pub(crate) fn to_map(&self) -> BTreeMap<String, String> {
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        self.0.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
    }

    pub(crate) fn map(&self) -> &HeaderMap {
        &self.0
    }
}

fn parse_name(name: &str) -> Result<HeaderName, Invalid> {
    let invalid = |allowed: String| Invalid::new("headers", allowed);
    let parsed = HeaderName::from_bytes(name.as_bytes())
        .ok()
        .filter(|_| name.len() <= CUSTOM_HEADER_NAME_BYTES_MAX)
        .ok_or_else(|| {
            invalid(format!(
                "a name must be an HTTP token of at most {CUSTOM_HEADER_NAME_BYTES_MAX} characters"
            ))
        })?;
    let name = parsed.as_str();
    // Some servers read `_` as `-`, so `webhook_id` would arrive as a second `webhook-id`.
    let as_read = name.replace('_', "-");
    let is_reserved = RESERVED_NAMES.contains(&as_read.as_str())
        || RESERVED_PREFIXES.iter().any(|prefix| as_read.starts_with(prefix));
    if is_reserved {
        return Err(invalid(format!("`{name}` is reserved")));
    }
    Ok(parsed)
}

fn parse_value(value: &str) -> Result<HeaderValue, Invalid> {
    let is_good = value.len() <= CUSTOM_HEADER_VALUE_BYTES_MAX
        && value.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        && value.trim() == value;
    let parsed = if is_good { HeaderValue::from_str(value).ok() } else { None };
    let mut parsed = parsed.ok_or_else(|| {
        Invalid::new(
            "headers",
            format!(
                "a value must be visible ASCII of at most {CUSTOM_HEADER_VALUE_BYTES_MAX} \
                 characters, without spaces at its ends"
            ),
        )
    })?;
    // Keeps it out of HTTP/2's table of headers and out of every Debug output.
    parsed.set_sensitive(true);
    Ok(parsed)
}

impl fmt::Debug for CustomHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys().map(HeaderName::as_str)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_headers_pass_credentials_among_them_and_do_not_print() {
        let headers = CustomHeaders::parse([("Authorization", "Bearer hunter2"), ("x-shop", "7")])
            .expect("allowed");
        assert_eq!(headers.map().len(), 2);
        assert_eq!(headers.map()["authorization"], "Bearer hunter2");
        assert!(!format!("{headers:?}").contains("hunter2"));
    }

    #[test]
    fn what_we_set_what_frames_and_what_smuggles_is_refused() {
        let names = [
            "Host",
            "webhook-id",
            "Webhook-Signature",
            "webhook_id",
            "Metadata-Flavor",
            "X-Google-Metadata-Request",
            "x-aws-ec2-metadata-token",
            "x-aws-ec2-metadata-token-ttl-seconds",
            "x-http-method",
            "x-http-method-override",
            "x-method-override",
            "Content-Length",
            "content-type",
            "Transfer-Encoding",
            "TE",
            "connection",
            "Cookie",
            "User-Agent",
            "X-Forwarded-For",
            "proxy-authorization",
            "traceparent",
            "baggage",
            "b3",
            "X-B3-SpanId",
            "Proxy",
            "Metadata",
            "Set-Cookie",
            "X-Forwarded",
            "Expect",
            "upgrade",
            "transfer_encoding",
            "",
            "a b",
            "a:b",
            "a\r\nb",
            "\u{e4}",
            &"x".repeat(65),
        ];
        for name in names {
            assert!(CustomHeaders::parse([(name, "v")]).is_err(), "{name}");
        }
    }

    #[test]
    fn values_that_could_end_a_line_are_refused() {
        let long = "x".repeat(1025);
        for value in ["a\r\nb: c", "a\nb", "a\0b", "a\tb", "\u{e4}", " a", "a ", &long] {
            assert!(CustomHeaders::parse([("x-a", value)]).is_err(), "{value:?}");
        }
    }

    #[test]
    fn there_are_at_most_ten_each_once_and_not_too_large_in_all() {
        let names: Vec<String> = (0..11).map(|n| format!("x-{n}")).collect();
        let headers = |count, value| {
            CustomHeaders::parse(names.iter().take(count).map(move |name| (name.as_str(), value)))
        };
        assert!(headers(10, "v").is_ok());
        assert!(headers(11, "v").is_err());
        let kilobyte = "x".repeat(1024);
        assert!(headers(3, &kilobyte).is_ok());
        assert!(headers(4, &kilobyte).is_err());
        assert!(CustomHeaders::parse([("x-a", "1"), ("X-A", "2")]).is_err());
    }
}
