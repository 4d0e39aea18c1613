//! Jaeger's query paths, `/api/…`: what is on the shelf, as its user interface asks for it.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::search::{self, Search};
use crate::shelf::{Shelf, TraceId};
use crate::{Shared, jaeger, locked};

/// The routes.
pub(crate) fn routes(shelf: Shared) -> Router {
    Router::new()
        .route("/api/traces/{id}", get(trace))
        .route("/api/traces", get(traces))
        .route("/api/services", get(services))
        .route("/api/services/{service}/operations", get(operations))
        .route("/api/operations", get(operations_with_kinds))
        .route("/api/dependencies", get(|| async { answer(&[]) }))
        .route("/api/{*path}", get(|| async { refusal(StatusCode::NOT_FOUND, "no such path") }))
        .with_state(shelf)
}

async fn trace(State(shelf): State<Shared>, Path(id): Path<String>) -> Response {
    let Some(id) = trace_id(&id) else {
        return refusal(StatusCode::BAD_REQUEST, "a trace id has 32 hexadecimal digits");
    };
    let found = ask(shelf, move |shelf| shelf.trace(&id).map(jaeger::trace)).await;
    match found.flatten() {
        Some(trace) => answer(&[trace.to_string()]),
        None => refusal(StatusCode::NOT_FOUND, "trace not found"),
    }
}

async fn traces(
    State(shelf): State<Shared>,
    query: Result<Query<search::Query>, QueryRejection>,
) -> Response {
    let search = query.map_err(|rejected| rejected.body_text());
    match search.and_then(|Query(query)| Search::try_from(query)) {
        Err(reason) => refusal(StatusCode::BAD_REQUEST, &reason),
        Ok(search) => answer(&ask(shelf, move |shelf| search.run(shelf)).await.unwrap_or_default()),
    }
}

async fn services(State(shelf): State<Shared>) -> Response {
    let names = ask(shelf, |shelf| {
        let spans = shelf.newest_first().flatten();
        spans.map(|kept| jaeger::service(&kept.process).to_owned()).collect::<BTreeSet<_>>()
    });
    answer(&names.await.into_iter().flatten().map(text).collect::<Vec<_>>())
}

async fn operations(State(shelf): State<Shared>, Path(service): Path<String>) -> Response {
    let names = ask(shelf, move |shelf| operations_of(shelf, &service)).await;
    answer(&names.into_iter().flatten().map(text).collect::<Vec<_>>())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OfService {
    service: String,
}

async fn operations_with_kinds(
    State(shelf): State<Shared>,
    Query(OfService { service }): Query<OfService>,
) -> Response {
    let names = ask(shelf, move |shelf| operations_of(shelf, &service)).await;
    let named = |name: String| json!({ "name": name, "spanKind": "" }).to_string();
    answer(&names.into_iter().flatten().map(named).collect::<Vec<_>>())
}

fn operations_of(shelf: &Shelf, service: &str) -> BTreeSet<String> {
    let spans = shelf.newest_first().flatten();
    spans
        .filter(|kept| jaeger::service(&kept.process) == service)
        .map(|kept| kept.span().name)
        .collect()
}

/// Reads the shelf on a thread where that may take a moment; none when it broke.
async fn ask<T: Send + 'static>(
    shelf: Shared,
    question: impl FnOnce(&Shelf) -> T + Send + 'static,
) -> Option<T> {
    let asked = tokio::task::spawn_blocking(move || question(&locked(&Arc::clone(&shelf))));
    asked.await.ok()
}

/// Hexadecimal digits, zeros at the front left out or not.
fn trace_id(text: &str) -> Option<TraceId> {
    let is_hex = (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(u128::to_be_bytes)
}

/// A text in JSON.
fn text(text: String) -> String {
    Value::from(text).to_string()
}

/// An answer of values that are JSON already: 1,500 traces as values would be hundreds of megabytes.
fn answer(data: &[String]) -> Response {
    let (total, data) = (data.len(), data.join(","));
    let rest = format!(r#""total":{total},"limit":0,"offset":0,"errors":null"#);
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, format!(r#"{{"data":[{data}],{rest}}}"#)).into_response()
}

fn refusal(status: StatusCode, message: &str) -> Response {
    let errors = json!([{ "code": status.as_u16(), "msg": message }]);
    let body = json!({ "data": null, "total": 0, "limit": 0, "offset": 0, "errors": errors });
    (status, Json(body)).into_response()
}
