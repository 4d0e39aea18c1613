//! Endpoints as paths: `POST /v1/endpoints`, `PATCH` and `DELETE /v1/endpoints/{id}` and their like.
//!
//! A field that is absent from a `PATCH` stays as it is; `null` says no more than that.

use axum::Router;
use axum::extract::{Request, State};
use axum::routing::{get, post};
use http::Uri;
use store::Told;

use super::answers::{
    CreatedEndpointAnswer, EndpointAnswer, EndpointsAnswer, RotatedAnswer, UpdatedEndpointAnswer,
};
use super::commands::{CommandAnswer, addressed};
use super::{Answer, Id, created, ok, page, path_id, policy, read};
use crate::operations::{CreateEndpoint, Operations, RotateSecret, UpdateEndpoint};

/// The routes of endpoints.
pub(super) fn routes() -> Router<Operations> {
    let one = get(get_endpoint).patch(update_endpoint).delete(delete_endpoint);
    Router::new()
        .route("/v1/endpoints", post(create_endpoint).get(list_endpoints))
        .route("/v1/endpoints/{id}", one)
        .route("/v1/endpoints/{id}/rotate-secret", post(rotate_secret))
}

async fn create_endpoint(
    State(operations): State<Operations>,
    request: Request,
) -> Answer<CreatedEndpointAnswer> {
    let (call, mut fields) = read(request).await?;
    let endpoint = CreateEndpoint {
        merchant_id: fields.text("merchant_id")?,
        url: fields.text("url")?.unwrap_or_default(),
        event_types: fields.texts("event_types")?.unwrap_or_default(),
        signature_scheme: fields.text("signature_scheme")?,
        secret: fields.text("secret")?,
        headers: fields.texts_by_name("headers")?.unwrap_or_default(),
        send_traceparent: fields.truth("send_traceparent")?.unwrap_or_default(),
        ordering: fields.text("ordering")?,
        policy: policy::take(&mut fields)?.unwrap_or_default(),
    };
    fields.end(&[
        "merchant_id",
        "url",
        "event_types",
        "signature_scheme",
        "secret",
        "headers",
        "send_traceparent",
        "ordering",
        "policy",
    ])?;
    created(operations.create_endpoint(&call, endpoint).await?)
}

async fn rotate_secret(
    State(operations): State<Operations>,
    id: Id,
    request: Request,
) -> Answer<RotatedAnswer> {
    let (call, mut fields) = read(request).await?;
    let rotation = RotateSecret {
        id: path_id(id)?,
        overlap_s: fields.integer("overlap_s")?,
        signature_scheme: fields.text("signature_scheme")?,
        secret: fields.text("secret")?,
    };
    fields.end(&["overlap_s", "signature_scheme", "secret"])?;
    ok(operations.rotate_secret(&call, rotation).await?)
}

async fn get_endpoint(State(operations): State<Operations>, id: Id) -> Answer<EndpointAnswer> {
    ok(operations.endpoint(&path_id(id)?).await?)
}

async fn list_endpoints(State(operations): State<Operations>, uri: Uri) -> Answer<EndpointsAnswer> {
    ok(operations.endpoints(page(&uri)?).await?)
}

async fn update_endpoint(
    State(operations): State<Operations>,
    id: Id,
    request: Request,
) -> Answer<UpdatedEndpointAnswer> {
    let (_, mut fields) = read(request).await?;
    let to = addressed(id, &mut fields)?;
    let update = UpdateEndpoint {
        url: fields.text("url")?,
        event_types: fields.texts("event_types")?,
        ordering: fields.text("ordering")?,
        policy: policy::take(&mut fields)?,
        headers: fields.texts_by_name("headers")?,
        signature_scheme: fields.text("signature_scheme")?,
        send_traceparent: fields.truth("send_traceparent")?,
    };
    fields.end(&[
        "url",
        "event_types",
        "ordering",
        "policy",
        "headers",
        "signature_scheme",
        "send_traceparent",
        "command_id",
        "actor",
    ])?;
    ok(operations.update_endpoint(to, update).await?)
}

async fn delete_endpoint(
    State(operations): State<Operations>,
    id: Id,
    request: Request,
) -> Answer<CommandAnswer> {
    let (_, mut fields) = read(request).await?;
    let to = addressed(id, &mut fields)?;
    fields.end(&["command_id", "actor"])?;
    ok(operations.tell(to, Told::Delete).await?)
}
