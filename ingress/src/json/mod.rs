//! The HTTP/JSON front: paths of the reference design, and `/v1`.
//!
//! A body comes in, is taken apart by name and handed to `operations`; what they answer goes out.
//! No rule about a value stands here, only about JSON: types, unknown fields, size.

mod answers;
mod commands;
mod endpoints;
mod fields;
mod policy;
mod server;
#[cfg(test)]
mod tests;
mod why;

use std::time::Instant;

use axum::body::{Body, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{MatchedPath, Path, Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, Uri, header};
use observability::{metrics, spans, traceparent};
use tracing::Instrument as _;

pub(crate) use server::serve;

use self::answers::{MerchantAnswer, PaymentAnswer, PaymentsAnswer};
use self::fields::Fields;
use crate::at_work::AtWork;
use crate::call::{Call, joined};
use crate::limits::{REQUEST_BYTES_MAX, REQUEST_TIMEOUT};
use crate::operations::{CreateMerchant, CreatePayment, Operations, PageRequest};
use crate::refusal::Refusal;

type Id = Result<Path<String>, PathRejection>;
type Answer<T> = Result<(StatusCode, Json<T>), Refusal>;

/// The routes of the front.
pub(crate) fn routes(operations: Operations) -> Router {
    Router::new()
        .route("/payments", post(create_payment).get(list_payments))
        .route("/payments/{id}", get(get_payment))
        .route("/payments/{id}/refund", post(refund_payment))
        .route("/payments/{id}/cancel", post(cancel_payment))
        .route("/v1/merchants", post(create_merchant))
        .merge(endpoints::routes())
        .merge(commands::routes())
        .route("/v1/why/{id}", get(why::why))
        .method_not_allowed_fallback(async || Refusal::NoSuchMethod)
        .layer(middleware::from_fn(traced))
        .fallback(async || Refusal::NoSuchPath)
        .with_state(operations)
}

async fn traced(request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let method = spans::known_method(request.method().as_str());
    let span = joined(spans::http_server(method, path), request.headers());
    let operation = format!("{method} {path}");
    let (began, trace) = (Instant::now(), traceparent::of(&span));
    let at_work = AtWork::of(operation.clone(), trace.clone(), request.headers());
    let response = at_work.runs(next.run(request)).instrument(span.clone()).await;
    let code = response.status().as_u16();
    metrics::front("http", &operation, &code.to_string(), began.elapsed(), trace.as_deref());
    spans::http_answered(&span, code, true);
    response
}

async fn create_payment(
    State(operations): State<Operations>,
    request: Request,
) -> Answer<PaymentAnswer> {
    let (call, mut fields) = read(request).await?;
    let payment = CreatePayment {
        amount: fields.integer("amount")?.unwrap_or_default(),
        currency: fields.text("currency")?.unwrap_or_default(),
        merchant_id: fields.text("merchant_id")?,
        status: fields.text("status")?,
    };
    fields.end(&["amount", "currency", "merchant_id", "status"])?;
    created(operations.create_payment(&call, payment).await?)
}

async fn get_payment(State(operations): State<Operations>, id: Id) -> Answer<PaymentAnswer> {
    ok(operations.payment(&path_id(id)?).await?)
}

async fn list_payments(State(operations): State<Operations>, uri: Uri) -> Answer<PaymentsAnswer> {
    ok(operations.payments(page(&uri)?).await?)
}

async fn refund_payment(
    State(operations): State<Operations>,
    id: Id,
    request: Request,
) -> Answer<PaymentAnswer> {
    let (call, fields) = read(request).await?;
    fields.end(&[])?;
    ok(operations.refund_payment(&call, &path_id(id)?).await?)
}

async fn cancel_payment(
    State(operations): State<Operations>,
    id: Id,
    request: Request,
) -> Answer<PaymentAnswer> {
    let (call, fields) = read(request).await?;
    fields.end(&[])?;
    ok(operations.cancel_payment(&call, &path_id(id)?).await?)
}

async fn create_merchant(
    State(operations): State<Operations>,
    request: Request,
) -> Answer<MerchantAnswer> {
    let (call, mut fields) = read(request).await?;
    let merchant = CreateMerchant {
        merchant_id: fields.text("merchant_id")?.unwrap_or_default(),
        name: fields.text("name")?.unwrap_or_default(),
    };
    fields.end(&["merchant_id", "name"])?;
    created(operations.create_merchant(&call, merchant).await?)
}

fn ok<T>(answer: impl Into<T>) -> Answer<T> {
    Ok((StatusCode::OK, Json(answer.into())))
}

fn created<T>(answer: impl Into<T>) -> Answer<T> {
    Ok((StatusCode::CREATED, Json(answer.into())))
}

/// A query is text: what is empty counts as not said.
fn page(uri: &Uri) -> Result<PageRequest, Refusal> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|_| Refusal::invalid("query", "must be name=value pairs joined by &"))?;
    let said = pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let mut fields = Fields::of_query(said)?;
    let size = fields.text("page_size")?.map(|text| {
        text.parse().map_err(|_| Refusal::invalid("page_size", "must be a whole number"))
    });
    let page = PageRequest {
        merchant_id: fields.text("merchant_id")?,
        size: size.transpose()?,
        token: fields.text("page_token")?,
    };
    fields.end(&["merchant_id", "page_size", "page_token"])?;
    Ok(page)
}

fn path_id(id: Id) -> Result<String, Refusal> {
    match id {
        Ok(Path(id)) => Ok(id),
        Err(_) => Err(Refusal::invalid("id", "must be an id, without percent-encoding")),
    }
}

async fn read(request: Request) -> Result<(Call, Fields), Refusal> {
    let (head, body) = request.into_parts();
    let call = Call::of(&head.headers)?;
    let body = whole(body).await?;
    // A browser sends other types to other origins unasked; this one it must ask for. So no page
    // that a developer happens to open can write through the front that needs no key.
    if !body.is_empty() && !is_json(&head.headers) {
        return Err(Refusal::NotJson);
    }
    Ok((call, Fields::parse(&body)?))
}

async fn whole(body: Body) -> Result<axum::body::Bytes, Refusal> {
    let too_large =
        |_| Refusal::invalid("body", format!("must be at most {REQUEST_BYTES_MAX} bytes"));
    tokio::time::timeout(REQUEST_TIMEOUT, to_bytes(body, REQUEST_BYTES_MAX))
        .await
        .map_err(|_| Refusal::TooSlow)?
        .map_err(too_large)
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|mime| mime.trim().eq_ignore_ascii_case("application/json"))
}
