//! Signatures as Standard Webhooks 1.0.0 asks for them.
//!
//! An id, a time and the exact bytes of the body go in; the value of `webhook-signature` comes
//! out, one token for every live secret, `v1` before `v1a` because some verifiers only read the
//! first kind. The body that is signed is the body that is sent: nothing may change it after.

use crate::secrets::Secret;

/// Name of the header with the event's id.
pub const ID_HEADER: &str = "webhook-id";
/// Name of the header with the time of this attempt, in seconds since 1970.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// Name of the header with the signatures.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// The value of `webhook-signature`; `None` without a secret.
///
/// `id` must not contain a dot (our ids never do), or two messages could share their signed bytes.
pub fn signature(secrets: &[Secret], id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    debug_assert!(!id.contains('.'), "an id with a dot makes the signed bytes ambiguous");
    let content = [id.as_bytes(), b".", timestamp.to_string().as_bytes(), b".", body].concat();
    let mut by_scheme: Vec<&Secret> = secrets.iter().collect();
    by_scheme.sort_by_key(|secret| secret.scheme());
    let tokens: Vec<String> =
        by_scheme.into_iter().map(|secret| secret.signature_token(&content)).collect();
    (!tokens.is_empty()).then(|| tokens.join(" "))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_vectors_of_other_libraries_are_met_byte_for_byte() {
        let vectors = include_str!("../tests/data/signature_vectors.jsonl");
        let mut all = Vec::new();
        for line in vectors.lines() {
            let row: Value = serde_json::from_str(line).expect("a row");
            let text = |field: &str| row[field].as_str().expect("a text").to_owned();
            let secret: Secret = text("secret").parse().expect("a secret");
            let timestamp = row["timestamp"].as_i64().expect("a number");
            let signed = signature(&[secret], &text("id"), timestamp, text("body").as_bytes());
            assert_eq!(signed, Some(text("signature")), "{}", text("name"));
            all.push(text("name"));
        }
        assert_eq!(all.len(), 3);
    }

    #[test]
    fn bytes_beyond_ascii_are_signed_as_they_are() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().expect("a secret");
        let body = "{\"n\":\"Zo\u{eb} \u{20b9}\"}";
        assert_eq!(
            signature(&[secret], "msg_u", 1_614_265_330, body.as_bytes()).as_deref(),
            Some("v1,gQbIAZe9JKtsr44SAotDxeUrctE8pYG2+1QZlzWNMpw=")
        );
    }

    #[test]
    fn every_live_secret_signs_and_v1_comes_first() {
        let secrets = [
            Secret::generate_asymmetric().expect("random bytes"),
            Secret::generate().expect("random bytes"),
            Secret::generate().expect("random bytes"),
        ];
        let all = signature(&secrets, "evt", 1, b"{}").expect("signed");
        let tokens: Vec<&str> = all.split(' ').collect();
        let schemes: Vec<&str> = tokens.iter().map(|token| &token[..3]).collect();
        assert_eq!(schemes, ["v1,", "v1,", "v1a"]);
        let alone = signature(&secrets[1..2], "evt", 1, b"{}").expect("signed");
        assert_eq!(tokens[0], alone);
    }

    #[test]
    fn without_a_secret_nothing_is_signed() {
        assert_eq!(signature(&[], "evt", 1, b"{}"), None);
    }
}
