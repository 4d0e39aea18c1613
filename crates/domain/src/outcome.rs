//! What an attempt came to: a value, never an error.
//!
//! The delivery client makes one of these of whatever a merchant does; the rules in
//! `endpoint::decide` read nothing else about an attempt. Table: ARCHITECTURE.md, "Who is down".

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "class", rename_all = "snake_case")]
pub enum Outcome {
    /// 2xx: the merchant has it.
    Delivered {
        /// The status, 200 to 299.
        status: u16,
    },
    /// The endpoint is unwell: everything of this endpoint waits.
    Unwell {
        /// What was seen.
        cause: Unwell,
        /// What the merchant asked for, already bounded by the delivery client.
        retry_after: Option<Duration>,
    },
    /// This event was refused: it steps aside, the next ones go on.
    Refused {
        /// The status, 300 to 499 without those that mean unwell or gone.
        status: u16,
    },
    /// 410: the merchant says the endpoint is no more.
    Gone,
    /// Ours or configuration: never burns the merchant's schedule.
    Fault {
        /// What stands in the way.
        fault: Fault,
    },
}

/// How an endpoint is unwell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unwell {
    /// The host's name could not be resolved.
    Dns,
    /// No connection.
    Connect,
    /// No TLS.
    Tls,
    /// No whole answer within the attempt's deadline.
    Timeout,
    /// The connection broke, or what came was no HTTP or over its bounds.
    Protocol,
    /// A status that says so: 408, 425, 429 or 5xx.
    Status(u16),
}

/// What stands in the way on our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The address or the URL is not one that may be reached. Of the whole endpoint.
    Blocked,
    /// No secret of the endpoint could be opened. Of the whole endpoint.
    Secret,
    /// Our own name servers do not answer, whatever they are asked. Of the whole endpoint.
    NamesUnavailable,
    /// The worker itself can make no connection: it is out of descriptors, ports or memory, has no
    /// route, or its own firewall is in the way. Of the whole endpoint.
    CannotConnect,
    /// The data service could not be asked. Of the whole endpoint.
    PayloadUnavailable,
    /// The data service says that there is no such object. Of this delivery.
    PayloadMissing,
    /// The body would be over its bound. Of this delivery.
    PayloadTooLarge,
    /// The data is not JSON. Of this delivery.
    PayloadInvalid,
    /// Too many attempts were in flight in this worker; no request was made. Of the whole endpoint.
    Busy,
}

impl Fault {
    /// Every one of them.
    pub const ALL: [Self; 9] = [
        Self::Blocked,
        Self::Secret,
        Self::NamesUnavailable,
        Self::CannotConnect,
        Self::PayloadUnavailable,
        Self::PayloadMissing,
        Self::PayloadTooLarge,
        Self::PayloadInvalid,
        Self::Busy,
    ];

    /// The one that has this code; none: no version of ours wrote it.
    pub fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.code() == code)
    }

    /// Does it stand in the way of every delivery of the endpoint, or of this one only?
    pub const fn is_of_the_endpoint(self) -> bool {
        matches!(
            self,
            Self::Blocked
                | Self::Secret
                | Self::NamesUnavailable
                | Self::CannotConnect
                | Self::PayloadUnavailable
                | Self::Busy
        )
    }

    /// Its stable code, as tables, logs and Restate's view have it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Secret => "secret_unavailable",
            Self::NamesUnavailable => "names_unavailable",
            Self::CannotConnect => "cannot_connect",
            Self::PayloadUnavailable => "payload_unavailable",
            Self::PayloadMissing => "payload_missing",
            Self::PayloadTooLarge => "payload_too_large",
            Self::PayloadInvalid => "payload_invalid",
            Self::Busy => "busy",
        }
    }
}

impl Unwell {
    /// Did the endpoint answer in HTTP, or was there no answer at all?
    pub const fn is_an_answer(self) -> bool {
        matches!(self, Self::Status(_))
    }

    /// Its stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::Status(_) => "status",
        }
    }
}

impl Outcome {
    /// What a complete answer with this status means.
    pub const fn of_status(status: u16, retry_after: Option<Duration>) -> Self {
        match status {
            200..=299 => Self::Delivered { status },
            410 => Self::Gone,
            408 | 425 | 429 | 500.. => Self::Unwell { cause: Unwell::Status(status), retry_after },
            _ => Self::Refused { status },
        }
    }

    /// The stable name of its class.
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Delivered { .. } => "delivered",
            Self::Unwell { .. } => "unwell",
            Self::Refused { .. } => "refused",
            Self::Gone => "gone",
            Self::Fault { .. } => "fault",
        }
    }

    /// The HTTP status, when there was one.
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Delivered { status }
            | Self::Refused { status }
            | Self::Unwell { cause: Unwell::Status(status), .. } => Some(*status),
            Self::Gone => Some(410),
            Self::Unwell { .. } | Self::Fault { .. } => None,
        }
    }

    /// The stable code of what went wrong, if anything did.
    pub const fn code(&self) -> Option<&'static str> {
        match self {
            Self::Delivered { .. } => None,
            Self::Unwell { cause, .. } => Some(cause.code()),
            Self::Refused { .. } => Some("refused"),
            Self::Gone => Some("gone"),
            Self::Fault { fault } => Some(fault.code()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_the_class_that_the_table_gives_it() {
        let class = |status| Outcome::of_status(status, None).class();
        for status in 100..=999_u16 {
            let expected = match status {
                200..=299 => "delivered",
                410 => "gone",
                408 | 425 | 429 => "unwell",
                500.. => "unwell",
                _ => "refused",
            };
            assert_eq!(class(status), expected, "{status}");
        }
    }
}
