//! A merchant's server of raw bytes: each connection is handed to a script.
//!
//! It counts connections and whole requests, and how much of what it wanted to send it got rid of.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// What a script does with one connection.
pub(crate) type Script = Arc<dyn Fn(Talk) -> BoxFuture<'static, ()> + Send + Sync>;

/// Makes a script of an async closure.
pub(crate) fn script<F, Fut>(talk: F) -> Script
where
    F: Fn(Talk) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Arc::new(move |connection| Box::pin(talk(connection)))
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) request_line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    bytes_sent: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
    asked: Mutex<Vec<String>>,
}

/// The server; it ends with the test's runtime.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
}

/// One connection of it.
pub(crate) struct Talk {
    /// Which connection it is, from 0.
    pub(crate) number: usize,
    wire: Box<dyn Wire>,
    counts: Arc<Counts>,
}

impl Receiver {
    /// Every connection gets the same script.
    pub(crate) async fn start(script: Script) -> Self {
        Self::start_with(script, None, None).await
    }

    /// The same behind TLS.
    pub(crate) async fn start_tls(script: Script, acceptor: TlsAcceptor) -> Self {
        Self::start_with(script, Some(acceptor.clone()), Some(acceptor)).await
    }

    /// The first connection gets the script, all others are answered 200.
    pub(crate) async fn hostile_once(hostile: Script) -> Self {
        Self::start_with(only_first(hostile), None, None).await
    }

    /// The same with TLS by `then` from the second connection on; the first has `first`, or none.
    pub(crate) async fn hostile_once_tls(
        hostile: Script,
        first: Option<TlsAcceptor>,
        then: TlsAcceptor,
    ) -> Self {
        Self::start_with(only_first(hostile), first, Some(then)).await
    }

    /// A proxy that answers each CONNECT with `answer`, and a merchant behind TLS at the other end.
    pub(crate) async fn start_proxy(
        script: Script,
        answer: &'static [u8],
        acceptor: TlsAcceptor,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let counts = Arc::new(Counts::default());
        let receiver = Self { address, counts: Arc::clone(&counts) };
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let number = counts.connections.fetch_add(1, Ordering::SeqCst);
                let (script, counts) = (Arc::clone(&script), Arc::clone(&counts));
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(tcp.read_u8().await.expect("a byte"));
                    }
                    let head = String::from_utf8(head).expect("text");
                    let line = head.lines().next().unwrap_or_default().to_owned();
                    counts.asked.lock().expect("a lock").push(line);
                    tcp.write_all(answer).await.expect("written");
                    let tls = acceptor.accept(tcp).await.expect("a handshake");
                    script(Talk { number, wire: Box::new(tls), counts }).await;
                });
            }
        });
        receiver
    }

    /// The first lines of what a proxy was asked.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.counts.asked.lock().expect("a lock").clone()
    }

    async fn start_with(
        script: Script,
        first: Option<TlsAcceptor>,
        then: Option<TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let counts = Arc::new(Counts::default());
        let receiver = Self { address, counts: Arc::clone(&counts) };
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let number = counts.connections.fetch_add(1, Ordering::SeqCst);
                let (script, counts) = (Arc::clone(&script), Arc::clone(&counts));
                let acceptor = if number == 0 { first.clone() } else { then.clone() };
                tokio::spawn(async move {
                    let wire: Box<dyn Wire> = match acceptor {
                        None => Box::new(tcp),
                        Some(acceptor) => match acceptor.accept(tcp).await {
                            Ok(tls) => Box::new(tls),
                            Err(_) => return,
                        },
                    };
                    script(Talk { number, wire, counts }).await;
                });
            }
        });
        receiver
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(crate) fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn bytes_sent(&self) -> usize {
        self.counts.bytes_sent.load(Ordering::SeqCst)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.counts.seen.lock().expect("a lock").clone()
    }
}

/// Hostile on the first connection, good on all others.
fn only_first(hostile: Script) -> Script {
    script(move |talk: Talk| {
        let hostile = Arc::clone(&hostile);
        async move { if talk.number == 0 { hostile(talk).await } else { answer_all(talk, OK).await } }
    })
}

/// An answer that every merchant could give.
pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Answers every request of a connection with the same bytes.
pub(crate) async fn answer_all(mut talk: Talk, answer: &[u8]) {
    while talk.read_request().await.is_some() {
        if !talk.write(answer).await {
            return;
        }
    }
}

impl Talk {
    /// Reads the head of a request and leaves its body; `None` when the connection ends before.
    pub(crate) async fn read_head(&mut self) -> Option<Vec<u8>> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.wire.read_u8().await.ok()?);
        }
        Some(head)
    }

    /// Reads one whole request; `None` when the connection ends before.
    pub(crate) async fn read_request(&mut self) -> Option<Seen> {
        let head = self.read_head().await?;
        let head = String::from_utf8(head).expect("a head is ASCII");
        let mut lines = head.lines();
        let request_line = lines.next().expect("a request line").to_owned();
        let headers: HeaderMap = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| {
                let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
                (name, HeaderValue::from_str(value).expect("a value"))
            })
            .collect();
        // A CONNECT has no body, and says nothing of its length.
        let length = headers.get("content-length").map_or(Some("0"), |value| value.to_str().ok());
        let length: usize = length?.parse().ok()?;
        let mut body = vec![0; length];
        self.wire.read_exact(&mut body).await.ok()?;
        let seen = Seen { request_line, headers, body };
        self.counts.seen.lock().expect("a lock").push(seen.clone());
        Some(seen)
    }

    /// Reads only the first bytes of whatever comes.
    pub(crate) async fn read_some(&mut self, length: usize) {
        let _ = self.read_bytes(length).await;
    }

    /// Reads so many bytes; `None` when the connection ends before.
    pub(crate) async fn read_bytes(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.wire.read_exact(&mut bytes).await.ok()?;
        Some(bytes)
    }

    /// False when the other side does not take it any more.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> bool {
        let taken = self.wire.write_all(bytes).await.is_ok() && self.wire.flush().await.is_ok();
        if taken {
            self.counts.bytes_sent.fetch_add(bytes.len(), Ordering::SeqCst);
        }
        taken
    }

    /// Waits until the other side hangs up.
    pub(crate) async fn hold(&mut self) {
        let mut bytes = [0; 1024];
        while matches!(self.wire.read(&mut bytes).await, Ok(read) if read > 0) {}
    }

    /// Writes the same bytes until nobody takes them.
    pub(crate) async fn flood(&mut self, bytes: &[u8]) {
        while self.write(bytes).await {}
    }

    /// Writes one byte after the other, slower than anybody has patience.
    pub(crate) async fn drip(&mut self, bytes: &[u8]) {
        for &byte in bytes.iter().cycle() {
            if !self.write(&[byte]).await {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}
