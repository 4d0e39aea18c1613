//! The two ways in which payments are made: the product's own gRPC, and SQL.
//!
//! Both can be repeated: gRPC by its idempotency key, SQL by the id that the caller chose. So a
//! call whose answer was lost is asked again, and an acknowledgement always comes in the end
//! unless the part stays away.

use std::time::Duration;

use anyhow::{Context, bail};
use domain::{MerchantId, PaymentId};
use proto::v1::payment_service_client::PaymentServiceClient;
use proto::v1::{CreatePaymentRequest, RefundPaymentRequest};
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
pub(crate) enum Way {
    Grpc(PaymentServiceClient<Channel>),
    Sql(Store),
}

/// Why a call was not acknowledged.
#[derive(Debug)]
pub(crate) enum Refusal {
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

    /// Makes a payment; `key` names this call, for every time that it is asked.
    pub(crate) async fn create(
        &self,
        merchant: &MerchantId,
        key: Uuid,
    ) -> Result<PaymentId, Refusal> {
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
            Self::Sql(store) => {
                let id = PaymentId::from(key);
                store.load_payment(id, merchant).await.map_err(database)?;
                Ok(id)
            }
        }
    }

    /// Refunds a payment.
    pub(crate) async fn refund(&self, payment: PaymentId, key: Uuid) -> Result<(), Refusal> {
        match self {
            Self::Grpc(client) => {
                let request = RefundPaymentRequest { id: payment.to_string() };
                client.clone().refund(with_key(request, key)?).await.map_err(refusal_of)?;
                Ok(())
            }
            Self::Sql(store) => store.load_refund(payment).await.map_err(database),
        }
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
