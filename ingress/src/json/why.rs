//! `GET /v1/why/{id}`: what became of a payment, an event or a delivery, or how an endpoint stands,
//! in sentences for people and a word for programs. `posthorn why` says the same, and knows what
//! Restate has besides.

use axum::extract::State;
use domain::endpoint::Asked;
use domain::rfc3339_micros;
use observability::traceparent::kept_trace_id;
use serde::Serialize;

use super::{Answer, Id, ok, path_id};
use crate::operations::Operations;
use crate::refusal::Refusal;

#[derive(Serialize)]
pub(super) struct WhyAnswer {
    at: String,
    answers: Vec<OneAnswer>,
}

#[derive(Serialize)]
struct OneAnswer {
    id: String,
    is: &'static str,
    sentences: Vec<String>,
    next_at: Option<String>,
    endpoint_id: Option<String>,
    event_id: Option<String>,
    /// Of a trace that is kept.
    trace_id: Option<String>,
}

pub(super) async fn why(State(operations): State<Operations>, id: Id) -> Answer<WhyAnswer> {
    let asked: Asked =
        path_id(id)?.parse().map_err(|error| Refusal::invalid("id", format!("{error}")))?;
    let (subjects, now) = operations.why(asked).await?;
    let answers = subjects
        .iter()
        .map(|subject| {
            let why = subject.why(None, now);
            let trace_id = subject.traceparent().and_then(kept_trace_id);
            OneAnswer {
                id: subject.id(),
                is: why.is,
                sentences: why.sentences,
                next_at: why.next_at.map(rfc3339_micros),
                endpoint_id: subject.endpoint().map(|endpoint| endpoint.to_string()),
                event_id: subject.event().map(|event| event.to_string()),
                trace_id: trace_id.map(str::to_owned),
            }
        })
        .collect();
    ok(WhyAnswer { at: rfc3339_micros(now), answers })
}
