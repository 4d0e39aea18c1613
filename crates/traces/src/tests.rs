//! The role from both sides: spans put on the shelf, and what Jaeger's paths say of them.

use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use serde_json::Value;
use tower::ServiceExt as _;

use crate::shelf::Shelf;
use crate::{Shared, api};

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Any::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn span(trace: u8, id: u8, parent: Option<u8>, attributes: Vec<KeyValue>) -> Span {
    Span {
        trace_id: vec![trace; 16],
        span_id: vec![id; 8],
        parent_span_id: parent.map(|parent| vec![parent; 8]).unwrap_or_default(),
        name: format!("span {id}"),
        kind: 2,
        start_time_unix_nano: 1_000_000 * u64::from(id),
        end_time_unix_nano: 1_000_000 * u64::from(id) + 2_500_000,
        attributes,
        status: Some(Status { code: 2, message: "no".to_owned() }),
        ..Span::default()
    }
}

fn put(shelf: &mut Shelf, service: &str, span: &Span) -> bool {
    let attributes = vec![text("service.name", service)];
    let process = shelf.process(Resource { attributes, ..Resource::default() });
    shelf.put(&process, "posthorn", span)
}

async fn get(shelf: &Shared, path: &str) -> (StatusCode, Value) {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let response = api::routes(Arc::clone(shelf)).oneshot(request).await.expect("an answer");
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    (status, serde_json::from_slice(&body).expect("JSON"))
}

fn two_traces() -> Shared {
    let mut shelf = Shelf::new(1 << 20);
    put(&mut shelf, "posthorn-api", &span(1, 1, None, vec![text("posthorn.payment.id", "pay_1")]));
    put(&mut shelf, "posthorn-worker", &span(1, 2, Some(1), Vec::new()));
    // Its caller's span is somewhere else: it must be found all the same.
    put(
        &mut shelf,
        "posthorn-api",
        &span(2, 3, Some(9), vec![text("posthorn.payment.id", "pay_2")]),
    );
    Arc::new(Mutex::new(shelf))
}

#[tokio::test]
async fn a_trace_has_its_spans_their_parents_tags_and_services() {
    let shelf = two_traces();
    let (status, body) = get(&shelf, &format!("/api/traces/{}", "01".repeat(16))).await;
    assert_eq!(status, StatusCode::OK);
    let spans = body["data"][0]["spans"].as_array().expect("spans");
    assert_eq!(spans.len(), 2);
    assert_eq!(spans[1]["references"][0]["refType"], "CHILD_OF");
    assert_eq!(spans[1]["references"][0]["spanID"], spans[0]["spanID"]);
    assert_eq!((&spans[0]["startTime"], &spans[0]["duration"]), (&1_000.into(), &2_500.into()));
    let tag = |name: &str| {
        let tags = spans[0]["tags"].as_array().expect("tags");
        tags.iter().find(|tag| tag["key"] == name).map(|tag| tag["value"].clone())
    };
    assert_eq!(tag("posthorn.payment.id"), Some("pay_1".into()));
    assert_eq!(tag("span.kind"), Some("server".into()));
    assert_eq!(tag("otel.status_code"), Some("ERROR".into()));
    assert_eq!(tag("error"), Some(true.into()));
    let process = spans[1]["processID"].as_str().expect("a process");
    assert_eq!(body["data"][0]["processes"][process]["serviceName"], "posthorn-worker");
}

#[tokio::test]
async fn one_search_by_a_tag_finds_the_trace_of_a_payment_and_no_other() {
    let shelf = two_traces();
    for (query, found) in [
        ("tags=%7B%22posthorn.payment.id%22%3A%22pay_2%22%7D", vec!["02"]),
        ("service=posthorn-api&tags=%7B%22error%22%3A%22true%22%7D", vec!["02", "01"]),
        ("service=posthorn-worker", vec!["01"]),
        ("operation=span%203", vec!["02"]),
        ("minDuration=3ms", vec![]),
        ("maxDuration=2.5ms&limit=1", vec!["02"]),
        ("start=2500&end=9000", vec!["02"]),
        ("tags=%7B%22posthorn.payment.id%22%3A%22pay_%22%7D", vec![]),
    ] {
        let (status, body) = get(&shelf, &format!("/api/traces?{query}")).await;
        assert_eq!(status, StatusCode::OK, "{query}");
        let ids: Vec<String> = body["data"]
            .as_array()
            .expect("traces")
            .iter()
            .map(|trace| trace["traceID"].as_str().unwrap_or_default()[..2].to_owned())
            .collect();
        assert_eq!(ids, found, "{query}");
    }
    assert_eq!(get(&shelf, "/api/services").await.1["data"][1], "posthorn-worker");
    let (_, operations) = get(&shelf, "/api/services/posthorn-api/operations").await;
    assert_eq!(operations["data"], serde_json::json!(["span 1", "span 3"]));
    let (_, operations) = get(&shelf, "/api/operations?service=posthorn-worker").await;
    assert_eq!(operations["data"][0]["name"], "span 2");
}

#[tokio::test]
async fn what_is_not_there_is_404_and_what_is_no_id_400() {
    let shelf = two_traces();
    let (status, body) = get(&shelf, &format!("/api/traces/{}", "0f".repeat(16))).await;
    assert_eq!(
        (status, &body["errors"][0]["msg"]),
        (StatusCode::NOT_FOUND, &"trace not found".into())
    );
    assert_eq!(get(&shelf, "/api/traces/nonsense").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(get(&shelf, "/api/traces?tags=x").await.0, StatusCode::BAD_REQUEST);
    let (status, body) = get(&shelf, "/api/traces?limit=abc").await;
    let told = body["errors"][0]["msg"].as_str().unwrap_or_default();
    assert!(status == StatusCode::BAD_REQUEST && told.contains("limit"), "{status} {body}");
    assert_eq!(get(&shelf, "/api/nonsense").await.0, StatusCode::NOT_FOUND);
}

#[test]
fn memory_is_bounded_and_the_trace_that_was_quiet_for_longest_goes_first() {
    let bound = 100_000;
    let mut shelf = Shelf::new(bound);
    for round in 0..100_u8 {
        // The first trace is touched again and again, as one is that is retried.
        assert!(put(&mut shelf, "s", &span(0, round, None, Vec::new())));
        let other = 1 + round;
        let long = vec![text("a", &"x".repeat(1_500))];
        assert!(put(&mut shelf, "s", &span(other, 1, None, long)));
        assert!(shelf.bytes() <= bound, "{}", shelf.bytes());
    }
    assert_eq!(shelf.trace(&[0; 16]).map(<[_]>::len), Some(100));
    assert!(shelf.trace(&[1; 16]).is_none(), "the oldest of the others is gone");
    assert!(shelf.trace(&[100; 16]).is_some(), "the newest is there");
    // One trace has a bound of its own.
    let mut shelf = Shelf::new(usize::MAX);
    for _ in 0..5_100 {
        put(&mut shelf, "s", &span(1, 1, None, Vec::new()));
    }
    assert_eq!(shelf.trace(&[1; 16]).map(<[_]>::len), Some(5_000));
}

#[test]
fn a_span_without_ids_is_none() {
    let mut shelf = Shelf::new(1_000);
    assert!(!put(&mut shelf, "s", &Span { trace_id: vec![1; 8], ..span(1, 1, None, Vec::new()) }));
    assert!(!put(&mut shelf, "s", &Span { span_id: Vec::new(), ..span(1, 1, None, Vec::new()) }));
    assert_eq!(shelf.bytes(), 0);
}
