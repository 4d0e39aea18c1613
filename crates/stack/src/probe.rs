//! Is a service ready? One question over its own protocol, answered within two seconds.
//!
//! An open port is not enough: PostgreSQL listens while it recovers, Kafka before it serves. The
//! frames are written by hand, a few bytes each, so that nothing here needs a client library.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Ports;

/// Longest that one question may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// As much of an answer as is read, at most.
const ANSWER_BYTES_MAX: u64 = 4096;
/// As much of a refusal as is shown.
const REASON_CHARS_MAX: usize = 200;

/// How a service on loopback is asked whether it is ready.
#[derive(Debug, Clone)]
pub enum Probe {
    /// PostgreSQL at this port asks for a password, rather than saying that it starts up.
    Postgres(u16),
    /// Kafka at this port answers which versions it speaks.
    Kafka(u16),
    /// `GET path` at this port answers 200.
    Http(u16, &'static str),
}

impl Probe {
    /// How the part `name` of a stack at `ports` is asked; nothing is asked of one that is not known.
    pub fn of_part(name: &str, ports: &Ports) -> Vec<Self> {
        match name {
            "postgres" => vec![Self::Postgres(ports.postgres)],
            "kafka" => vec![Self::Kafka(ports.kafka)],
            "restate" => vec![
                Self::Http(ports.restate_admin, "/health"),
                Self::Http(ports.restate_ingress, "/restate/health"),
            ],
            "jaeger" => vec![Self::Http(ports.traces, "/api/services")],
            _ => Vec::new(),
        }
    }

    /// Asks once.
    ///
    /// # Errors
    /// Why it is not ready, as a sentence.
    pub async fn ask(&self) -> Result<(), String> {
        let asked = async {
            match self {
                Self::Postgres(port) => postgres(*port).await,
                Self::Kafka(port) => kafka(*port).await,
                Self::Http(port, path) => http(*port, path).await,
            }
        };
        match timeout(TIMEOUT, asked).await {
            Err(_) => {
                Err(format!("{} does not answer within {} s", self.place(), TIMEOUT.as_secs()))
            }
            Ok(Err(error)) => Err(format!("{}: {error}", self.place())),
            Ok(Ok(answer)) => answer.map_err(|why| format!("{}: {why}", self.place())),
        }
    }

    fn place(&self) -> String {
        match self {
            Self::Postgres(port) | Self::Kafka(port) => format!("127.0.0.1:{port}"),
            Self::Http(port, path) => format!("http://127.0.0.1:{port}{path}"),
        }
    }
}

type Answer = std::io::Result<Result<(), String>>;

async fn postgres(port: u16) -> Answer {
    // StartupMessage, protocol 3.0. The user is never let in: the question alone is answered.
    let body = b"\x00\x03\x00\x00user\0postgres\0database\0postgres\0\0";
    let mut stream = send_framed(port, body, true).await?;
    match stream.read_u8().await? {
        b'R' => Ok(Ok(())),
        _ => Ok(Err("starting up".to_owned())),
    }
}

async fn kafka(port: u16) -> Answer {
    // ApiVersions (18), version 0, correlation 7, no client id.
    let body = b"\x00\x12\x00\x00\x00\x00\x00\x07\xff\xff";
    let mut stream = send_framed(port, body, false).await?;
    let _length = stream.read_u32().await?;
    let correlation = stream.read_u32().await?;
    Ok(if correlation == 7 { Ok(()) } else { Err("it does not speak Kafka".to_owned()) })
}

/// Sends `body` behind its length, four bytes; `inclusive`: the length counts itself.
async fn send_framed(port: u16, body: &[u8], inclusive: bool) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let length = u32::try_from(body.len()).map_err(std::io::Error::other)?;
    stream.write_u32(length + if inclusive { 4 } else { 0 }).await?;
    stream.write_all(body).await?;
    Ok(stream)
}

async fn http(port: u16, path: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\naccept: */*\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(Ok(())),
        Some(status) => {
            let reason = what_is_missing(body).unwrap_or_else(|| body.trim().to_owned());
            let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
            Ok(Err(format!("{status} {reason}")))
        }
        None => Ok(Err("it does not speak HTTP".to_owned())),
    }
}

/// The parts that a role of ours says are not ready, and why.
fn what_is_missing(body: &str) -> Option<String> {
    let report: serde_json::Value = serde_json::from_str(body).ok()?;
    let parts = report["parts"].as_object()?.iter();
    let missing: Vec<String> = parts
        .filter(|(_, why)| why.as_str() != Some("ready"))
        .map(|(part, why)| format!("{part}: {}", why.as_str().unwrap_or_default()))
        .collect();
    (!missing.is_empty()).then(|| missing.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_role_misses_is_read_from_its_report() {
        let body = r#"{"ready":false,"parts":{"kafka":"no broker answers","slot":"ready"}}"#;
        assert_eq!(what_is_missing(body).as_deref(), Some("kafka: no broker answers"));
        assert_eq!(what_is_missing("starting up"), None);
    }
}
