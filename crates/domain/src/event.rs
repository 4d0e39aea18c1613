//! Event types: dot-delimited words such as `payment.succeeded`.
//!
//! Source: Standard Webhooks 1.0.0, "type": hierarchical, `[a-zA-Z0-9_.]`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// The type of a domain event: up to 128 of `A-Z a-z 0-9 _`, in words joined by dots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventType(String);

impl EventType {
    /// Longest event type, in characters.
    pub const LENGTH_MAX: usize = 128;

    /// The type as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for EventType {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        let word =
            |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if text.len() > Self::LENGTH_MAX || !text.split('.').all(word) {
            return Err(Invalid::new(
                "event_type",
                "must be words of A-Z a-z 0-9 _ joined by dots, such as payment.succeeded, at most 128 characters",
            ));
        }
        Ok(Self(text))
    }
}

impl From<EventType> for String {
    fn from(event_type: EventType) -> Self {
        event_type.0
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_joined_by_dots_pass_and_anything_else_is_refused() {
        for good in ["payment.succeeded", "payout", "a.b_c.D9"] {
            assert!(EventType::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", ".", "a..b", "a.", "payment succeeded", "zahlung.ü", &"x".repeat(129)] {
            assert!(EventType::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
