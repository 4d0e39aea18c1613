//! What both fronts do: parse what was said, one transaction, an answer.
//!
//! Every rule about a request stands here or in the domain, so that gRPC and JSON cannot differ.
//! What must never happen here: a write before everything was parsed, a write outside of the one
//! statement that also keeps its answer, a wait without a limit.

mod changes;
mod commands;
mod endpoints;
mod merchants;
mod page;
mod payments;
mod secrets;
mod why;

use std::str::FromStr;
use std::sync::Arc;

use domain::{IdError, MerchantId};
use store::{Store, Written};
use tokio::sync::Semaphore;

pub(crate) use changes::{UpdateEndpoint, UpdatedEndpoint};
pub(crate) use commands::{
    Addressed, DoneCommand, Redeliver, ShownStanding, is_breaker_open, status_name,
};
pub(crate) use endpoints::{CreateEndpoint, CreatedEndpoint, EndpointPolicy};
pub(crate) use merchants::CreateMerchant;
pub(crate) use page::{Page, PageRequest};
pub(crate) use payments::CreatePayment;
pub(crate) use secrets::{RotateSecret, Rotated};

use crate::limits::{REQUEST_TIMEOUT, REQUESTS_AT_ONCE_MAX};
use crate::refusal::Refusal;
use crate::wake::Waker;

/// What both fronts do. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Operations {
    store: Store,
    policy: Arc<EndpointPolicy>,
    waker: Waker,
    places: Arc<Semaphore>,
}

impl Operations {
    pub(crate) fn new(store: Store, policy: EndpointPolicy, waker: Waker) -> Self {
        Self {
            store,
            policy: Arc::new(policy),
            waker,
            places: Arc::new(Semaphore::new(REQUESTS_AT_ONCE_MAX)),
        }
    }

    /// Does `work` if there is a place for it, and within the time that a request has.
    async fn bounded<T>(
        &self,
        work: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let _place = self.places.try_acquire().map_err(|_| Refusal::Busy)?;
        tokio::time::timeout(REQUEST_TIMEOUT, work).await.map_err(|_| Refusal::TooSlow)?
    }
}

/// What a write came to: now or by its first request, or `None` when its condition did not hold.
fn done<T>(written: Written<T>) -> Result<Option<T>, Refusal> {
    match written {
        Written::Now(value) | Written::Before(value) => Ok(Some(value)),
        Written::Nothing => Ok(None),
        Written::OtherRequest => Err(Refusal::Taken {
            field: "idempotency-key",
            problem: "this key was used for another request; use a new key for a new request",
        }),
    }
}

fn id<T: FromStr<Err = IdError>>(
    field: &'static str,
    prefix: &'static str,
    text: &str,
) -> Result<T, Refusal> {
    text.parse()
        .map_err(|_| Refusal::invalid(field, format!("must be {prefix} followed by a UUID")))
}

/// A request that names no merchant is about the one of the demonstration.
fn merchant_or_demo(merchant_id: Option<String>) -> Result<MerchantId, Refusal> {
    Ok(merchant_id.map(MerchantId::try_from).transpose()?.unwrap_or_else(MerchantId::demo))
}
