//! Verifying a signed webhook, as a merchant does: for the operator's command, never for a test of
//! what we sign.
//!
//! The three headers and the exact bytes of the body go in. Nothing is accepted without a token
//! that one of the keys verifies in full, and nothing whose time is farther away than the
//! tolerance; an unknown or malformed token is passed over, as the specification asks for.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey as PublicKey};

use crate::secrets::{Secret, SecretError, SignatureScheme};

/// How far the time of a webhook may be from now: what the reference libraries allow.
pub const TOLERANCE_S: u64 = 300;

const PUBLIC_PREFIX: &str = "whpk_";

/// A key that verifies: the secret itself, or the public half of one.
#[derive(Debug, Clone)]
pub struct VerifyingKey(Key);

#[derive(Debug, Clone)]
enum Key {
    Secret(Secret),
    Public(Box<PublicKey>),
}

/// A webhook as it arrived.
#[derive(Debug, Clone, Copy)]
pub struct Webhook<'a> {
    /// `webhook-id`.
    pub id: &'a str,
    /// `webhook-timestamp`.
    pub timestamp: &'a str,
    /// `webhook-signature`.
    pub signature: &'a str,
    /// The body, byte for byte.
    pub body: &'a [u8],
}

/// Why a webhook is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The time is no time.
    #[error("webhook-timestamp is not a whole number of seconds since 1970")]
    Timestamp,
    /// It is too far from now.
    #[error("webhook-timestamp is {off_s} s away from now, more than the {tolerance_s} s allowed")]
    TooFar {
        /// How far, in seconds.
        off_s: u64,
        /// How far it may be.
        tolerance_s: u64,
    },
    /// No token is of a key that was given.
    #[error("no signature of webhook-signature is of the given keys over this id, time and body")]
    NoMatch,
}

impl VerifyError {
    /// Its stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Timestamp => "bad_timestamp",
            Self::TooFar { .. } => "timestamp_too_far",
            Self::NoMatch => "no_matching_signature",
        }
    }
}

impl FromStr for VerifyingKey {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let Some(encoded) = text.strip_prefix(PUBLIC_PREFIX) else {
            return Ok(Self(Key::Secret(text.parse()?)));
        };
        let bytes = STANDARD.decode(encoded).map_err(|_| SecretError::Base64)?;
        let bytes = <[u8; 32]>::try_from(bytes).map_err(|_| SecretError::KeyPair)?;
        let key = PublicKey::from_bytes(&bytes).map_err(|_| SecretError::KeyPair)?;
        Ok(Self(Key::Public(Box::new(key))))
    }
}

impl VerifyingKey {
    fn accepts(&self, scheme: SignatureScheme, content: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Key::Secret(secret) => {
                secret.scheme() == scheme && secret.is_signature(content, signature)
            }
            Key::Public(key) => scheme == SignatureScheme::V1a && verifies(key, content, signature),
        }
    }
}

/// Is `signature` this key's, by the strict rules (no weak keys, no second spelling)?
pub(crate) fn verifies(key: &PublicKey, content: &[u8], signature: &[u8]) -> bool {
    Signature::from_slice(signature)
        .is_ok_and(|signature| key.verify_strict(content, &signature).is_ok())
}

