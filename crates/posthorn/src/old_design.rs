//! The old design, for comparison: one process that takes a payment, answers, and sends the webhook
//! from memory.
//!
//! It is what many platforms begin with, and it is written to look well: the payment is committed
//! before it is answered, the send begins at once, a merchant that fails is asked again, and a
//! caller that repeats its call has the webhook sent again. What it lacks is a memory that outlives
//! the process. Nothing of the product calls this.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Args;
use domain::{MerchantId, PaymentId, rfc3339_micros};
use serde::Deserialize;
use serde_json::{Value, json};
use store::Store;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use uuid::Uuid;

/// Pauses before the second try, the third, …; after the last the webhook is given up.
const RETRIES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];
/// As patient with a merchant as the product is.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// As many as the product's api has.
const CONNECTIONS: u32 = 16;

#[derive(Args)]
pub(crate) struct OldDesignArgs {
    /// Where it listens.
    #[arg(long)]
    listen: SocketAddr,
    /// The merchants: a webhook for `m` goes to `<receiver>/webhooks/m`.
    #[arg(long)]
    receiver: String,
    /// PostgreSQL, as a URL: the payments are kept there.
    #[arg(long, env = "POSTHORN_DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

#[derive(Clone)]
struct OldApi {
    store: Store,
    client: reqwest::Client,
    receiver: String,
}

#[derive(Deserialize)]
struct NewPayment {
    merchant_id: MerchantId,
}

pub(crate) async fn old_design(args: OldDesignArgs) -> anyhow::Result<ExitCode> {
    stack::exec::show_as("old-design");
    let api = OldApi {
        store: Store::new(&args.database_url, "posthorn-old-design", CONNECTIONS)?,
        client: reqwest::Client::builder().no_proxy().timeout(REQUEST_TIMEOUT).build()?,
        receiver: args.receiver,
    };
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("the old design cannot listen on {}", args.listen))?;
    let routes = Router::new()
        .route("/payments", post(pay))
        .route("/readyz", get(async || StatusCode::OK))
        .with_state(api);
    axum::serve(listener, routes).await?;
    Ok(ExitCode::SUCCESS)
}

async fn pay(
    State(api): State<OldApi>,
    headers: HeaderMap,
    Json(new): Json<NewPayment>,
) -> (StatusCode, Json<Value>) {
    // A call that is repeated is the same payment.
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()?.parse().ok());
    let id = PaymentId::from(key.unwrap_or_else(Uuid::now_v7));
    if let Err(error) = api.store.load_payment(id, &new.merchant_id).await {
        let refusal = json!({ "error": error.to_string() });
        return (StatusCode::SERVICE_UNAVAILABLE, Json(refusal));
    }
    // The caller is answered, and from here on only this process knows of the webhook.
    tokio::spawn(send(api, new.merchant_id, id));
    (StatusCode::CREATED, Json(json!({ "id": id, "status": "succeeded" })))
}

async fn send(api: OldApi, merchant: MerchantId, payment: PaymentId) {
    let url = format!("{}/webhooks/{merchant}", api.receiver);
    let webhook = json!({
        "type": "payment.succeeded",
        "timestamp": rfc3339_micros(OffsetDateTime::now_utc()),
        "data": { "id": payment, "amount": 1_000, "currency": "USD", "status": "succeeded" },
    });
    for pause in RETRIES.map(Some).into_iter().chain([None]) {
        let request = api.client.post(&url).header("webhook-id", payment.to_string());
        let answer = request.json(&webhook).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return;
        }
        let Some(pause) = pause else { return };
        tokio::time::sleep(pause).await;
    }
}
