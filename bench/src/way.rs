//! The ways in which payments are made: the product's own gRPC and JSON fronts, and SQL.
//!
//! All can be repeated: the fronts by their idempotency key, SQL by the id that the caller chose. So a
//! call whose answer was lost is asked again, and an acknowledgement always comes in the end
//! unless the part stays away.

use std::time::Duration;

use anyhow::{Context, bail};
use domain::{MerchantId, PaymentId};
use proto::v1::payment_service_client::PaymentServiceClient;
use proto::v1::{CreatePaymentRequest, RefundPaymentRequest};
use reqwest::StatusCode;
use serde_json::{Value, json};
use store::Store;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use uuid::Uuid;

use crate::config::Via;
use crate::target::Target;

/// Longest for one call; the api's own limits are shorter.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Connections of the SQL way. More would measure PostgreSQL's scheduling.
const DATABASE_CONNECTIONS: u32 = 16;

/// How payments are made.
#[derive(Debug, Clone)]
pub enum Way {
    /// The gRPC front.
    Grpc(PaymentServiceClient<Channel>),
    /// Whatever takes `POST /payments`.
    Json(JsonFront),
    /// A transaction a payment.
    Sql(Store),
}

/// A front that takes `POST /payments`.
#[derive(Debug, Clone)]
pub struct JsonFront {
    client: reqwest::Client,
    url: String,
}

/// Why a call was not acknowledged.
#[derive(Debug)]
pub enum Refusal {
    /// It may go through when it is asked again.
    Passing(anyhow::Error),
    /// It never will.
    Final(anyhow::Error),
}

impl Way {
    /// The way `via`, to this stack.
    pub(crate) fn new(via: Via, target: &Target) -> anyhow::Result<Self> {
        match via {
            Via::Grpc => {
                let channel = Endpoint::from_shared(target.grpc_url.clone())
                    .context("--grpc-url")?
                    .timeout(CALL_TIMEOUT)
                    .tcp_nodelay(true)
                    .connect_lazy();
                Ok(Self::Grpc(PaymentServiceClient::new(channel)))
            }
            Via::Sql => {
                let Some(url) = &target.database_url else {
                    bail!("--via sql needs --database-url, or the --dir of an `up`");
                };
                Ok(Self::Sql(Store::new(url, "posthorn bench", DATABASE_CONNECTIONS)?))
            }
        }
    }

    /// By JSON, to the front at `url`, such as `http://127.0.0.1:3001`.
    ///
    /// # Errors
    /// When no HTTP client can be built.
    pub fn json(url: &str) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .timeout(CALL_TIMEOUT)
            // The front is on this machine; a proxy from the environment is not asked.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self::Json(JsonFront { client, url: url.trim_end_matches('/').to_owned() }))
    }

    /// Makes a payment; `key` names this call, for every time that it is asked.
    pub async fn create(&self, merchant: &MerchantId, key: Uuid) -> Result<PaymentId, Refusal> {
        match self {
            Self::Grpc(client) => {
                let request = CreatePaymentRequest {
                    amount: 1_000,
                    currency: "USD".to_owned(),
                    merchant_id: merchant.as_str().to_owned(),
                    ..CreatePaymentRequest::default()
                };
                let answer = client.clone().create(with_key(request, key)?).await;
                let payment = answer.map_err(refusal_of)?.into_inner().payment.unwrap_or_default();
                payment.id.parse().map_err(|error: domain::IdError| Refusal::Final(error.into()))
            }
            Self::Json(front) => {
                let body = json!({
                    "merchant_id": merchant.as_str(),
                    "amount": 1_000,
                    "currency": "USD",
                });
                let answer = front.post("/payments", key, &body).await?;
                let id = answer["id"].as_str().unwrap_or_default();
                id.parse().map_err(|error: domain::IdError| Refusal::Final(error.into()))
            }
            Self::Sql(store) => {
                let id = PaymentId::from(key);
                store.load_payment(id, merchant).await.map_err(database)?;
                Ok(id)
            }
        }
    }

    /// Refunds a payment.
    pub async fn refund(&self, payment: PaymentId, key: Uuid) -> Result<(), Refusal> {
        match self {
            Self::Grpc(client) => {
                let request = RefundPaymentRequest { id: payment.to_string() };
                client.clone().refund(with_key(request, key)?).await.map_err(refusal_of)?;
                Ok(())
            }
            Self::Json(front) => {
                front.post(&format!("/payments/{payment}/refund"), key, &json!({})).await?;
                Ok(())
            }
            Self::Sql(store) => store.load_refund(payment).await.map_err(database),
        }
    }
}

impl JsonFront {
    async fn post(&self, path: &str, key: Uuid, body: &Value) -> Result<Value, Refusal> {
        let passing = |error: reqwest::Error| Refusal::Passing(error.into());
        let request = self.client.post(format!("{}{path}", self.url));
        let request = request.header("idempotency-key", key.to_string()).json(body);
        let answer = request.send().await.map_err(passing)?;
        let status = answer.status();
        let text = answer.text().await.map_err(passing)?;
        if status.is_success() {
            return Ok(serde_json::from_str(&text).unwrap_or_default());
        }
        let excerpt: String = text.chars().take(200).collect();
        let error = anyhow::anyhow!("POST {path} answered {status}: {excerpt}");
        // Somebody else's call under the same key may still be on its way.
        let may_pass = status.is_server_error()
            || [StatusCode::CONFLICT, StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS]
                .contains(&status);
        Err(if may_pass { Refusal::Passing(error) } else { Refusal::Final(error) })
    }
}

fn with_key<T>(message: T, key: Uuid) -> Result<Request<T>, Refusal> {
    let mut request = Request::new(message);
    let key = key.to_string().parse().context("an idempotency key").map_err(Refusal::Final)?;
    request.metadata_mut().insert("idempotency-key", key);
    Ok(request)
}

fn refusal_of(status: Status) -> Refusal {
    let is_final = matches!(
        status.code(),
        Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::Unimplemented
    );
    if is_final { Refusal::Final(status.into()) } else { Refusal::Passing(status.into()) }
}

fn database(error: store::StoreError) -> Refusal {
    match error.constraint() {
        Some(_) => Refusal::Final(error.into()),
        None => Refusal::Passing(error.into()),
    }
}
