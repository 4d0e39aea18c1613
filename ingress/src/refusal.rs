//! Why a request was not done, and the one table of what each front answers then.
//!
//! A message is for the caller: it names the field and what is allowed, or what to do next. What
//! must never be in one: a value that was sent, an SQL statement, an error of a library.

use std::time::Duration;

use domain::Invalid;
use http::StatusCode;
use store::StoreError;
use time::OffsetDateTime;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::at_work;
use crate::limits::REQUEST_TIMEOUT;

/// When to come again, if the fault is on our side.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// A field is not as it must be. Nothing was written.
    #[error("{field}: {allowed}")]
    Invalid { field: String, allowed: String },
    /// There is no such thing.
    #[error("there is no {0} with this id")]
    NotFound(&'static str),
    /// It is no more.
    #[error(
        "this endpoint was deleted at {}; its history and its deliveries are kept",
        domain::rfc3339_micros(*at)
    )]
    Deleted { at: OffsetDateTime },
    /// It is not in a state in which this can be done.
    #[error("{0}")]
    State(String),
    /// The id or key is taken.
    #[error("{field}: {problem}")]
    Taken { field: &'static str, problem: &'static str },
    /// The front has no such path.
    #[error("there is no such path")]
    NoSuchPath,
    /// The path takes other methods.
    #[error("this path does not take this method")]
    NoSuchMethod,
    /// The body is not declared to be JSON.
    #[error("content-type: must be application/json")]
    NotJson,
    /// Too much is going on.
    #[error("too many requests at once; retry with the same idempotency key")]
    Busy,
    /// The database is away. A write may or may not have been done.
    #[error("the database cannot be reached; retry with the same idempotency key")]
    Away(#[source] StoreError),
    /// It took too long. A write may or may not have been done.
    #[error("not done within {} s; retry with the same idempotency key", REQUEST_TIMEOUT.as_secs())]
    TooSlow,
    /// Ours. The log has it.
    #[error("an error of ours; it was logged")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Refusal {
    pub(crate) fn invalid(field: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), allowed: allowed.into() }
    }

    pub(crate) fn internal(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Internal(Box::new(error))
    }

    /// Which field it is about, if it is about one.
    pub(crate) fn field(&self) -> Option<&str> {
        match self {
            Self::Invalid { field, .. } => Some(field),
            Self::Taken { field, .. } => Some(field),
            _ => None,
        }
    }

    /// May the same request succeed a little later?
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Busy | Self::Away(_) | Self::TooSlow)
    }

    /// The table: what gRPC answers, what HTTP answers, and the name that JSON gives it.
    pub(crate) fn answer(&self) -> (Code, StatusCode, &'static str) {
        match self {
            Self::Invalid { .. } => {
                (Code::InvalidArgument, StatusCode::BAD_REQUEST, "invalid_argument")
            }
            Self::NotFound(_) | Self::Deleted { .. } | Self::NoSuchPath => {
                (Code::NotFound, StatusCode::NOT_FOUND, "not_found")
            }
            Self::State(_) => {
                (Code::FailedPrecondition, StatusCode::CONFLICT, "failed_precondition")
            }
            Self::Taken { .. } => (Code::AlreadyExists, StatusCode::CONFLICT, "already_exists"),
            Self::NoSuchMethod => {
                (Code::Unimplemented, StatusCode::METHOD_NOT_ALLOWED, "unimplemented")
            }
            Self::NotJson => {
                (Code::InvalidArgument, StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_argument")
            }
            Self::Busy | Self::Away(_) => {
                (Code::Unavailable, StatusCode::SERVICE_UNAVAILABLE, "unavailable")
            }
            Self::TooSlow => {
                (Code::DeadlineExceeded, StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded")
            }
            Self::Internal(_) => (Code::Internal, StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    /// Leaves a line in the log when an operator would ask for one.
    pub(crate) fn log(&self) {
        at_work::told(|route, trace_id| match self {
            Self::Internal(error) => {
                tracing::error!(route, trace_id, %error, "a request failed by our fault");
            }
            Self::Away(error) => {
                tracing::warn!(route, trace_id, %error, "a request failed: the database is away");
            }
            Self::Busy | Self::TooSlow => {
                tracing::warn!(route, trace_id, reason = %self, "a request was turned away");
            }
            _ => tracing::debug!(route, trace_id, reason = %self, "a request was refused"),
        });
    }
}

impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Self {
        Self::invalid(invalid.field, invalid.allowed)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error.constraint() {
            Some("payments_merchant_exists" | "endpoints_merchant_exists") => {
                Self::invalid("merchant_id", "must be the id of a merchant that exists")
            }
            _ if error.is_away() => Self::Away(error),
            _ => Self::internal(error),
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        refusal.log();
        let (code, _, name) = refusal.answer();
        let mut details = ErrorDetails::with_error_info(name.to_uppercase(), "posthorn", []);
        if let Refusal::Invalid { field, allowed } = &refusal {
            details.add_bad_request_violation(field, allowed);
        }
        if refusal.may_pass() {
            details.set_retry_info(Some(RETRY_AFTER));
        }
        Self::with_error_details(code, refusal.to_string(), details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_of_each() -> Vec<Refusal> {
        let away =
            || StoreError::Unreadable { table: "payments", what: "secret detail".to_owned() };
        vec![
            Refusal::invalid("amount", "must be 1 or more"),
            Refusal::NotFound("payment"),
            Refusal::Deleted { at: OffsetDateTime::UNIX_EPOCH },
            Refusal::State("the payment is refunded".to_owned()),
            Refusal::Taken { field: "merchant_id", problem: "is taken" },
            Refusal::NoSuchPath,
            Refusal::NoSuchMethod,
            Refusal::NotJson,
            Refusal::Busy,
            Refusal::Away(away()),
            Refusal::TooSlow,
            Refusal::internal(away()),
        ]
    }

    #[test]
    fn both_fronts_blame_the_same_side() {
        for refusal in one_of_each() {
            let (code, status, _) = refusal.answer();
            let ours = matches!(code, Code::Internal | Code::Unavailable | Code::DeadlineExceeded);
            assert_eq!(status.is_server_error(), ours, "{refusal:?}");
        }
    }

    #[test]
    fn what_may_pass_says_so_and_names_the_idempotency_key() {
        for refusal in one_of_each().into_iter().filter(Refusal::may_pass) {
            assert!(refusal.to_string().contains("same idempotency key"), "{refusal}");
            let status = Status::from(refusal);
            assert!(status.get_error_details().retry_info().is_some());
        }
    }

    #[test]
    fn a_bad_field_is_named_in_the_details_with_what_is_allowed() {
        let status = Status::from(Refusal::invalid("amount", "must be 1 or more"));
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        let violation = &details.bad_request().expect("a bad request").field_violations[0];
        assert_eq!((&*violation.field, &*violation.description), ("amount", "must be 1 or more"));
    }

    #[test]
    fn what_went_wrong_inside_is_not_told_outside() {
        for refusal in one_of_each() {
            assert!(!Status::from(refusal).message().contains("secret detail"));
        }
    }
}
