//! What ends an attempt without an answer: its outcome, its code, its sentence, in one value.
//!
//! The one place where a failure of IO becomes one of the domain's outcomes. Errors are told apart
//! by their types, never by their texts, and nothing of an error's text reaches a merchant unless
//! it was written here.

use std::error::Error;
use std::io;

use domain::{Fault, Outcome, Unwell};

use crate::attempt::Code;

/// Why an attempt has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) outcome: Outcome,
    pub(crate) code: Code,
    pub(crate) sentence: String,
}

impl Failure {
    pub(crate) fn unwell(cause: Unwell, code: Code, sentence: impl Into<String>) -> Self {
        let outcome = Outcome::Unwell { cause, retry_after: None };
        Self { outcome, code, sentence: sentence.into() }
    }

    pub(crate) fn fault(fault: Fault, code: Code, sentence: impl Into<String>) -> Self {
        Self { outcome: Outcome::Fault { fault }, code, sentence: sentence.into() }
    }

    /// A payload that cannot be sent.
    pub(crate) fn payload(fault: Fault) -> Self {
        match fault {
            Fault::PayloadTooLarge => Self::fault(
                fault,
                Code::PayloadTooLarge,
                "The event is larger than 256 KiB and was not sent.",
            ),
            _ => Self::fault(
                fault,
                Code::PayloadInvalid,
                "The event's data is not JSON and was not sent.",
            ),
        }
    }

    /// The connection could not be made.
    pub(crate) fn connect(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::unwell(
                Unwell::Connect,
                Code::ConnectRefused,
                "The connection was refused: nothing listens there, or a firewall rejects it.",
            ),
            io::ErrorKind::TimedOut => Self::connect_timeout(),
            _ => Self::unwell(
                Unwell::Connect,
                Code::ConnectFailed,
                "The connection could not be made.",
            ),
        }
    }

    /// TCP and TLS took too long.
    pub(crate) fn connect_timeout() -> Self {
        Self::unwell(
            Unwell::Connect,
            Code::ConnectTimeout,
            "The connection, TLS included, was not ready in time.",
        )
    }

    /// The server ended the connection with an alert of TLS.
    pub(crate) fn alert(alert: rustls::AlertDescription) -> Self {
        Self::unwell(
            Unwell::Tls,
            Code::TlsHandshake,
            format!("The server refused the connection with the TLS alert {alert:?}."),
        )
    }

    /// The whole attempt took too long.
    pub(crate) fn timeout(timeout: std::time::Duration) -> Self {
        Self::unwell(
            Unwell::Timeout,
            Code::Timeout,
            format!("There was no whole answer within {} s.", timeout.as_secs_f32()),
        )
    }

    /// More came than an attempt may receive.
    pub(crate) fn too_large() -> Self {
        Self::unwell(
            Unwell::Protocol,
            Code::ResponseTooLarge,
            "The answer's head is larger than 32 KiB or has more than 100 lines, or too much came \
             before it.",
        )
    }

    /// What came is not HTTP.
    pub(crate) fn invalid_response() -> Self {
        Self::unwell(
            Unwell::Protocol,
            Code::InvalidResponse,
            "What came back is not a valid HTTP answer.",
        )
    }

    /// The exchange broke before the answer's head was whole.
    pub(crate) fn exchange(error: &hyper::Error) -> Self {
        if error.is_parse_too_large() {
            return Self::too_large();
        }
        if error.is_parse() {
            return Self::invalid_response();
        }
        match io_kind(error) {
            Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => Self::unwell(
                Unwell::Protocol,
                Code::ConnectionReset,
                "The connection was reset before the answer was there.",
            ),
            // HTTP/2's own errors carry no kind of IO; a peer that breaks its rules is no HTTP.
            None if !error.is_incomplete_message()
                && !error.is_closed()
                && !error.is_canceled() =>
            {
                Self::invalid_response()
            }
            _ => Self::closed(),
        }
    }

    /// The connection ended before the answer's head was whole.
    pub(crate) fn closed() -> Self {
        Self::unwell(
            Unwell::Protocol,
            Code::ConnectionClosed,
            "The connection was closed before the answer was there.",
        )
    }
}

/// The kind of the IO error beneath `error`, if there is one.
fn io_kind(error: &hyper::Error) -> Option<io::ErrorKind> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        source = error.source();
    }
    None
}
