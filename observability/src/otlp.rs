//! Where spans are sent, and the connection to it: every limit that keeps it from holding anything
//! up is written here.
//!
//! A text enters, of which everything that can be refused is refused before anything starts; a
//! channel leaves that connects when there is something to send.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tonic::transport::{Channel, ClientTlsConfig, Endpoint, Uri};

/// Longest that one batch waits for its endpoint.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);
/// Batches that wait inside of the client: one is sent at a time, and one that was given up must
/// not stay behind while a connection is being made.
const BATCHES_WAITING_MAX: usize = 1;

/// Who takes spans, by OTLP over gRPC: `http://` or `https://`, a host, a port.
#[derive(Debug, Clone)]
pub struct OtlpEndpoint {
    text: String,
    endpoint: Endpoint,
    /// Longest that one batch waits for it.
    pub(crate) timeout: Duration,
}

/// Why a text is no OTLP endpoint.
#[derive(Debug, thiserror::Error)]
pub enum OtlpEndpointError {
    /// It is something else than a scheme, a host and a port.
    #[error(
        "use http://HOST:PORT or https://HOST:PORT and nothing more (OTLP over gRPC, most often \
         on port 4317; no user, no path)"
    )]
    Form,
    /// It is to be reached by TLS, and nobody is trusted here.
    #[error("{0}; SSL_CERT_FILE names a file of the certificates that are trusted")]
    Tls(String),
}

impl OtlpEndpoint {
    /// An endpoint for which each batch waits for `timeout` at most, and that is trusted by what `tls`
    /// says.
    pub(crate) fn new(
        text: &str,
        timeout: Duration,
        tls: ClientTlsConfig,
    ) -> Result<Self, OtlpEndpointError> {
        let uri: Uri = text.parse().map_err(|_| OtlpEndpointError::Form)?;
        let has_port = uri.authority().is_some_and(|place| {
            place.port_u16().is_some() && !place.host().is_empty() && !place.as_str().contains('@')
        });
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(OtlpEndpointError::Form),
        };
        if !has_port || uri.path_and_query().is_some_and(|path| path.as_str() != "/") {
            return Err(OtlpEndpointError::Form);
        }
        let mut endpoint = Endpoint::from(uri)
            // The kernel asks for two minutes. Half: the batch that waits for it hears why.
            .connect_timeout(timeout / 2)
            // A connection that has become a black hole is noticed and made anew; asked only while a
            // batch is under way and nothing comes back.
            .http2_keep_alive_interval(timeout)
            .keep_alive_timeout(timeout)
            .keep_alive_while_idle(false)
            .buffer_size(BATCHES_WAITING_MAX);
        if is_tls {
            endpoint = endpoint.tls_config(tls.timeout(timeout / 2)).map_err(|error| {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                OtlpEndpointError::Tls(cause.unwrap_or_else(|| error.to_string()))
            })?;
        }
        Ok(Self { text: text.to_owned(), endpoint, timeout })
    }

    /// A connection, made when it is first needed. Inside a Tokio runtime.
    pub(crate) fn channel(&self) -> Channel {
        self.endpoint.connect_lazy()
    }
}

impl FromStr for OtlpEndpoint {
    type Err = OtlpEndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Whom this machine trusts, or SSL_CERT_FILE names: a collector's authority is seldom public.
        Self::new(text, EXPORT_TIMEOUT, ClientTlsConfig::new().with_native_roots())
    }
}

impl fmt::Display for OtlpEndpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_scheme_no_port_or_more_than_these_is_refused() {
        for text in [
            "",
            "foo",
            "localhost:4317",
            "http://localhost",
            "grpc://localhost:4317",
            "unix:///run/otlp",
            "http://:4317",
            "http://me:secret@localhost:4317",
            "http://localhost:4318/v1/traces",
            "http://localhost:4317/?token=secret",
        ] {
            let refused = OtlpEndpoint::from_str(text).map(|endpoint| endpoint.to_string());
            assert!(matches!(refused, Err(OtlpEndpointError::Form)), "{text}: {refused:?}");
        }
        for text in ["http://127.0.0.1:4317", "http://[::1]:4317", "http://collector:4317/"] {
            let taken = OtlpEndpoint::from_str(text).map(|endpoint| endpoint.to_string());
            assert_eq!(taken.ok().as_deref(), Some(text));
        }
    }
}