/// Accepts `webhook` at `now_s` (seconds since 1970) if one of `keys` signed it; says by which
/// scheme.
///
/// # Errors
/// With the first reason that was found not to.
pub fn verify(
    keys: &[VerifyingKey],
    webhook: &Webhook<'_>,
    now_s: i64,
    tolerance_s: u64,
) -> Result<SignatureScheme, VerifyError> {
    let Webhook { id, timestamp, signature, body } = *webhook;
    let is_number = !timestamp.is_empty() && timestamp.bytes().all(|b| b.is_ascii_digit());
    let at: i64 = timestamp.parse().ok().filter(|_| is_number).ok_or(VerifyError::Timestamp)?;
    let off_s = now_s.abs_diff(at);
    if off_s > tolerance_s {
        return Err(VerifyError::TooFar { off_s, tolerance_s });
    }
    // The text of the header, not the number: `007` was not what we sent.
    let content = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    for token in signature.split(' ') {
        let Some((version, encoded)) = token.split_once(',') else { continue };
        let scheme = match version {
            "v1" => SignatureScheme::V1,
            "v1a" => SignatureScheme::V1a,
            _ => continue,
        };
        let Ok(bytes) = STANDARD.decode(encoded) else { continue };
        if keys.iter().any(|key| key.accepts(scheme, &content, &bytes)) {
            return Ok(scheme);
        }
    }
    Err(VerifyError::NoMatch)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const NOW_S: i64 = 1_614_265_330;
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    /// Of the specification's libraries, over [`webhook`].
    const GOOD: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn webhook(signature: &str) -> Webhook<'_> {
        Webhook {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
            timestamp: "1614265330",
            signature,
            body: b"{\"test\": 2432232314}",
        }
    }

    fn check(webhook: &Webhook<'_>, now_s: i64) -> Result<SignatureScheme, VerifyError> {
        verify(&[SECRET.parse().expect("a key")], webhook, now_s, TOLERANCE_S)
    }

    #[test]
    fn the_vectors_of_other_libraries_are_accepted_by_secret_and_by_public_key() {
        for line in include_str!("../tests/data/signature_vectors.jsonl").lines() {
            let row: Value = serde_json::from_str(line).expect("a row");
            let text = |field: &str| row[field].as_str().map(str::to_owned);
            let at = row["timestamp"].as_i64().expect("a number");
            let (id, timestamp) = (text("id").expect("an id"), at.to_string());
            let (signature, body) = (text("signature").expect("one"), text("body").expect("one"));
            let webhook = Webhook {
                id: &id,
                timestamp: &timestamp,
                signature: &signature,
                body: body.as_bytes(),
            };
            for key in [text("secret"), text("public")].into_iter().flatten() {
                let key = key.parse().expect("a key");
                assert!(verify(&[key], &webhook, at, 0).is_ok(), "{row}");
            }
        }
    }

    #[test]
    fn an_unknown_or_broken_token_beside_a_good_one_is_passed_over() {
        for signature in [
            format!("v2,AAAA {GOOD}"),
            format!("v1, {GOOD}"),
            format!("nonsense  {GOOD} v1,!!!!"),
            format!("v1a,AAAA {GOOD}"),
        ] {
            assert_eq!(check(&webhook(&signature), NOW_S), Ok(SignatureScheme::V1), "{signature}");
        }
    }

    #[test]
    fn nothing_but_a_whole_signature_of_these_very_bytes_is_accepted() {
        let good = webhook(GOOD);
        let bent = GOOD.replace("g0h", "g1h");
        let cut = format!("v1,{}", STANDARD.encode([1; 16]));
        let as_v1a = GOOD.replace("v1,", "v1a,");
        let cases = [
            Webhook { signature: "", ..good },
            Webhook { signature: "v1,", ..good },
            Webhook { signature: &bent, ..good },
            Webhook { signature: &cut, ..good },
            Webhook { signature: &as_v1a, ..good },
            Webhook { id: "msg_other", ..good },
            Webhook { timestamp: "01614265330", ..good },
            Webhook { timestamp: "1614265331", ..good },
            Webhook { body: b"{\"test\":2432232314}", ..good },
            Webhook { body: b"", ..good },
        ];
        for case in cases {
            assert_eq!(check(&case, NOW_S), Err(VerifyError::NoMatch), "{case:?}");
        }
        let other = Secret::generate().expect("random bytes");
        let other = VerifyingKey(Key::Secret(other));
        assert_eq!(verify(&[other], &good, NOW_S, 0), Err(VerifyError::NoMatch));
        assert_eq!(verify(&[], &good, NOW_S, 0), Err(VerifyError::NoMatch));
    }

    #[test]
    fn a_time_that_is_none_or_more_than_five_minutes_away_is_refused() {
        let good = webhook(GOOD);
        for off in [-300, 300] {
            assert!(check(&good, NOW_S + off).is_ok(), "{off}");
        }
        for off in [-301, 301] {
            let too_far = VerifyError::TooFar { off_s: 301, tolerance_s: 300 };
            assert_eq!(check(&good, NOW_S + off), Err(too_far));
        }
        for timestamp in ["", "+1614265330", "1614265330.0", " 1614265330", "-1", "now"] {
            let bad = Webhook { timestamp, ..good };
            assert_eq!(check(&bad, NOW_S), Err(VerifyError::Timestamp), "{timestamp}");
        }
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        for text in ["", "whpk_", "whpk_AAAA", "whpk_%%", "whsec_", SECRET.trim_start_matches("w")]
        {
            assert!(text.parse::<VerifyingKey>().is_err(), "{text}");
        }
    }
}
