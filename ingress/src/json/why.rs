//! `GET /v1/why/{id}`: what became of a payment, an event or a delivery, or how an endpoint stands,
//! in sentences for people and a word for programs. `posthorn why` says the same, and knows what
//! Restate has besides.

use axum::extract::State;
use domain::endpoint::Asked;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Answer, Id, ok, path_id};
use crate::operations::Operations;
use crate::refusal::Refusal;

#[derive(Serialize)]
pub(super) struct WhyAnswer {
    at: Option<String>,
    answers: Vec<OneAnswer>,
}

#[derive(Serialize)]
struct OneAnswer {
    id: String,
    is: &'static str,
    sentences: Vec<String>,
    next_at: Option<String>,
    endpoint_id: Option<String>,
}

pub(super) async fn why(State(operations): State<Operations>, id: Id) -> Answer<WhyAnswer> {
    let asked: Asked =
        path_id(id)?.parse().map_err(|error| Refusal::invalid("id", format!("{error}")))?;
    let (subjects, now) = operations.why(asked).await?;
    let answers = subjects
        .iter()
        .map(|subject| {
            let why = subject.why(None, now);
            OneAnswer {
                id: subject.id(),
                is: why.is,
                sentences: why.sentences,
                next_at: why.next_at.and_then(text),
                endpoint_id: subject.endpoint().map(|endpoint| endpoint.to_string()),
            }
        })
        .collect();
    ok(WhyAnswer { at: text(now), answers })
}

fn text(at: OffsetDateTime) -> Option<String> {
    at.format(&Rfc3339).ok()
}
