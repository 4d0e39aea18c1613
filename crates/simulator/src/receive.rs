//! One webhook: read it, write it down, answer as the merchant was told.
//!
//! Any path under `/webhooks` is a merchant's. Nothing that arrives is an error here: a body that
//! is no JSON, or no webhook-id, is written down as it came. No request is answered 2xx unless its
//! line is in the ledger (and in its file, if there is one).

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use sha2::Digest as _;
use tokio_util::sync::CancellationToken;

use crate::Simulator;
use crate::behaviour::Reaction;
use crate::file::FileError;
use crate::ledger::{OTHERS, Receipt};
use crate::line::{Digest, Headers, Line, Micros};

/// Where merchants are.
pub(crate) const WEBHOOKS: &str = "/webhooks";
/// The merchant of a webhook that names none: the reference design's path.
const UNNAMED: &str = "default";
/// Largest body that is read; a webhook has at most 256 KiB of payload.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Longest path that is a name, and longest text that is kept of a header or of the body.
const TEXT_BYTES_MAX: usize = 512;
/// What a merchant says that was told nothing else.
const RECEIVED: &str = r#"{"received":true}"#;

/// The connection is to end without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed without an answer, as told")]
pub(crate) struct Closed;

/// Receives a webhook and answers it.
///
/// # Errors
/// [`Closed`], when that is what the merchant was told to do, or the role ends.
pub(crate) async fn receive(
    simulator: &Simulator,
    request: Request<Incoming>,
    shutdown: &CancellationToken,
) -> Result<Response<Body>, Closed> {
    if request.method() != Method::POST {
        return Ok(answer(StatusCode::METHOD_NOT_ALLOWED, r#"{"error":"webhooks come by POST"}"#));
    }
    let arrived_at = Micros::now();
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map(|body| body.to_bytes());
    let mut line = line_of(arrived_at, parts.uri.path(), &parts.headers, body.as_ref().ok());
    let receipt = simulator.ledger().receive(&mut line);
    let reaction = match body {
        Ok(_) => simulator.behaviours().react(&line.merchant, line.event_type.as_deref()),
        Err(_) => Reaction::Answer {
            status: 413,
            delay: std::time::Duration::ZERO,
            retry_after: None,
            body: None,
        },
    };
    match reaction {
        Reaction::Answer { status, delay, retry_after, body } => {
            let written = if delay.is_zero() {
                line.status = Some(status);
                append(simulator, &line).await
            } else {
                let begun = append(simulator, &line).await;
                tokio::time::sleep(delay).await;
                begun.and(append_answer(simulator, line.number, status).await)
            };
            Ok(answer_of(simulator, receipt, status, written, retry_after, body))
        }
        Reaction::Hang => {
            // Its line has no answer, and none follows; if the file refuses, there is none to tell.
            let _ = append(simulator, &line).await;
            shutdown.cancelled().await;
            Err(Closed)
        }
        Reaction::Close => {
            let _ = append(simulator, &line).await;
            Err(Closed)
        }
    }
}

async fn append(simulator: &Simulator, line: &Line) -> Result<(), FileError> {
    match &simulator.file {
        Some(file) => file.append(line).await,
        None => Ok(()),
    }
}

async fn append_answer(simulator: &Simulator, number: u64, status: u16) -> Result<(), FileError> {
    match &simulator.file {
        Some(file) => file.append_answer(number, status).await,
        None => Ok(()),
    }
}

fn answer_of(
    simulator: &Simulator,
    receipt: Receipt,
    status: u16,
    written: Result<(), FileError>,
    retry_after: Option<HeaderValue>,
    body: Option<String>,
) -> Response<Body> {
    if let Err(error) = written {
        // A merchant that cannot remember a webhook must not say that it has it.
        let status = StatusCode::SERVICE_UNAVAILABLE;
        simulator.ledger().answer(receipt, status.as_u16());
        return answer(status, serde_json::json!({ "error": error.to_string() }).to_string());
    }
    simulator.ledger().answer(receipt, status);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = answer(status, body.unwrap_or_else(|| usual_body(status).to_owned()));
    if let Some(retry_after) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, retry_after);
    }
    response
}

