//! What an attempt came to, and what is kept of it.
//!
//! The outcome is what the domain decides by; the detail is for people and is stored as JSON with
//! the attempt. It holds no secret, no header and no URL, and its texts are safe to print: the
//! receiver wrote part of them.

use std::net::SocketAddr;
use std::time::Duration;

use domain::Outcome;
use serde::{Deserialize, Serialize};

/// One attempt, done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What it came to.
    pub outcome: Outcome,
    /// How long it took, the wait for a free place not counted.
    pub duration: Duration,
    /// What is kept of it.
    pub detail: Detail,
}

/// What is kept of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// What went wrong, as a stable code.
    pub code: Option<Code>,
    /// The same for the merchant, in a sentence.
    pub sentence: String,
    /// The address that was connected to.
    pub address: Option<SocketAddr>,
    /// Did the connection serve an earlier attempt?
    pub reused_connection: bool,
    /// The answer's version of HTTP: `HTTP/1.1` or `HTTP/2.0`.
    pub http_version: Option<String>,
    /// Where the time went.
    pub split: Split,
    /// The beginning of the answer's body, at most 4 KiB.
    pub excerpt: Option<String>,
    /// Bytes of the answer's body that were read.
    pub body_bytes: usize,
    /// Was there more of the body than we read?
    pub body_truncated: bool,
}

/// Where an attempt's time went, each part in microseconds; a part that did not happen is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Waiting for a free place, before the attempt began.
    pub wait_us: Option<u64>,
    /// Resolving the name.
    pub dns_us: Option<u64>,
    /// Connecting by TCP.
    pub connect_us: Option<u64>,
    /// The TLS handshake.
    pub tls_us: Option<u64>,
    /// From the first byte sent to the answer's head.
    pub first_byte_us: Option<u64>,
    /// From the head to the last byte that was read.
    pub body_us: Option<u64>,
    /// All of it, without the wait.
    pub total_us: u64,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// What went wrong, finer than the outcome. Stable: stored, shown, counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $code)] $name,)*
        }

        impl Code {
            /// Every code, for documentation and metrics.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The code as text.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }
        }
    };
}

codes! {
    /// The URL is refused.
    UrlRefused = "url_refused",
    /// The address is refused.
    AddressRefused = "address_refused",
    /// One name led to addresses that may be reached and to others.
    MixedAddresses = "mixed_addresses",
    /// The egress proxy refused to connect.
    ProxyRefused = "proxy_refused",
    /// The egress proxy cannot be reached, or broke off.
    ProxyUnavailable = "proxy_unavailable",
    /// No secret to sign with.
    NoSecret = "no_secret",
    /// The payload is larger than its bound.
    PayloadTooLarge = "payload_too_large",
    /// The payload is not JSON.
    PayloadInvalid = "payload_invalid",
    /// No place was free in time.
    Busy = "busy",
    /// No such name, or no address behind it.
    DnsNotFound = "dns_not_found",
    /// The name servers failed.
    DnsFailed = "dns_failed",
    /// The name servers did not answer in time.
    DnsTimeout = "dns_timeout",
    /// Our own name servers do not answer, whatever they are asked.
    NamesUnavailable = "names_unavailable",
    /// The worker has no descriptor, port or memory left for a connection.
    NoResources = "no_resources",
    /// The worker's network has no route to the address.
    NoRoute = "no_route",
    /// The worker's own firewall does not let the connection out.
    LocalFirewall = "local_firewall",
    /// The connection was refused.
    ConnectRefused = "connect_refused",
    /// Another failure to connect.
    ConnectFailed = "connect_failed",
    /// TCP and TLS were not ready in time.
    ConnectTimeout = "connect_timeout",
    /// The certificate is not valid yet or no longer.
    TlsCertificateExpired = "tls_certificate_expired",
    /// The certificate is for another name.
    TlsCertificateName = "tls_certificate_name",
    /// The certificate is of nobody that we know.
    TlsCertificateUnknown = "tls_certificate_unknown",
    /// Another fault of the certificate.
    TlsCertificateInvalid = "tls_certificate_invalid",
    /// The handshake failed.
    TlsHandshake = "tls_handshake",
    /// No whole head of an answer in time.
    Timeout = "timeout",
    /// The connection ended before the answer's head was whole.
    ConnectionClosed = "connection_closed",
    /// The connection was reset before the answer's head was whole.
    ConnectionReset = "connection_reset",
    /// What came is not HTTP.
    InvalidResponse = "invalid_response",
    /// The answer's head is over its bounds, or too much came before it.
    ResponseTooLarge = "response_too_large",
    /// The receiver answered with a status that is no success.
    Status = "status",
    /// The receiver answered with a redirect, which is never followed.
    Redirect = "redirect",
    /// The receiver says that the endpoint is gone.
    Gone = "gone",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_survives_the_database() {
        for &code in Code::ALL {
            let detail = Detail {
                code: Some(code),
                sentence: "It did not answer.".to_owned(),
                address: "[2606:4700::1]:443".parse().ok(),
                reused_connection: false,
                http_version: Some("HTTP/1.1".to_owned()),
                split: Split { dns_us: Some(7), total_us: 9, ..Split::default() },
                excerpt: Some("no".to_owned()),
                body_bytes: 2,
                body_truncated: false,
            };
            let json = serde_json::to_value(&detail).expect("JSON");
            assert_eq!(json["code"], code.as_str());
            assert_eq!(serde_json::from_value::<Detail>(json).expect("a detail"), detail);
        }
    }
}
