//! The operator's egress proxy: one CONNECT through it for every connection to a merchant.
//!
//! An explicit option, never taken from the environment's `http_proxy`. The proxy resolves the
//! merchant's name, so what the guard judges is the URL and an address that stands in it. What goes
//! wrong at the proxy itself is a fault of ours; what the proxy could not reach is the merchant's.

use std::str::FromStr;

use domain::guard::{CanonicalUrl, Host};
use domain::{Fault, Unwell};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::attempt::Code;
use crate::failure::Failure;
use crate::limits::PROXY_HEAD_BYTES_MAX;

/// Where the proxy is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressProxy {
    host: String,
    port: u16,
}

/// Why a text is no proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected http://host:port, without a path, user or password")]
pub struct ProxyError;

impl FromStr for EgressProxy {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Self, ProxyError> {
        let authority = text.trim().strip_prefix("http://").ok_or(ProxyError)?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let authority: http::uri::Authority = authority.parse().map_err(|_| ProxyError)?;
        let port = authority.port_u16().filter(|port| *port > 0).ok_or(ProxyError)?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(ProxyError);
        }
        // An IPv6 address stands in brackets there, and without them where it is connected to.
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        Ok(Self { host, port })
    }
}

impl EgressProxy {
    /// A connection to the proxy itself.
    pub(crate) async fn connect(&self) -> Result<TcpStream, Failure> {
        let connected = TcpStream::connect((self.host.as_str(), self.port)).await;
        connected.map_err(|error| Failure::no_resources(&error).unwrap_or_else(unreachable))
    }

    /// Asks the proxy on `tcp` for a tunnel to the host of `url`.
    pub(crate) async fn tunnel(
        &self,
        tcp: &mut TcpStream,
        url: &CanonicalUrl,
    ) -> Result<(), Failure> {
        let target = target(url);
        let request = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.map_err(|_| broken())?;
        match status(tcp).await? {
            200..=299 => Ok(()),
            // What the proxy could not reach.
            502 | 503 => Err(Failure::unwell(
                Unwell::Connect,
                Code::ConnectFailed,
                "The egress proxy could not connect to the host.",
            )),
            504 => Err(Failure::connect_timeout()),
            status => Err(Failure::fault(
                Fault::Blocked,
                Code::ProxyRefused,
                format!("The egress proxy refused the connection with {status}."),
            )),
        }
    }
}

/// `host:port`, as CONNECT wants it.
fn target(url: &CanonicalUrl) -> String {
    let port = url.port();
    match url.host() {
        Host::Address(std::net::IpAddr::V6(address)) => format!("[{address}]:{port}"),
        Host::Address(address) => format!("{address}:{port}"),
        Host::Localhost => format!("localhost:{port}"),
        Host::Name(name) => format!("{name}:{port}"),
    }
}

/// Reads the head of the proxy's answer and no byte more: what follows is the merchant's.
async fn status(tcp: &mut TcpStream) -> Result<u16, Failure> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= PROXY_HEAD_BYTES_MAX {
            return Err(broken());
        }
        head.push(tcp.read_u8().await.map_err(|_| broken())?);
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| broken())?;
    let is_http = line.starts_with("HTTP/1.");
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.filter(|_| is_http).ok_or_else(broken)
}

/// Nobody took the connection, or not in time: the merchant was never asked.
pub(crate) fn unreachable() -> Failure {
    Failure::fault(Fault::Blocked, Code::ProxyUnavailable, "The egress proxy cannot be reached.")
}

fn broken() -> Failure {
    Failure::fault(
        Fault::Blocked,
        Code::ProxyUnavailable,
        "The egress proxy broke off, or what it answered is no HTTP.",
    )
}
