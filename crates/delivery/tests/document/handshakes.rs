//! Receivers with which no TLS comes about, or none that may be trusted, and some that may be.

use std::sync::Arc;

use posthorn_delivery::{Client, ClientConfig};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::authority::{Authority, HOST, config_trusting, self_signed, versions};
use crate::field::{Case, Field};
use crate::receiver::{OK, Receiver, Script, Talk, answer_all, script};
use crate::setup::{request, table};

/// An authority, and a certificate that it signed with SHA-1, until 2126. Nothing that the tests
/// stand on can make one any more:
///
/// ```text
/// openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj '/CN=of old' \
///     -keyout of-old.key -out of-old.pem
/// openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj / -keyout sha1.key -out sha1.csr \
///     -addext subjectAltName=DNS:merchant.example
/// openssl x509 -req -sha1 -days 36500 -copy_extensions copy -in sha1.csr -CA of-old.pem -CAkey of-old.key \
///     -out sha1.pem
/// ```
const OF_OLD: &[u8] = include_bytes!("../data/of-old.pem");
const SHA1: &[u8] = include_bytes!("../data/sha1.pem");
const SHA1_KEY: &[u8] = include_bytes!("../data/sha1.key");

/// Waits for the client's hello and answers these bytes.
fn answers_hello(bytes: Vec<u8>) -> Script {
    script(move |mut talk: Talk| {
        let bytes = bytes.clone();
        async move {
            talk.read_some(5).await;
            talk.write(&bytes).await;
            talk.hold().await;
        }
    })
}

fn holds() -> Script {
    script(|mut talk: Talk| async move { talk.hold().await })
}

fn answers_well() -> Script {
    script(|talk| answer_all(talk, OK))
}

/// A server's hello that chooses this version and a cipher of its time.
fn hello(minor: u8) -> Vec<u8> {
    let body = [&[3, minor][..], &[7; 32], &[0, 0xc0, 0x13, 0]].concat();
    let length = u8::try_from(body.len()).expect("short");
    let handshake = [&[2, 0, 0, length][..], &body].concat();
    [&[22, 3, minor, 0, length + 4][..], &handshake].concat()
}

fn without_certificates() -> Vec<(&'static str, Script)> {
    vec![
        ("accepts and never speaks TLS", holds()),
        ("chooses TLS 1.0", answers_hello(hello(1))),
        ("chooses TLS 1.1", answers_hello(hello(2))),
        ("knows no TLS as new as ours, and says so", answers_hello(vec![21, 3, 1, 0, 2, 2, 70])),
        (
            "speaks plain HTTP where TLS should be",
            answers_hello(b"HTTP/1.1 400 Plain HTTP here\r\ncontent-length: 0\r\n\r\n".to_vec()),
        ),
    ]
}

fn with_certificates(ours: &Authority) -> Vec<(&'static str, ServerConfig)> {
    let stranger = Authority::named("a stranger");
    vec![
        ("has a certificate that has expired", ours.server(HOST, (-2, -1), &[])),
        ("has a certificate that is not valid yet", ours.server(HOST, (1, 2), &[])),
        ("has a certificate for another name", ours.server("other.example", (-1, 1), &[])),
        ("has a certificate that it signed itself", self_signed()),
        (
            "has a certificate of an authority that nobody knows",
            stranger.server(HOST, (-1, 1), &[]),
        ),
        ("has a certificate that is signed with SHA-1", signed_with_sha1()),
        // In TLS 1.3 it says so only after the request is on its way; nobody there has read it.
        ("demands a certificate of ours", ours.server_that_asks_who_calls()),
        ("speaks TLS only to who names it (SNI)", ours.server_that_must_be_named()),
    ]
}

fn signed_with_sha1() -> ServerConfig {
    let chain = vec![CertificateDer::from_pem_slice(SHA1).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(SHA1_KEY).expect("a key");
    versions().with_no_client_auth().with_single_cert(chain, key).expect("a server")
}

/// Each is hostile on its first connection, and on the next ones has a certificate that is good.
pub(crate) fn receivers(field: &mut Field) {
    let ours = Authority::named("ours");
    let good = acceptor(ours.server(HOST, (-1, 1), &[]));
    let mut run = |what: &str, hostile: Script, first: Option<TlsAcceptor>| {
        let receiver = Receiver::hostile_once_tls(hostile, first, good.clone());
        let receiver = field.there(receiver);
        let port = receiver.address.port();
        let client = field.here(async { client(&ours, port) });
        let request = &request(&format!("https://{HOST}:{port}/hook"));
        field.run(&Case {
            what,
            client: &client,
            receiver: &receiver,
            request,
            good_ones_before: 0,
        });
    };
    for (what, hostile) in without_certificates() {
        run(what, hostile, None);
    }
    for (what, server) in with_certificates(&ours) {
        run(what, answers_well(), Some(acceptor(server)));
    }
    run("speaks TLS and never answers", holds(), Some(good.clone()));
    nobody_asks_for_revocations(field, &ours);
}

fn nobody_asks_for_revocations(field: &mut Field, ours: &Authority) {
    let list = field.there(Receiver::start(answers_well()));
    let server = acceptor(ours.server_with_revocations_at(&list.url()));
    let receiver = field.there(Receiver::start_tls(answers_well(), server));
    let port = receiver.address.port();
    let client = field.here(async { client(ours, port) });
    let request = &request(&format!("https://{HOST}:{port}/hook"));
    let what = "has a certificate that was revoked: nobody asks";
    field.run(&Case { what, client: &client, receiver: &receiver, request, good_ones_before: 0 });
    assert_eq!(list.connections(), 0, "a certificate makes nobody call where it says");
}

fn acceptor(server: ServerConfig) -> TlsAcceptor {
    TlsAcceptor::from(Arc::new(server))
}

/// Trusts `ours`, and the one that signs with SHA-1.
fn client(ours: &Authority, port: u16) -> Client {
    let mut config: ClientConfig = config_trusting(ours, table(HOST, &[&["127.0.0.1"]]), port);
    config.extra_authorities.push(CertificateDer::from_pem_slice(OF_OLD).expect("a certificate"));
    Client::new(config).expect("a client")
}
