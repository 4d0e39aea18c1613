//! What comes with a request beside its body, the same for both fronts: headers of HTTP and
//! metadata of gRPC are one thing.
//!
//! A trace is never a reason to refuse: a malformed `traceparent` counts as none. A malformed
//! idempotency key is refused, because a write without it would be repeated.

use http::HeaderMap;
use observability::{spans, traceparent};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use store::{Once, Write};
use tracing::Span;

use crate::limits::IDEMPOTENCY_KEY_LENGTH_MAX;
use crate::refusal::Refusal;

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const TRACEPARENT: &str = "traceparent";

/// What comes with a request beside its body.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    traceparent: Option<String>,
    idempotency_key: Option<String>,
}

impl Call {
    /// Reads it, inside the request's span: that is the parent of what the transaction causes; when
    /// no trace is recorded here, the caller's own stays.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        Ok(Self {
            traceparent: traceparent::of(&Span::current()).or_else(|| callers_trace(headers)),
            idempotency_key: idempotency_key(headers)?,
        })
    }

    /// The transaction `operation`, which does what `digest` stands for.
    pub(crate) fn transaction(&self, operation: &str, digest: [u8; 32]) -> Transaction<'_> {
        let span = spans::transaction(operation);
        let traceparent = traceparent::of(&span).or_else(|| self.traceparent.clone());
        Transaction { call: self, digest, span, traceparent }
    }

    /// What goes with a write of what `digest` stands for.
    pub(crate) fn write<'a>(&'a self, digest: &'a [u8; 32]) -> Write<'a> {
        Write {
            traceparent: self.traceparent.as_deref(),
            // The development front knows no callers: all share one space of keys.
            once: self.idempotency_key.as_deref().map(|key| Once { caller: "", key, digest }),
        }
    }
}

/// A transaction that causes deliveries: its span is what they are traced back to.
pub(crate) struct Transaction<'a> {
    call: &'a Call,
    digest: [u8; 32],
    span: Span,
    traceparent: Option<String>,
}

impl Transaction<'_> {
    /// Its span: around its statement, and nothing else.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// What goes with its write.
    pub(crate) fn write(&self) -> Write<'_> {
        Write { traceparent: self.traceparent.as_deref(), ..self.call.write(&self.digest) }
    }
}

/// Stands for a request as it was understood: the same request spelled otherwise is the same.
pub(crate) fn digest_of(request: &Value) -> [u8; 32] {
    Sha256::digest(request.to_string()).into()
}

/// Makes a request's span a child of the caller's trace, if it brought one.
pub(crate) fn joined(span: Span, headers: &HeaderMap) -> Span {
    if let Some(parent) = callers_trace(headers) {
        traceparent::set_parent(&span, &parent);
    }
    span
}

/// The caller's `traceparent`, if it is one by W3C Trace Context, section 3.2; of a later version what
/// this one knows of it.
pub(crate) fn callers_trace(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(TRACEPARENT)?.to_str().ok()?;
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_zero = |part: &str| part.bytes().all(|b| b == b'0');
    let mut parts = text.split('-');
    let mut part = || parts.next();
    let (version, trace_id, parent_id, flags) = (part()?, part()?, part()?, part()?);
    let is_good = hex(version, 2)
        && version != "ff"
        && hex(trace_id, 32)
        && !is_zero(trace_id)
        && hex(parent_id, 16)
        && !is_zero(parent_id)
        && hex(flags, 2)
        && (version != "00" || parts.next().is_none());
    let flags = u8::from_str_radix(flags, 16).ok().filter(|_| is_good)?;
    match version {
        "00" => Some(text.to_owned()),
        // Of its flags, only this one is known.
        _ => Some(format!("00-{trace_id}-{parent_id}-{:02x}", flags & 1)),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let is_good = |key: &&str| {
        (1..=IDEMPOTENCY_KEY_LENGTH_MAX).contains(&key.len())
            && key.bytes().all(|b| matches!(b, b' '..=b'~'))
    };
    match (key.to_str().ok().filter(is_good), keys.next()) {
        (Some(key), None) => Ok(Some(key.to_owned())),
        _ => Err(Refusal::invalid(
            IDEMPOTENCY_KEY,
            format!(
                "must be one key of 1 to {IDEMPOTENCY_KEY_LENGTH_MAX} printable ASCII characters"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(name: &'static str, values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, http::HeaderValue::from_bytes(value).expect("a header"));
        }
        headers
    }

    #[test]
    fn a_key_is_1_to_255_printable_ascii_characters_and_there_is_one() {
        let key = |values: &[&[u8]]| idempotency_key(&headers(IDEMPOTENCY_KEY, values));
        assert!(key(&[]).expect("no key").is_none());
        assert_eq!(key(&[b"a b~"]).expect("a key").as_deref(), Some("a b~"));
        assert!(key(&[&[b'x'; 255]]).expect("a key").is_some());
        for bad in [&[&b""[..]][..], &[&[b'x'; 256]], &[b"\xc3\xbc"], &[b"a\tb"], &[b"a", b"b"]] {
            let refusal = key(bad).expect_err("refused");
            assert_eq!(refusal.field(), Some(IDEMPOTENCY_KEY));
        }
    }

    #[test]
    fn without_a_trace_of_our_own_the_callers_stays_and_a_malformed_one_counts_as_none() {
        let trace = |text: &str| {
            Call::of(&headers(TRACEPARENT, &[text.as_bytes()])).expect("a call").traceparent
        };
        assert_eq!(trace(TRACE).as_deref(), Some(TRACE));
        let of_version = |version: &str, rest: &str| trace(&format!("{version}{rest}"));
        let rest = TRACE.trim_start_matches("00");
        assert_eq!(of_version("01", rest).as_deref(), Some(TRACE));
        let later = rest.replace("-01", "-ff-what-comes-later");
        assert_eq!(of_version("cc", &later).as_deref(), Some(TRACE), "its known part");
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes-later",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01what-comes-later",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        ] {
            assert_eq!(trace(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_digest_tells_requests_apart() {
        let digest = |amount: i64| digest_of(&serde_json::json!({ "amount": amount }));
        assert_eq!(digest(1), digest(1));
        assert_ne!(digest(1), digest(2));
    }
}
