//! Receivers with which no TLS comes about, or none that may be trusted: nothing is sent to them.

use std::sync::Arc;

use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

use crate::authority::{Authority, HOST, client_trusting, self_signed};
use crate::hostile::write_row;
use crate::receiver::{OK, Receiver, Script, Talk, answer_all, script};
use crate::setup::request;

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

/// A server's hello that chooses this version and a cipher of its time.
fn hello(minor: u8) -> Vec<u8> {
    let body = [&[3, minor][..], &[7; 32], &[0, 0xc0, 0x13, 0]].concat();
    let length = u8::try_from(body.len()).expect("short");
    let handshake = [&[2, 0, 0, length][..], &body].concat();
    [&[22, 3, minor, 0, length + 4][..], &handshake].concat()
}

fn without_certificates() -> Vec<(&'static str, Script)> {
    vec![
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
    vec![
        ("has a certificate that has expired", ours.server(HOST, (-2, -1), &[])),
        ("has a certificate that is not valid yet", ours.server(HOST, (1, 2), &[])),
        ("has a certificate for another name", ours.server("other.example", (-1, 1), &[])),
        ("has a certificate that it signed itself", self_signed()),
        (
            "has a certificate of an authority that nobody knows",
            Authority::named("a stranger").server(HOST, (-1, 1), &[]),
        ),
    ]
}

pub(crate) async fn receivers(table: &mut String) {
    let ours = Authority::named("ours");
    for (what, hostile) in without_certificates() {
        let receiver = Receiver::start(hostile).await;
        row(table, what, &receiver, &ours).await;
    }
    for (what, server) in with_certificates(&ours) {
        row(table, what, &start_tls(server).await, &ours).await;
    }
    // In TLS 1.3 it says so only after the request is on its way; nobody there has read it.
    let asks = start_tls(ours.server_that_asks_who_calls()).await;
    row(table, "demands a certificate of ours", &asks, &ours).await;
}

async fn start_tls(server: ServerConfig) -> Receiver {
    let acceptor = TlsAcceptor::from(Arc::new(server));
    Receiver::start_tls(script(|talk| answer_all(talk, OK)), acceptor).await
}

async fn row(table: &mut String, what: &str, receiver: &Receiver, ours: &Authority) {
    let port = receiver.address.port();
    let client = client_trusting(ours, port);
    let attempt = client.attempt(&request(&format!("https://{HOST}:{port}/hook"))).await;
    assert_eq!(receiver.seen().len(), 0, "{what}");
    write_row(table, what, &attempt);
}
