//! Webhooks for the receivers: delivered by the product's own client, or kept and sent again by
//! hand with something changed.

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use delivery::secrets::Secret;
use delivery::{Client, ClientConfig, CustomHeaders, Names, Request};
use domain::guard::{AllowedNetworks, UrlPolicy};
use domain::{EventType, Outcome};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

/// Beyond ASCII, with escapes and a number that a parser would write in another way: whoever
/// verifies something else than the bytes fails.
const DATA: &str =
    r#"{"id":"pay_1","amount":1.0,"note":"Zoë \u20b9 \"x\" 😀","big":12345678901234567890}"#;

const TIMEOUT: Duration = Duration::from_secs(20);

/// A webhook as it was sent.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Byte for byte.
    pub body: Vec<u8>,
}

/// Delivers one event to `url`, signed by `secrets`, with the client of the product.
///
/// # Errors
/// When the client cannot be made.
pub async fn deliver(url: &str, secrets: &[Secret]) -> anyhow::Result<Outcome> {
    let loopback = AllowedNetworks::parse_network("127.0.0.0/8")?;
    let client = Client::new(ClientConfig {
        url_policy: UrlPolicy { allow_http: true, ..UrlPolicy::default() },
        networks: AllowedNetworks::public_only().with([loopback]),
        ..ClientConfig::new(Names::system())
    })?;
    let request = Request {
        endpoint_id: Uuid::now_v7().into(),
        url: url.to_owned(),
        secrets: secrets.to_vec(),
        event_id: Uuid::now_v7().into(),
        event_type: EventType::try_from("payment.succeeded".to_owned())?,
        occurred_at: OffsetDateTime::now_utc(),
        data: Bytes::from_static(DATA.as_bytes()),
        headers: CustomHeaders::default(),
        is_well: true,
        timeout: TIMEOUT,
        traceparent: None,
        start_by: None,
    };
    Ok(client.attempt(&request).await.outcome)
}

/// Delivers one event to a receiver that only keeps it.
///
/// # Errors
/// When it does not arrive.
pub async fn keep_one(secrets: &[Secret]) -> anyhow::Result<Kept> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let keep = async {
        let (mut tcp, _) = listener.accept().await?;
        let kept = read_request(&mut tcp).await?;
        tcp.write_all(b"HTTP/1.1 204 Kept\r\nconnection: close\r\n\r\n").await?;
        anyhow::Ok(kept)
    };
    let (outcome, kept) = tokio::join!(deliver(&url, secrets), keep);
    ensure!(outcome? == Outcome::Delivered { status: 204 });
    kept
}

async fn read_request(tcp: &mut TcpStream) -> anyhow::Result<Kept> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await?);
    }
    let head = String::from_utf8(head)?;
    let headers: Vec<(String, String)> = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.context("no length")?.1.parse()?];
    tcp.read_exact(&mut body).await?;
    Ok(Kept { headers, body })
}

impl Kept {
    /// The value of a header.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map_or("", |(_, value)| value)
    }

    /// The same with another value of a header; `None` takes the header away.
    #[must_use]
    pub fn with_header(&self, name: &str, value: Option<&str>) -> Self {
        let mut changed = self.clone();
        changed.headers.retain(|(header, _)| header != name);
        changed.headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        changed
    }
}

/// Sends a webhook by hand; the status of the answer.
///
/// # Errors
/// When there is none.
pub async fn resend(url: &str, kept: &Kept) -> anyhow::Result<u16> {
    let authority =
        url.trim_start_matches("http://").split('/').next().context("a URL with a host")?;
    let mut head = format!("POST / HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n");
    for (name, value) in &kept.headers {
        if !matches!(name.as_str(), "host" | "connection" | "content-length") {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", kept.body.len()));
    let mut tcp = TcpStream::connect(authority).await?;
    tcp.write_all(&[head.as_bytes(), &kept.body].concat()).await?;
    let mut answer = Vec::new();
    tokio::time::timeout(TIMEOUT, tcp.read_to_end(&mut answer)).await??;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    Ok(answer.split(' ').nth(1).context("no answer")?.parse()?)
}
