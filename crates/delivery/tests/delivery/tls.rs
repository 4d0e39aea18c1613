//! TLS: who is believed, what is said when somebody is not, and HTTP/2.

use std::sync::Arc;

use bytes::Bytes;
use domain::{Outcome, Unwell};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use posthorn_delivery::{Client, Code};
use rustls::ServerConfig;
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::authority::{Authority, HOST, client_trusting, self_signed};
use crate::receiver::{OK, Receiver, answer_all, script};
use crate::setup::{SECRET, config, request, table};

async fn attempt_at(
    server: ServerConfig,
    trusted: &Authority,
) -> (posthorn_delivery::Attempt, Receiver) {
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let receiver = Receiver::start_tls(script(|talk| answer_all(talk, OK)), acceptor).await;
    let port = receiver.address.port();
    let client = client_trusting(trusted, port);
    let attempt = client.attempt(&request(&format!("https://{HOST}:{port}/hook"))).await;
    (attempt, receiver)
}

#[tokio::test]
async fn a_certificate_of_a_trusted_authority_for_the_right_name_is_believed() {
    let authority = Authority::named("ours");
    for alpn in [&[][..], &["http/1.1"]] {
        let (attempt, receiver) =
            attempt_at(authority.server(HOST, (-1, 1), alpn), &authority).await;
        assert_eq!(attempt.outcome, Outcome::Delivered { status: 200 }, "{attempt:?}");
        let split = attempt.detail.split;
        assert!(split.dns_us.is_some() && split.connect_us.is_some() && split.tls_us.is_some());
        assert_eq!(
            receiver.seen()[0].headers["host"],
            format!("{HOST}:{}", receiver.address.port())
        );
    }
}

#[tokio::test]
async fn every_other_certificate_is_refused_with_its_reason_and_no_request_is_sent() {
    let (authority, stranger) = (Authority::named("ours"), Authority::named("a stranger"));
    let cases = [
        (authority.server(HOST, (-2, -1), &[]), Code::TlsCertificateExpired),
        (authority.server(HOST, (1, 2), &[]), Code::TlsCertificateExpired),
        (authority.server("other.example", (-1, 1), &[]), Code::TlsCertificateName),
        (stranger.server(HOST, (-1, 1), &[]), Code::TlsCertificateUnknown),
        (self_signed(), Code::TlsCertificateUnknown),
    ];
    for (server, code) in cases {
        let (attempt, receiver) = attempt_at(server, &authority).await;
        assert_eq!(attempt.detail.code, Some(code));
        let tls = Outcome::Unwell { cause: Unwell::Tls, retry_after: None };
        assert_eq!(attempt.outcome, tls);
        assert_eq!(receiver.seen().len(), 0);
    }
}

#[tokio::test]
async fn one_that_demands_a_certificate_of_ours_is_unwell_and_reads_no_request() {
    let authority = Authority::named("ours");
    // In HTTP/2 the library's error says nothing of what lies beneath.
    for protocol in [&b"http/1.1"[..], b"h2"] {
        let mut server = authority.server_that_asks_who_calls();
        server.alpn_protocols = vec![protocol.to_vec()];
        let (attempt, receiver) = attempt_at(server, &authority).await;
        assert_eq!(attempt.outcome.code(), Some("tls"), "{attempt:?}");
        assert!(attempt.detail.sentence.contains("CertificateRequired"), "{attempt:?}");
        assert_eq!(receiver.seen().len(), 0);
    }
}

#[tokio::test]
async fn an_authority_that_nobody_named_is_not_trusted() {
    let authority = Authority::named("ours");
    let acceptor = TlsAcceptor::from(Arc::new(authority.server(HOST, (-1, 1), &[])));
    let receiver = Receiver::start_tls(script(|talk| answer_all(talk, OK)), acceptor).await;
    let port = receiver.address.port();
    let client = Client::new(config(table(HOST, &[&["127.0.0.1"]]), &[port])).expect("a client");
    let attempt = client.attempt(&request(&format!("https://{HOST}:{port}/"))).await;
    assert_eq!(attempt.detail.code, Some(Code::TlsCertificateUnknown));
}

