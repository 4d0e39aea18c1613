//! The spans of an attempt, for traces: guard, connect, POST.
//!
//! A host and a port are told, an address, a status, a code. What must never stand in one: a path
//! or a query of the merchant's URL, which may hold a token; a header; a byte of either body.

use std::net::SocketAddr;

use domain::guard::{CanonicalUrl, Host};
use tracing::{Span, field};

use crate::attempt::Code;
use crate::failure::Failure;

/// Spans for traces, which logs leave out; the name is observability's.
const TARGET: &str = "posthorn::span";

/// Asking name servers for the host, and judging every address behind it.
pub(crate) fn guard(url: &CanonicalUrl) -> Span {
    tracing::info_span!(
        target: TARGET,
        "guard",
        otel.kind = "client",
        otel.status_code = field::Empty,
        server.address = host(url),
        error.type = field::Empty,
    )
}

/// TCP, and TLS above it.
pub(crate) fn connect(url: &CanonicalUrl) -> Span {
    tracing::info_span!(
        target: TARGET,
        "connect",
        otel.kind = "client",
        otel.status_code = field::Empty,
        url.scheme = scheme(url),
        server.address = host(url),
        server.port = i64::from(url.port()),
        network.peer.address = field::Empty,
        network.peer.port = field::Empty,
        error.type = field::Empty,
    )
}

/// The request, from its first byte to the last that was read of its answer.
pub(crate) fn post(url: &CanonicalUrl, address: SocketAddr, is_reused: bool, bytes: usize) -> Span {
    tracing::info_span!(
        target: TARGET,
        "POST",
        otel.kind = "client",
        otel.status_code = field::Empty,
        http.request.method = "POST",
        http.request.body.size = i64::try_from(bytes).unwrap_or(i64::MAX),
        http.response.status_code = field::Empty,
        network.protocol.version = field::Empty,
        network.peer.address = %address.ip(),
        network.peer.port = i64::from(address.port()),
        url.scheme = scheme(url),
        server.address = host(url),
        server.port = i64::from(url.port()),
        posthorn.connection.reused = is_reused,
        error.type = field::Empty,
    )
}

/// Who was connected to, or why nobody was.
pub(crate) fn connected(span: &Span, address: Option<SocketAddr>, failure: Option<&Failure>) {
    if let Some(address) = address {
        span.record("network.peer.address", field::display(address.ip()));
        span.record("network.peer.port", i64::from(address.port()));
    }
    if let Some(failure) = failure {
        failed(span, failure.code);
    }
}

/// What a request was answered.
pub(crate) fn answered(span: &Span, status: u16, version: http::Version) {
    span.record("http.response.status_code", i64::from(status));
    span.record(
        "network.protocol.version",
        if version == http::Version::HTTP_2 { "2" } else { "1.1" },
    );
    if status >= 400 {
        span.record("error.type", field::display(status));
        span.record("otel.status_code", "ERROR");
    }
}

/// Why there is no answer.
pub(crate) fn failed(span: &Span, code: Code) {
    span.record("error.type", code.as_str());
    span.record("otel.status_code", "ERROR");
}

fn scheme(url: &CanonicalUrl) -> &'static str {
    if url.is_https() { "https" } else { "http" }
}

fn host(url: &CanonicalUrl) -> String {
    match url.host() {
        Host::Name(name) => name.to_owned(),
        Host::Localhost => "localhost".to_owned(),
        Host::Address(address) => address.to_string(),
    }
}
