//! What the front refuses before anything is asked of the database: there is none in these tests,
//! so a request that got as far would be answered 503.

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};
use store::Store;
use tower::ServiceExt as _;

use super::*;
use crate::operations::EndpointPolicy;
use crate::wake::Waker;

const NO_DATABASE: &str = "postgres://nobody@127.0.0.1:1/none";

async fn answer(request: Request<Body>) -> (StatusCode, Value) {
    // As the binary does first of all; a second time changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let store = Store::new(NO_DATABASE, "test", 1).expect("a URL");
    let routes = routes(Operations::new(
        store,
        EndpointPolicy::strict(),
        Waker::new("http://127.0.0.1:1").expect("a URL"),
    ));
    let response = routes.oneshot(request).await.expect("an answer");
    let status = response.status();
    let body = to_bytes(response.into_body(), REQUEST_BYTES_MAX).await.expect("a body");
    (status, serde_json::from_slice(&body).expect("JSON"))
}

fn request(method: &str, path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json; charset=utf-8")
        .body(body.into())
        .expect("a request")
}

async fn is_refused(request: Request<Body>, field: &str) {
    let what = format!("{request:?}");
    let (status, body) = answer(request).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{what}: {body}");
    assert_eq!(body["error"]["code"], "invalid_argument", "{what}");
    assert_eq!(body["error"]["field"], field, "{what}: {body}");
    let message = body["error"]["message"].as_str().expect("a message");
    assert!(message.starts_with(&format!("{field}: ")) && message.len() < 300, "{what}: {body}");
}

#[tokio::test]
async fn every_bad_field_of_a_body_is_named() {
    let long = "x".repeat(201);
    let cases = [
        ("/payments", json!({"amount": 0, "currency": "USD"}), "amount"),
        ("/payments", json!({"amount": -5, "currency": "USD"}), "amount"),
        ("/payments", json!({"amount": "5", "currency": "USD"}), "amount"),
        ("/payments", json!({"amount": 5.5, "currency": "USD"}), "amount"),
        ("/payments", json!({"currency": "USD"}), "amount"),
        ("/payments", json!({"amount": 5}), "currency"),
        ("/payments", json!({"amount": 5, "currency": 5}), "currency"),
        ("/payments", json!({"amount": 5, "currency": "DOLLARS"}), "currency"),
        ("/payments", json!({"amount": 5, "currency": "USD", "merchant_id": "a b"}), "merchant_id"),
        ("/payments", json!({"amount": 5, "currency": "USD", "merchant_id": long}), "merchant_id"),
        ("/payments", json!({"amount": 5, "currency": "USD", "status": "failed"}), "status"),
        ("/payments", json!({"amount": 5, "currency": "USD", "amout": 6}), "amout"),
        ("/payments/pay_x/refund", json!({}), "id"),
        ("/payments/pay_x/cancel", json!({"reason": "x"}), "reason"),
        ("/v1/merchants", json!({"merchant_id": "m"}), "name"),
        ("/v1/merchants", json!({"merchant_id": "m", "name": long}), "name"),
        ("/v1/merchants", json!({"name": "M"}), "merchant_id"),
        ("/v1/endpoints", json!({"merchant_id": "m"}), "url"),
        ("/v1/endpoints", json!({"url": "https://127.0.0.1/"}), "url"),
        ("/v1/endpoints", json!({"url": "ftp://example.com/"}), "url"),
        (
            "/v1/endpoints",
            json!({"url": "https://example.com/", "event_types": "a"}),
            "event_types",
        ),
    ];
    for (path, body, field) in cases {
        is_refused(request("POST", path, body.to_string()), field).await;
    }
    is_refused(request("POST", "/payments", "{\"amount\": 5, "), "body").await;
    is_refused(request("POST", "/payments", vec![0xff; 1_000_000]), "body").await;
    is_refused(request("GET", "/payments?page_size=0x", ""), "page_size").await;
    is_refused(request("GET", "/payments?merchant=m", ""), "merchant").await;
    is_refused(request("GET", "/v1/endpoints?page_token=x", ""), "page_token").await;
}

#[tokio::test]
async fn a_bad_idempotency_key_is_refused_and_not_overlooked() {
    let mut request =
        request("POST", "/payments", json!({"amount": 5, "currency": "USD"}).to_string());
    request.headers_mut().insert("idempotency-key", "x".repeat(256).parse().expect("a header"));
    is_refused(request, "idempotency-key").await;
}

#[tokio::test]
async fn paths_methods_and_types_that_are_not_served_are_answered_in_json_too() {
    let (status, body) = answer(request("GET", "/nothing", "")).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::NOT_FOUND, &json!("not_found")));
    let (status, body) = answer(request("DELETE", "/payments", "")).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(body["error"]["code"], "unimplemented");
    let mut plain = request("POST", "/payments", "{}");
    plain.headers_mut().insert("content-type", "text/plain".parse().expect("a header"));
    let (status, body) = answer(plain).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(body["error"]["field"], Value::Null);
}
