//! One attempt: the payload as it is now, signed and sent, and what came of it.
//!
//! Never an error: a payload or a secret that cannot be had is our fault and a value too. The
//! delivery's turn is a span below the transaction that made the event, and the attempt one below
//! the turn; retries hours later are in the same trace. Both are made inside of the journaled step:
//! a replay makes none.

use std::time::Instant;

use data_service::PayloadError;
use delivery::CustomHeaders;
use delivery::secrets::{Sealed, Secret};
use domain::{AttemptId, EndpointId, Fault, Outcome, PaymentId};
use observability::metrics::{self, WaitedFor};
use observability::spans::{self, Invocation};
use observability::traceparent;
use store::{AttemptRow, DueDelivery, LiveSecret, Look};
use time::OffsetDateTime;
use tracing::{Instrument, Span};

use crate::account::Account;
use crate::worker::Worker;

/// Whose turn it is, and what its look saw.
#[derive(Clone, Copy)]
pub(crate) struct Turn<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) endpoint: EndpointId,
    /// Who runs it.
    pub(crate) invocation: &'a Invocation,
    pub(crate) look: &'a Look,
}

/// What the slice knows of an attempt before it begins.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) id: AttemptId,
    /// Which one of the delivery it will be, as far as is known.
    pub(crate) number: u32,
    /// When, by PostgreSQL's clock.
    pub(crate) started_at: OffsetDateTime,
    /// Why it is made, for people.
    pub(crate) reason: String,
    /// No request starts later than this.
    pub(crate) fresh_until: Instant,
    /// What its delivery waited for until now, if it is the first one.
    pub(crate) waited_for: WaitedFor,
}

/// An attempt that was made.
pub(crate) struct Made<'a> {
    pub(crate) row: AttemptRow,
    /// Of the delivery's turn; what follows is still to be said.
    pub(crate) account: Account<'a>,
}

/// Makes one attempt at `delivery`; none when it would have begun too late: look again.
pub(crate) async fn run<'a>(
    turn: Turn<'a>,
    delivery: &DueDelivery,
    plan: &Plan,
) -> Option<Made<'a>> {
    let about = spans::Delivery {
        delivery: &delivery.facts.id,
        event: &delivery.event_id,
        endpoint: &turn.endpoint,
        merchant: turn.look.endpoint.merchant_id.as_str(),
        object: &delivery.object_id,
        traceparent: delivery.traceparent.as_deref(),
    };
    let span = spans::process(&turn.worker.wake_topic.name(), turn.invocation, about);
    let attempt = span.in_scope(|| spans::attempt(&plan.id, plan.number, &plan.reason));
    let mut account = Account::of(turn, delivery, plan.number, span);
    let under_way = metrics::worker().attempt_begins();
    let Some(row) = send(turn, delivery, plan).instrument(attempt.clone()).await else {
        account.not_begun();
        return None;
    };
    drop(under_way);
    count(delivery, plan, &row);
    let outcome = row.outcome;
    spans::ended(&attempt, outcome.class(), outcome.code(), outcome.status());
    account.attempted(outcome);
    Some(Made { row, account })
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
                traceparent::of(&Span::current()).or(delivery.traceparent.clone())
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
        is_well: turn.look.state.unwell.is_none(),
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
            let fault = if error.is_of_the_row() {
                Fault::PayloadInvalid
            } else {
                Fault::PayloadUnavailable
            };
            Err(InTheWay { fault, sentence: error.to_string() })
        }
    }
}

fn fault_of(error: &PayloadError) -> Fault {
    match error {
        PayloadError::Missing => Fault::PayloadMissing,
        PayloadError::ObjectUnreadable => Fault::PayloadInvalid,
        PayloadError::TooLarge => Fault::PayloadTooLarge,
        PayloadError::Unavailable(_) | PayloadError::Refused(_) | PayloadError::Unreadable => {
            Fault::PayloadUnavailable
        }
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
    // When the event occurred is for its writer to say; the promise begins with the row.
    let before = (row.started_at - delivery.created_at).as_seconds_f64().max(0.0);
    if is_first {
        worker.first_attempt(plan.waited_for, before, trace);
    }
    if matches!(row.outcome, Outcome::Delivered { .. }) {
        worker.delivered(is_first, before + row.duration.as_secs_f64(), trace);
    }
    worker.attempt_ended(row.outcome.class(), row.outcome.code(), row.duration, trace);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_payment_that_cannot_be_had_is_of_its_delivery_and_an_outage_of_the_endpoint() {
        let of_the_endpoint = |error| fault_of(&error).is_of_the_endpoint();
        for error in [PayloadError::Missing, PayloadError::ObjectUnreadable, PayloadError::TooLarge]
        {
            assert!(!of_the_endpoint(error));
        }
        assert!(of_the_endpoint(PayloadError::Unreadable));
    }
}
