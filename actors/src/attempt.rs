//! One attempt: the payload as it is now, signed and sent, and what came of it.
//!
//! Never an error: a payload or a secret that cannot be had is our fault and a value too. The
//! attempt's span is a child of the trace of the transaction that made the event; retries hours
//! later are in the same trace.

use std::time::Instant;

use data_service::PayloadError;
use delivery::CustomHeaders;
use delivery::secrets::{Sealed, Secret};
use domain::{AttemptId, EndpointId, Fault, Outcome, PaymentId};
use observability::metrics::{self, WaitedFor};
use store::{AttemptRow, DueDelivery, LiveSecret, Look};
use time::OffsetDateTime;
use tracing::{Instrument, Span, field};

use crate::worker::Worker;

/// Whose turn it is, and what its look saw.
#[derive(Clone, Copy)]
pub(crate) struct Turn<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) endpoint: EndpointId,
    /// Restate's invocation.
    pub(crate) invocation: &'a str,
    pub(crate) look: &'a Look,
}

/// What the slice knows of an attempt before it begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) id: AttemptId,
    /// Which one of the delivery it will be, as far as is known.
    pub(crate) number: u32,
    /// When, by PostgreSQL's clock.
    pub(crate) started_at: OffsetDateTime,
    /// No request starts later than this.
    pub(crate) fresh_until: Instant,
    /// What its delivery waited for until now, if it is the first one.
    pub(crate) waited_for: WaitedFor,
}

/// Makes one attempt at `delivery`; none when it would have begun too late: look again.
pub(crate) async fn run(turn: Turn<'_>, delivery: &DueDelivery, plan: &Plan) -> Option<AttemptRow> {
    let span = tracing::info_span!(
        "attempt",
        otel.name = "webhook attempt",
        otel.status_code = field::Empty,
        payment = delivery.object_id.parse::<PaymentId>().ok().map(field::display),
        event = %delivery.event_id,
        delivery = %delivery.facts.id,
        endpoint = %turn.endpoint,
        merchant = %turn.look.endpoint.merchant_id,
        attempt = plan.number,
        restate.invocation.id = turn.invocation,
        outcome = field::Empty,
        http.response.status_code = field::Empty,
        code = field::Empty,
    );
    if let Some(traceparent) = &delivery.traceparent {
        observability::traceparent::set_parent(&span, traceparent);
    }
    let under_way = metrics::worker().attempt_begins();
    let row = send(turn, delivery, plan).instrument(span.clone()).await?;
    drop(under_way);
    count(delivery, plan, &row);
    tell(&span, delivery, &row);
    Some(row)
}

async fn send(turn: Turn<'_>, delivery: &DueDelivery, plan: &Plan) -> Option<AttemptRow> {
    let began = Instant::now();
    let (outcome, detail) = match prepare(turn, delivery).await {
        Ok(Prepared { data, secrets, headers }) => {
            let payload_us = began.elapsed().as_micros();
            if Instant::now() > plan.fresh_until {
                return None;
            }
            let look = &turn.look.endpoint;
            let traceparent = if look.send_traceparent {
                observability::traceparent::of(&Span::current()).or(delivery.traceparent.clone())
            } else {
                None
            };
            let request = delivery::Request {
                secrets,
                headers,
                traceparent,
                ..request(turn, delivery, plan, data)
            };
            let attempt = turn.worker.client.attempt(&request).await;
            let detail = serde_json::to_value(&attempt.detail).unwrap_or_default();
            (attempt.outcome, with(detail, "payload_us", payload_us))
        }
        Err(InTheWay { fault, sentence }) => {
            (Outcome::Fault { fault }, serde_json::json!({ "sentence": sentence }))
        }
    };
    Some(AttemptRow {
        id: plan.id,
        delivery_id: delivery.facts.id,
        started_at: plan.started_at,
        duration: began.elapsed(),
        outcome,
        detail: with(detail, "invoked_at", domain::rfc3339_micros(turn.look.now)),
    })
}

fn request(
    turn: Turn<'_>,
    delivery: &DueDelivery,
    plan: &Plan,
    data: bytes::Bytes,
) -> delivery::Request {
    delivery::Request {
        endpoint_id: turn.endpoint,
        url: turn.look.endpoint.url.clone(),
        secrets: Vec::new(),
        event_id: delivery.event_id,
        event_type: delivery.event_type.clone(),
        occurred_at: delivery.occurred_at,
        data,
        headers: CustomHeaders::default(),
        timeout: turn.look.endpoint.policy.attempt_timeout,
        traceparent: None,
        start_by: Some(plan.fresh_until),
    }
}

/// What stands in the way on our side.
struct InTheWay {
    fault: Fault,
    sentence: String,
}

