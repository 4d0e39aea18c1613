//! An egress proxy: what goes through it, and what is still refused before it is asked.

use std::sync::Arc;

use domain::{Fault, Outcome, Unwell};
use posthorn_delivery::{Attempt, Client, ClientConfig, Code, NameTable, Request};
use tokio_rustls::TlsAcceptor;

use crate::authority::{Authority, HOST, config_trusting};
use crate::receiver::{OK, Receiver, Script, Talk, answer_all, script};
use crate::setup::{config, request};

const TUNNEL: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// A proxy that answers every CONNECT with these bytes, and what becomes of an attempt by it.
async fn attempt_by(answer: &'static [u8], url: &str) -> (Attempt, Receiver) {
    let proxy = Receiver::start(says(answer)).await;
    let client = client_by(&proxy, config(NameTable::default(), &[]));
    (client.attempt(&request(url)).await, proxy)
}

fn says(answer: &'static [u8]) -> Script {
    script(move |mut talk: Talk| async move {
        talk.read_request().await;
        talk.write(answer).await;
    })
}

fn client_by(proxy: &Receiver, options: ClientConfig) -> Client {
    let proxy = format!("http://{}", proxy.address).parse().expect("a proxy");
    Client::new(ClientConfig { proxy: Some(proxy), ..options }).expect("a client")
}

#[tokio::test]
async fn a_merchant_is_reached_through_the_proxy_under_its_own_certificate_and_again() {
    let ours = Authority::named("ours");
    // The proxy's end of the tunnel and the merchant are one here: what follows the proxy's answer
    // is the merchant's TLS.
    let acceptor = TlsAcceptor::from(Arc::new(ours.server(HOST, (-1, 1), &[])));
    let proxy = Receiver::start_proxy(script(|talk| answer_all(talk, OK)), TUNNEL, acceptor).await;
    // No table knows the name: the proxy resolves it.
    let client = client_by(&proxy, config_trusting(&ours, NameTable::default(), 443));
    for n in 0..2 {
        let attempt = client.attempt(&request(&format!("https://{HOST}/hook"))).await;
        assert_eq!(attempt.outcome, Outcome::Delivered { status: 200 }, "{attempt:?}");
        assert_eq!(attempt.detail.reused_connection, n > 0);
        assert_eq!(attempt.detail.split.dns_us, None);
    }
    assert_eq!(proxy.asked(), [format!("CONNECT {HOST}:443 HTTP/1.1")]);
    let seen = proxy.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].headers["host"], HOST);
}

/// Whoever connects here waits: what may wait to be accepted is taken up.
async fn silent() -> (std::net::SocketAddr, Vec<tokio::net::TcpStream>, tokio::net::TcpListener) {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a place");
    let listener = socket.listen(1).expect("listening");
    let address = listener.local_addr().expect("an address");
    let mut waiting = Vec::new();
    let briefly = std::time::Duration::from_millis(300);
    let connect = || tokio::net::TcpStream::connect(address);
    while let Ok(Ok(taken)) = tokio::time::timeout(briefly, connect()).await {
        waiting.push(taken);
    }
    (address, waiting, listener)
}

#[tokio::test]
async fn a_proxy_that_takes_no_connection_is_our_fault_whatever_runs_out_first() {
    let (address, _waiting, _listener) = silent().await;
    for (connect_ms, attempt_ms) in [(300, 2_000), (2_000, 300)] {
        let client = Client::new(ClientConfig {
            proxy: Some(format!("http://{address}").parse().expect("a proxy")),
            connect_timeout: std::time::Duration::from_millis(connect_ms),
            ..config(NameTable::default(), &[])
        })
        .expect("a client");
        let timeout = std::time::Duration::from_millis(attempt_ms);
        let request = Request { timeout, ..request(&format!("https://{HOST}/")) };
        let attempt = client.attempt(&request).await;
        assert_eq!(attempt.outcome, Outcome::Fault { fault: Fault::Blocked }, "{attempt:?}");
        assert_eq!(attempt.detail.code, Some(Code::ProxyUnavailable));
    }
}

#[tokio::test]
async fn what_the_guard_refuses_is_never_asked_of_the_proxy() {
    let proxy = Receiver::start(says(TUNNEL)).await;
    let client =
        client_by(&proxy, ClientConfig::new(posthorn_delivery::Names::Table(NameTable::default())));
    for url in [
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/",
        "https://localhost/",
        "https://metadata.google.internal/",
        "http://merchant.example/",
        "https://merchant.example:22/",
    ] {
        let attempt = client.attempt(&request(url)).await;
        assert_eq!(attempt.outcome, Outcome::Fault { fault: Fault::Blocked }, "{url}");
    }
    assert_eq!(proxy.connections(), 0);
}

#[tokio::test]
async fn what_goes_wrong_at_the_proxy_is_ours_and_what_it_cannot_reach_is_the_merchants() {
    let blocked = Outcome::Fault { fault: Fault::Blocked };
    let unwell = Outcome::Unwell { cause: Unwell::Connect, retry_after: None };
    for (answer, outcome, code) in [
        (&b"HTTP/1.1 403 Forbidden\r\n\r\n"[..], blocked, Code::ProxyRefused),
        (b"HTTP/1.1 407 Who are you\r\n\r\n", blocked, Code::ProxyRefused),
        (b"HTTP/1.1 302 Over there\r\n\r\n", blocked, Code::ProxyRefused),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", unwell, Code::ConnectFailed),
        (b"HTTP/1.1 504 Too late\r\n\r\n", unwell, Code::ConnectTimeout),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", blocked, Code::ProxyUnavailable),
        (b"HTTP/1.1 2", blocked, Code::ProxyUnavailable),
    ] {
        let (attempt, proxy) = attempt_by(answer, "https://merchant.example/").await;
        assert_eq!((attempt.outcome, attempt.detail.code), (outcome, Some(code)));
        assert_eq!(proxy.seen()[0].request_line, "CONNECT merchant.example:443 HTTP/1.1");
        assert_eq!(proxy.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_proxy_that_floods_or_is_not_there_ends_in_bounded_time() {
    let flood = script(|mut talk: Talk| async move {
        talk.read_request().await;
        talk.write(b"HTTP/1.1 200 OK\r\nx: ").await;
        talk.flood(&[b'v'; 4096]).await;
    });
    let proxy = Receiver::start(flood).await;
    let client = client_by(&proxy, config(NameTable::default(), &[]));
    let attempt = client.attempt(&request("https://merchant.example/")).await;
    assert_eq!(attempt.detail.code, Some(Code::ProxyUnavailable));
    let away = "http://127.0.0.1:9".parse().expect("a proxy");
    let options = ClientConfig { proxy: Some(away), ..config(NameTable::default(), &[]) };
    let client = Client::new(options).expect("a client");
    let attempt = client.attempt(&request("https://merchant.example/")).await;
    assert_eq!(attempt.outcome, Outcome::Fault { fault: Fault::Blocked });
    assert_eq!(attempt.detail.code, Some(Code::ProxyUnavailable));
}