fn usual_body(status: StatusCode) -> &'static str {
    if status.is_success() { RECEIVED } else { r#"{"received":false}"# }
}

fn answer(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The parts of a webhook's body that the ledger keeps.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Envelope {
    r#type: Option<String>,
    timestamp: Option<String>,
    data: Option<Data>,
}

#[derive(Debug, Deserialize)]
struct Data {
    id: Option<String>,
}

fn line_of(arrived_at: Micros, path: &str, headers: &HeaderMap, body: Option<&Bytes>) -> Line {
    let header = |name: &str| headers.get(name)?.to_str().ok().map(|text| cut(text.to_owned()));
    let body = body.map_or(&[][..], |body| &body[..]);
    let envelope: Envelope = serde_json::from_slice(body).unwrap_or_default();
    Line {
        number: 0,
        merchant: merchant_of(path).to_owned(),
        webhook_id: header("webhook-id"),
        event_type: envelope.r#type.map(cut),
        payment_id: envelope.data.and_then(|data| data.id).map(cut),
        timestamp: envelope.timestamp.and_then(|text| Micros::parse(&text)),
        arrived_at,
        body_sha256: Digest(sha2::Sha256::digest(body).into()),
        body_bytes: u32::try_from(body.len()).unwrap_or(u32::MAX),
        headers: Headers {
            webhook_timestamp: header("webhook-timestamp"),
            webhook_signature: header("webhook-signature"),
            content_type: header("content-type"),
            user_agent: header("user-agent"),
            traceparent: header("traceparent"),
        },
        status: None,
    }
}

fn merchant_of(path: &str) -> &str {
    match path.strip_prefix(WEBHOOKS).unwrap_or(path).trim_matches('/') {
        "" => UNNAMED,
        name if name.len() > TEXT_BYTES_MAX => OTHERS,
        name => name,
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(body: &str) -> Line {
        let body = Bytes::copy_from_slice(body.as_bytes());
        line_of(Micros(0), "/webhooks/demo", &HeaderMap::new(), Some(&body))
    }

    #[test]
    fn a_webhooks_body_gives_its_type_its_payment_and_its_time() {
        let line = line(
            r#"{"type":"payment.succeeded","timestamp":"2025-01-02T03:04:05.6Z","data":{"id":"pay_1","amount":1}}"#,
        );
        assert_eq!(line.event_type.as_deref(), Some("payment.succeeded"));
        assert_eq!(line.payment_id.as_deref(), Some("pay_1"));
        assert_eq!(line.timestamp, Micros::parse("2025-01-02T03:04:05.600000Z"));
    }

    #[test]
    fn a_body_that_is_no_webhook_is_written_down_all_the_same() {
        for body in ["", "nonsense", "[1]", r#"{"data":"text"}"#, r#"{"type":1}"#, "{}"] {
            let line = line(body);
            assert_eq!((line.event_type, line.payment_id, line.timestamp), (None, None, None));
            assert_eq!(line.body_bytes as usize, body.len());
            let digest: [u8; 32] = sha2::Sha256::digest(body.as_bytes()).into();
            assert_eq!(line.body_sha256, Digest(digest));
        }
    }

    #[test]
    fn every_path_under_webhooks_names_a_merchant() {
        let long = format!("/webhooks/{}", "x".repeat(TEXT_BYTES_MAX + 1));
        for (path, name) in [
            ("/webhooks", UNNAMED),
            ("/webhooks/", UNNAMED),
            ("/webhooks/demo", "demo"),
            ("/webhooks/demo/a/b/", "demo/a/b"),
            (&long, OTHERS),
        ] {
            assert_eq!(merchant_of(path), name);
        }
    }

    #[test]
    fn what_is_kept_of_a_text_is_bounded_and_never_cuts_a_character() {
        let text = format!("a{}", "ü".repeat(TEXT_BYTES_MAX));
        assert_eq!(cut(text).len(), TEXT_BYTES_MAX - 1);
    }
}