/// What an attempt needs beside the delivery itself.
struct Prepared {
    data: bytes::Bytes,
    secrets: Vec<Secret>,
    headers: CustomHeaders,
}

/// The payload as it is now, the secrets that sign, and the merchant's own headers.
async fn prepare(turn: Turn<'_>, delivery: &DueDelivery) -> Result<Prepared, InTheWay> {
    let data = payload(turn.worker, delivery).await?;
    let open = |live: &LiveSecret| {
        let store::SealedSecret { key_id, ciphertext } = live.sealed.clone();
        turn.worker.keys.open(&Sealed { key_id, ciphertext }, turn.endpoint, live.version)
    };
    let secrets = turn
        .look
        .secrets
        .iter()
        .map(open)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| InTheWay { fault: Fault::Secret, sentence: error.to_string() })?;
    if secrets.is_empty() {
        let sentence = "the endpoint has no live secret".to_owned();
        return Err(InTheWay { fault: Fault::Secret, sentence });
    }
    let headers = turn.look.endpoint.headers.clone().map_or_else(
        || Ok(CustomHeaders::default()),
        |store::SealedSecret { key_id, ciphertext }| {
            turn.worker.keys.open_headers(&Sealed { key_id, ciphertext }, turn.endpoint)
        },
    );
    let headers =
        headers.map_err(|error| InTheWay { fault: Fault::Secret, sentence: error.to_string() })?;
    Ok(Prepared { data, secrets, headers })
}

/// The payment as the data service has it now; of an event without a payment, what it carries.
async fn payload(worker: &Worker, delivery: &DueDelivery) -> Result<bytes::Bytes, InTheWay> {
    if delivery.object_id.parse::<PaymentId>().is_ok() {
        return match worker.payloads.payload(&delivery.object_id).await {
            Ok(payload) => Ok(payload.into_bytes()),
            Err(error) => Err(InTheWay { fault: fault_of(&error), sentence: error.to_string() }),
        };
    }
    match worker.store.event_payload(delivery.event_id).await {
        Ok(Some(json)) => Ok(bytes::Bytes::from(json)),
        Ok(None) => Err(InTheWay {
            fault: Fault::PayloadMissing,
            sentence: "the event carries no payload and names no payment".to_owned(),
        }),
        Err(error) => {
            Err(InTheWay { fault: Fault::PayloadUnavailable, sentence: error.to_string() })
        }
    }
}

fn fault_of(error: &PayloadError) -> Fault {
    match error {
        PayloadError::Missing => Fault::PayloadMissing,
        PayloadError::TooLarge => Fault::PayloadTooLarge,
        _ => Fault::PayloadUnavailable,
    }
}

/// `detail` with one more field.
fn with(
    mut detail: serde_json::Value,
    name: &str,
    value: impl serde::Serialize,
) -> serde_json::Value {
    if let (Some(fields), Ok(value)) = (detail.as_object_mut(), serde_json::to_value(value)) {
        fields.insert(name.to_owned(), value);
    }
    detail
}

/// Counts it; a first attempt also by how long its delivery was on the way.
fn count(delivery: &DueDelivery, plan: &Plan, row: &AttemptRow) {
    let (worker, trace) = (metrics::worker(), delivery.traceparent.as_deref());
    let is_first = delivery.facts.attempts == 0;
    let before = (row.started_at - delivery.occurred_at).as_seconds_f64().max(0.0);
    if is_first {
        worker.first_attempt(plan.waited_for, before, trace);
    }
    if matches!(row.outcome, Outcome::Delivered { .. }) {
        worker.delivered(is_first, before + row.duration.as_secs_f64(), trace);
    }
    worker.attempt_ended(row.outcome.class(), row.outcome.code(), row.duration, trace);
}

/// Says what came of it: on the span, and as one line for whoever reads logs.
fn tell(span: &Span, delivery: &DueDelivery, row: &AttemptRow) {
    let delivered = matches!(row.outcome, Outcome::Delivered { .. });
    span.record("outcome", row.outcome.class());
    span.record("otel.status_code", if delivered { "OK" } else { "ERROR" });
    if let Some(status) = row.outcome.status() {
        span.record("http.response.status_code", status);
    }
    if let Some(code) = row.outcome.code() {
        span.record("code", code);
    }
    let took_ms = u64::try_from(row.duration.as_millis()).unwrap_or(u64::MAX);
    let _entered = span.enter();
    if delivered {
        tracing::debug!(took_ms, "delivered");
    } else {
        let sentence = row.detail.get("sentence").and_then(serde_json::Value::as_str);
        tracing::warn!(
            delivery = %delivery.facts.id,
            class = row.outcome.class(),
            code = row.outcome.code(),
            status = row.outcome.status(),
            took_ms,
            sentence,
            "an attempt did not deliver"
        );
    }
}
