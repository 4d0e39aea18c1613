//! Ids: UUIDs inside, `prefix_` + hyphenated UUID at the edges.
//!
//! A payment's id and an endpoint's id are different types, so one cannot stand for the other.
//! This file never draws an id: that is the database's or the caller's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not the id it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {kind}: expected `{prefix}` followed by a UUID")]
pub struct IdError {
    text: String,
    kind: &'static str,
    prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// What stands before the UUID at the edges.
            pub const PREFIX: &'static str = $prefix;

            /// The same id without its prefix, as the database has it.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", Self::PREFIX, self.0.hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix(Self::PREFIX)
                    .filter(|rest| rest.len() == 36)
                    .and_then(|rest| Uuid::try_parse(rest).ok())
                    .map(Self)
                    .ok_or_else(|| IdError {
                        text: text.chars().take(64).collect(),
                        kind: $kind,
                        prefix: Self::PREFIX,
                    })
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

id!(
    /// A payment.
    PaymentId, "pay_", "a payment id"
);
id!(
    /// A domain event: a fact that committed. It is the `webhook-id` of every attempt.
    EventId, "evt_", "an event id"
);
id!(
    /// A merchant's endpoint; the key of its Kafka records and of its Restate object.
    EndpointId, "ep_", "an endpoint id"
);
id!(
    /// One event for one endpoint, until it is finished.
    DeliveryId, "dlv_", "a delivery id"
);
id!(
    /// One HTTP request of a delivery.
    AttemptId, "att_", "an attempt id"
);

impl EndpointId {
    /// No endpoint: of an announcement that is made to see whether announcements come through.
    pub const NOBODY: Self = Self(Uuid::nil());
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "0198c5a4-1111-7abc-8def-0123456789ab";

    #[test]
    fn an_id_survives_the_edge() {
        let text = format!("ep_{UUID}");
        let id: EndpointId = text.parse().expect("parses");
        assert_eq!(id.to_string(), text);
    }

    #[test]
    fn an_id_of_another_kind_is_refused_and_the_message_says_what_was_expected() {
        let error = format!("pay_{UUID}").parse::<EndpointId>().expect_err("wrong kind");
        assert!(error.to_string().contains("expected `ep_` followed by a UUID"), "{error}");
    }

    #[test]
    fn other_spellings_of_a_uuid_are_refused() {
        for text in ["ep_", "ep_0198c5a411117abc8def0123456789ab", "ep_{0198}", UUID, ""] {
            assert!(text.parse::<EndpointId>().is_err(), "{text}");
        }
    }
}
