//! What an operator or a test asks and orders: counts, entries, behaviours, a fresh start.
//!
//! Everything is JSON. Nothing here holds the ledger for longer than one bounded page.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use crate::Simulator;
use crate::behaviour::Behaviour;
use crate::entry::Sought;
use crate::ledger::{Ledger, Page, Stats};
use crate::line::Line;

/// Entries of a page when the caller does not say, and the most that may be asked for.
const PAGE_ENTRIES: usize = 1_000;
/// The same number bounds the requests that are shown of one webhook.
const PAGE_ENTRIES_MAX: usize = 10_000;

pub(crate) fn routes(simulator: Arc<Simulator>) -> Router {
    Router::new()
        .route("/stats", get(stats))
        .route("/ledger", get(page))
        .route("/ledger/{webhook_id}", get(requests_of_webhook))
        .route("/reset", post(reset))
        .route("/behaviours", get(behaviours).delete(delete_behaviours))
        .route(
            "/behaviours/{*merchant}",
            get(behaviour).put(put_behaviour).delete(delete_behaviour),
        )
        .with_state(simulator)
}

async fn stats(State(simulator): State<Arc<Simulator>>) -> Json<Stats> {
    let stats = simulator.ledger().stats();
    Json(stats)
}

#[derive(Debug, Deserialize)]
struct Asked {
    merchant: Option<String>,
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

async fn page(State(simulator): State<Arc<Simulator>>, Query(asked): Query<Asked>) -> Response {
    let limit = asked.limit.unwrap_or(PAGE_ENTRIES);
    if !(1..=PAGE_ENTRIES_MAX).contains(&limit) {
        let error = format!("limit: must be 1 to {PAGE_ENTRIES_MAX}");
        return refusal(StatusCode::BAD_REQUEST, &error);
    }
    let merchant = asked.merchant.as_deref();
    Json(collect(&simulator, asked.after, limit, |ledger, after, limit| {
        ledger.page(merchant, after, limit)
    }))
    .into_response()
}

async fn requests_of_webhook(
    State(simulator): State<Arc<Simulator>>,
    Path(webhook_id): Path<String>,
) -> Response {
    let sought = Sought::new(&webhook_id);
    let page = collect(&simulator, 0, PAGE_ENTRIES_MAX, |ledger, after, _| {
        ledger.page_of_webhook(&sought, after)
    });
    if page.entries.is_empty() {
        let error = format!("no request with webhook-id {webhook_id}");
        return refusal(StatusCode::NOT_FOUND, &error);
    }
    Json(json!({ "webhook_id": webhook_id, "requests": page.entries })).into_response()
}

/// Looks at one bounded part of the ledger after the other until the page is full; webhooks get
/// their turn in between.
fn collect(
    simulator: &Simulator,
    mut after: u64,
    limit: usize,
    part: impl Fn(&Ledger, u64, usize) -> Page,
) -> Page {
    let mut entries: Vec<Line> = Vec::new();
    loop {
        let found = part(&simulator.ledger(), after, limit - entries.len());
        entries.extend(found.entries);
        match found.next {
            Some(next) if entries.len() < limit => after = next,
            next => return Page { entries, next },
        }
    }
}

async fn reset(State(simulator): State<Arc<Simulator>>) -> Response {
    if let Some(file) = &simulator.file
        && let Err(error) = file.empty().await
    {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string());
    }
    *simulator.ledger() = Ledger::new();
    StatusCode::NO_CONTENT.into_response()
}

async fn behaviours(State(simulator): State<Arc<Simulator>>) -> Response {
    Json(simulator.behaviours().all()).into_response()
}

async fn delete_behaviours(State(simulator): State<Arc<Simulator>>) -> StatusCode {
    simulator.behaviours().clear();
    StatusCode::NO_CONTENT
}

async fn behaviour(
    State(simulator): State<Arc<Simulator>>,
    Path(merchant): Path<String>,
) -> Response {
    match simulator.behaviours().get(&merchant) {
        Some(behaviour) => Json(behaviour).into_response(),
        None => refusal(StatusCode::NOT_FOUND, &format!("{merchant} was told nothing")),
    }
}

async fn put_behaviour(
    State(simulator): State<Arc<Simulator>>,
    Path(merchant): Path<String>,
    body: axum::body::Bytes,
) -> Response {
    // Whatever the content type: `curl -d` alone is enough.
    let behaviour: Behaviour = match serde_json::from_slice(&body) {
        Ok(behaviour) => behaviour,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match simulator.behaviours().put(&merchant, behaviour.clone()) {
        Ok(()) => Json(behaviour).into_response(),
        Err(error) => refusal(StatusCode::BAD_REQUEST, &error),
    }
}

async fn delete_behaviour(
    State(simulator): State<Arc<Simulator>>,
    Path(merchant): Path<String>,
) -> StatusCode {
    simulator.behaviours().delete(&merchant);
    StatusCode::NO_CONTENT
}

fn refusal(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}
