//! TLS to merchants: 1.2 or newer, verified against public authorities that come with the build.
//!
//! A handshake never falls back to anything weaker, and its failures are told apart, because a
//! merchant can only repair what is named.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::attempt::Code;

/// HTTP/2's name in the negotiation of the protocol.
pub(crate) const HTTP2: &[u8] = b"h2";

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read as PEM.
    #[error("cannot read certificates from {path}")]
    Pem {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// The file has no certificate.
    #[error("{path} has no certificate")]
    NoCertificate {
        /// Which file.
        path: PathBuf,
    },
    /// A certificate that no authority could use, or a library that lacks what it needs.
    #[error("TLS cannot be set up")]
    Setup(#[from] rustls::Error),
}

/// Reads certificates of authorities from a PEM file.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| TlsError::Pem { path: path.to_owned(), source })?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(certificates)
}

/// The connector for every merchant, trusting `extra` authorities beside the public ones.
pub(crate) fn connector(extra: &[CertificateDer<'static>]) -> Result<TlsConnector, TlsError> {
    let mut roots = RootCertStore::empty();
    // Bundled, so that what is trusted is part of the build and not of the machine.
    for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        roots.add(root.clone())?;
    }
    for root in extra {
        roots.add(root.clone())?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        // 1.0 and 1.1 are broken; rustls has no older ones.
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_root_certificates(roots)
        // We prove who we are by our signature, not by a certificate.
        .with_no_client_auth();
    config.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
    // Each connection is verified in full: a resumed one would not look at the certificate again.
    config.resumption = Resumption::disabled();
    // A request that is sent early can be repeated by whoever recorded it.
    config.enable_early_data = false;
    Ok(TlsConnector::from(Arc::new(config)))
}

/// What went wrong with a handshake, and the library's word for it where that is safe to show.
pub(crate) fn explain(error: &std::io::Error) -> (Code, String) {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let code = match inner {
        Some(rustls::Error::InvalidCertificate(certificate)) => match certificate {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Code::TlsCertificateExpired,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Code::TlsCertificateName
            }
            CertificateError::UnknownIssuer => Code::TlsCertificateUnknown,
            _ => Code::TlsCertificateInvalid,
        },
        _ => Code::TlsHandshake,
    };
    let sentence = match (code, inner) {
        (Code::TlsCertificateExpired, _) => "The certificate is not valid at this time.".to_owned(),
        (Code::TlsCertificateName, _) => "The certificate is for another host name.".to_owned(),
        (Code::TlsCertificateUnknown, _) => {
            "The certificate is not signed by a known authority; is an intermediate certificate \
             missing?"
                .to_owned()
        }
        (
            Code::TlsCertificateInvalid,
            Some(rustls::Error::InvalidCertificate(
                CertificateError::UnsupportedSignatureAlgorithmContext { .. }
                | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. },
            )),
        ) => {
            "The certificate is signed in a way that is not believed any more, such as with SHA-1."
                .to_owned()
        }
        (Code::TlsCertificateInvalid, _) => "The certificate is not valid.".to_owned(),
        (_, Some(rustls::Error::AlertReceived(alert))) => {
            format!("The TLS handshake failed: the server sent the alert {alert:?}.")
        }
        (_, Some(rustls::Error::PeerIncompatible(reason))) => format!(
            "The TLS handshake failed: {reason:?}. TLS 1.2 or 1.3 with a forward-secret cipher is \
             needed."
        ),
        _ => "The TLS handshake failed; does the server speak TLS on this port?".to_owned(),
    };
    (code, sentence)
}