#[tokio::test]
async fn one_that_speaks_no_tls_is_a_failed_handshake_and_never_plain_text() {
    let receiver = Receiver::start(script(|mut talk| async move {
        talk.write(b"HTTP/1.1 400 Plain HTTP here\r\ncontent-length: 0\r\n\r\n").await;
        talk.hold().await;
    }))
    .await;
    let client = client_trusting(&Authority::named("ours"), receiver.address.port());
    let url = format!("https://{HOST}:{}/", receiver.address.port());
    let attempt = client.attempt(&request(&url)).await;
    assert_eq!(attempt.detail.code, Some(Code::TlsHandshake));
    assert_eq!(receiver.seen().len(), 0);
}

/// Serves HTTP/2 and verifies each request with a library that is not ours.
async fn verify_and_answer(
    request: http::Request<Incoming>,
) -> Result<http::Response<Full<Bytes>>, std::convert::Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let verified = Webhook::new(SECRET).and_then(|webhook| webhook.verify(&body, &head.headers));
    let status = if verified.is_ok() { 200 } else { 401 };
    let mut response = http::Response::new(Full::from(format!("{:?} {}", head.version, head.uri)));
    *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
    if head.uri.path() == "/many-lines" {
        for n in 0..150 {
            response
                .headers_mut()
                .insert(http::HeaderName::try_from(format!("x-{n}")).expect("a name"), n.into());
        }
    }
    if head.uri.path() == "/endless" {
        *response.body_mut() = Full::from(vec![b'x'; 4 * 1024 * 1024]);
    }
    Ok(response)
}

async fn http2_server(authority: &Authority) -> u16 {
    let acceptor = TlsAcceptor::from(Arc::new(authority.server(HOST, (-1, 1), &["h2"])));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(tls), service_fn(verify_and_answer))
                    .await;
            });
        }
    });
    port
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_offered_with_the_same_signature_and_bounds() {
    let authority = Authority::named("ours");
    let port = http2_server(&authority).await;
    let client = client_trusting(&authority, port);
    let url = |path| format!("https://{HOST}:{port}{path}");
    for n in 0..3 {
        let attempt = client.attempt(&request(&url("/hook?a=b"))).await;
        assert_eq!(attempt.outcome, Outcome::Delivered { status: 200 }, "{attempt:?}");
        assert_eq!(attempt.detail.http_version.as_deref(), Some("HTTP/2.0"));
        let expected = format!("HTTP/2.0 {}", url("/hook?a=b"));
        assert_eq!(attempt.detail.excerpt.as_deref(), Some(expected.as_str()));
        assert_eq!(attempt.detail.reused_connection, n > 0);
    }
    let attempt = client.attempt(&request(&url("/endless"))).await;
    assert_eq!(attempt.outcome, Outcome::Delivered { status: 200 });
    assert!(attempt.detail.body_truncated && attempt.detail.body_bytes < 128 * 1024);
    let attempt = client.attempt(&request(&url("/many-lines"))).await;
    assert_eq!(attempt.detail.code, Some(Code::ResponseTooLarge));
    let attempt = client.attempt(&request(&url("/hook"))).await;
    assert_eq!(attempt.outcome, Outcome::Delivered { status: 200 }, "the next event flows");
}

#[tokio::test]
async fn an_http2_server_that_is_none_is_an_invalid_answer() {
    let authority = Authority::named("ours");
    let server = authority.server(HOST, (-1, 1), &["h2"]);
    let receiver = Receiver::start_tls(
        script(|mut talk| async move {
            talk.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            talk.hold().await;
        }),
        TlsAcceptor::from(Arc::new(server)),
    )
    .await;
    let port = receiver.address.port();
    let attempt = client_trusting(&authority, port)
        .attempt(&request(&format!("https://{HOST}:{port}/")))
        .await;
    let protocol = Outcome::Unwell { cause: Unwell::Protocol, retry_after: None };
    assert_eq!(attempt.outcome, protocol, "{attempt:?}");
}
