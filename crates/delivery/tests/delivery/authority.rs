//! Certificates for the tests: an authority of their own, servers that it signs, and a client that
//! trusts it.

use std::sync::Arc;

use posthorn_delivery::{Client, ClientConfig, NameTable};
use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, DnType, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ResolvesServerCertUsingSni, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use time::{Duration, OffsetDateTime};

use crate::setup::{config, table};

pub(crate) const HOST: &str = "merchant.example";

/// An authority of the test's own.
pub(crate) struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn named(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate").der().clone();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A server's side of TLS, valid from and until so many days from now.
    pub(crate) fn server(&self, host: &str, days: (i64, i64), alpn: &[&str]) -> ServerConfig {
        let (chain, key) = self.identity(host, days, None);
        let mut config =
            versions().with_no_client_auth().with_single_cert(chain, key).expect("a server");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    /// One that speaks only to who names it, as the first thing said (SNI).
    pub(crate) fn server_that_must_be_named(&self) -> ServerConfig {
        let (chain, key) = self.identity(HOST, (-1, 1), None);
        let provider = rustls::crypto::ring::default_provider();
        let key = CertifiedKey::from_der(chain, key, &provider).expect("a key");
        let mut names = ResolvesServerCertUsingSni::new();
        names.add(HOST, key).expect("a name");
        versions().with_no_client_auth().with_cert_resolver(Arc::new(names))
    }

    /// One whose certificate says where the list of revoked ones is.
    pub(crate) fn server_with_revocations_at(&self, url: &str) -> ServerConfig {
        let (chain, key) = self.identity(HOST, (-1, 1), Some(url));
        versions().with_no_client_auth().with_single_cert(chain, key).expect("a server")
    }

    /// One that wants a certificate of who calls.
    pub(crate) fn server_that_asks_who_calls(&self) -> ServerConfig {
        let (chain, key) = self.identity(HOST, (-1, 1), None);
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        versions()
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_single_cert(chain, key)
            .expect("a server")
    }

    fn identity(
        &self,
        host: &str,
        days: (i64, i64),
        revocations: Option<&str>,
    ) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("parameters");
        params.not_before = OffsetDateTime::now_utc() + Duration::days(days.0);
        params.not_after = OffsetDateTime::now_utc() + Duration::days(days.1);
        params.crl_distribution_points = revocations
            .map(|url| CrlDistributionPoint { uris: vec![url.to_owned()] })
            .into_iter()
            .collect();
        let certificate = params.signed_by(&key, &self.issuer).expect("signed").der().clone();
        (vec![certificate], PrivateKeyDer::try_from(key.serialize_der()).expect("a key"))
    }
}

/// A server that signed for itself.
pub(crate) fn self_signed() -> ServerConfig {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![HOST.to_owned()]).expect("parameters");
    let certificate = params.self_signed(&key).expect("a certificate").der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    versions().with_no_client_auth().with_single_cert(vec![certificate], key).expect("a server")
}

pub(crate) fn versions() -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
}

pub(crate) fn client_trusting(authority: &Authority, port: u16) -> Client {
    let names = table(HOST, &[&["127.0.0.1"]]);
    Client::new(config_trusting(authority, names, port)).expect("a client")
}

pub(crate) fn config_trusting(authority: &Authority, names: NameTable, port: u16) -> ClientConfig {
    ClientConfig {
        extra_authorities: vec![authority.certificate.clone()],
        ..config(names, &[port])
    }
}
