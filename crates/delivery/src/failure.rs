//! What ends an attempt without an answer: its outcome, its code, its sentence, in one value.
//!
//! The one place where a failure of IO becomes one of the domain's outcomes. Errors are told apart
//! by their types, never by their texts, and nothing of an error's text reaches a merchant unless
//! it was written here.

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use domain::{Fault, Outcome, Unwell};
use nix::errno::Errno;

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

    /// The connection to `address` could not be made.
    pub(crate) fn connect(error: &io::Error, address: IpAddr) -> Self {
        if let Some((code, sentence)) = of_this_worker(error, address) {
            return Self::fault(Fault::CannotConnect, code, sentence);
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::unwell(
                Unwell::Connect,
                Code::ConnectRefused,
                "The connection was refused: nothing listens there, or a firewall rejects it.",
            ),
            io::ErrorKind::TimedOut => Self::connect_timeout(),
            _ => Self::connect_failed(),
        }
    }

    /// This worker lacks what a connection, to whomever, needs; none: it is something else.
    pub(crate) fn no_resources(error: &io::Error) -> Option<Self> {
        let (code, sentence) = of_this_worker(error, Ipv4Addr::UNSPECIFIED.into())?;
        (code == Code::NoResources).then(|| Self::fault(Fault::CannotConnect, code, sentence))
    }

    /// It is not known why there is no connection.
    pub(crate) fn connect_failed() -> Self {
        Self::unwell(Unwell::Connect, Code::ConnectFailed, "The connection could not be made.")
    }

    /// What is to be told when one of a host's addresses failed like this and another like `other`: that
    /// we could not try one; else what the merchant did; that no way leads to one comes last.
    pub(crate) fn or(self, other: Self) -> Self {
        let weight = |failure: &Self| match failure.code {
            Code::NoResources => 2,
            Code::NoRoute | Code::LocalFirewall => 0,
            _ => 1,
        };
        if weight(&other) >= weight(&self) { other } else { self }
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

/// Why this worker, and not the host at `address`, is in the way of a connection, if it is.
fn of_this_worker(error: &io::Error, address: IpAddr) -> Option<(Code, &'static str)> {
    Some(match Errno::from_raw(error.raw_os_error()?) {
        Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM => (
            Code::NoResources,
            "We had no file descriptor or memory left for a connection; no request was made.",
        ),
        // Of IPv6 it means, as a rule, that there is none here.
        Errno::EADDRNOTAVAIL if address.is_ipv4() => {
            (Code::NoResources, "We had no port left for a connection; no request was made.")
        }
        // A worker without IPv6, or off the net, hears this of every merchant, and would have them
        // all disabled. That a router on the way says it of one merchant is rare, and costs us one
        // endpoint to look at. (`EHOSTUNREACH` is that router's usual word: the merchant's.)
        Errno::ENETUNREACH | Errno::ENETDOWN | Errno::EADDRNOTAVAIL | Errno::EAFNOSUPPORT => {
            (Code::NoRoute, "There is no route from us to the host's address; no request was made.")
        }
        // Of a firewall on the way nothing is heard, or `EHOSTUNREACH`; of IPv6 `EACCES`, too.
        Errno::EACCES if address.is_ipv6() => return None,
        Errno::EACCES | Errno::EPERM => (
            Code::LocalFirewall,
            "Our own firewall does not let the connection out; no request was made.",
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(errno: Errno, address: &str) -> Code {
        let error = io::Error::from_raw_os_error(errno as i32);
        let failure = Failure::connect(&error, address.parse().expect("an address"));
        let is_ours = matches!(failure.outcome, Outcome::Fault { fault: Fault::CannotConnect });
        let is_local = [Code::NoResources, Code::NoRoute, Code::LocalFirewall];
        assert_eq!(is_ours, is_local.contains(&failure.code), "{failure:?}");
        failure.code
    }

    #[test]
    fn what_this_worker_lacks_is_no_merchants_fault() {
        const IPV4: &str = "93.184.216.34";
        const IPV6: &str = "2606:4700::1";
        for (errno, of_ipv4, of_ipv6) in [
            (Errno::EMFILE, Code::NoResources, Code::NoResources),
            (Errno::ENFILE, Code::NoResources, Code::NoResources),
            (Errno::ENOBUFS, Code::NoResources, Code::NoResources),
            (Errno::ENOMEM, Code::NoResources, Code::NoResources),
            (Errno::EADDRNOTAVAIL, Code::NoResources, Code::NoRoute),
            (Errno::EAFNOSUPPORT, Code::NoRoute, Code::NoRoute),
            (Errno::ENETUNREACH, Code::NoRoute, Code::NoRoute),
            (Errno::ENETDOWN, Code::NoRoute, Code::NoRoute),
            (Errno::EACCES, Code::LocalFirewall, Code::ConnectFailed),
            (Errno::EPERM, Code::LocalFirewall, Code::LocalFirewall),
            (Errno::EHOSTUNREACH, Code::ConnectFailed, Code::ConnectFailed),
            (Errno::ECONNRESET, Code::ConnectFailed, Code::ConnectFailed),
            (Errno::ECONNREFUSED, Code::ConnectRefused, Code::ConnectRefused),
            (Errno::ETIMEDOUT, Code::ConnectTimeout, Code::ConnectTimeout),
        ] {
            assert_eq!((code(errno, IPV4), code(errno, IPV6)), (of_ipv4, of_ipv6), "{errno}");
        }
    }

    #[test]
    fn of_several_addresses_a_merchants_refusal_counts_more_than_a_route_that_is_missing() {
        let of = |errno: Errno| {
            let error = io::Error::from_raw_os_error(errno as i32);
            Failure::connect(&error, IpAddr::from([93, 184, 216, 34]))
        };
        for (one, other, told) in [
            (Errno::ECONNREFUSED, Errno::ENETUNREACH, Code::ConnectRefused),
            (Errno::ECONNREFUSED, Errno::EMFILE, Code::NoResources),
            (Errno::ENETUNREACH, Errno::EMFILE, Code::NoResources),
            (Errno::ENETUNREACH, Errno::EPERM, Code::LocalFirewall),
        ] {
            assert_eq!(of(one).or(of(other)).code, told);
        }
        assert_eq!(of(Errno::ENETUNREACH).or(of(Errno::ECONNREFUSED)).code, Code::ConnectRefused);
        assert_eq!(of(Errno::EMFILE).or(of(Errno::ECONNREFUSED)).code, Code::NoResources);
    }
}
