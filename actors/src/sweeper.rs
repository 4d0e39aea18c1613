//! The sweeper: wakes whom nobody looked at though there is something due.
//!
//! In a healthy system it finds nothing. It is what makes the loss of a record, of a timer, of an
//! invocation or of all of Restate's data cost time and no delivery. It never sends to a merchant,
//! it only wakes. A worker that starts sweeps at once.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::endpoint::FinishReason;
use domain::{DeliveryId, EndpointId};
use observability::traceparent::kept_trace_id;
use observability::{Health, metrics};
use store::{Alone, Chore, ExpiredDelivery, LeftAlone, Store};
use tokio_util::sync::CancellationToken;

use crate::call::WakeCall;
use crate::restate::{Ingress, RestateError};

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(10);
/// An endpoint with due work that had no look for this long was left alone.
const IDLE: Duration = Duration::from_secs(60);
/// Endpoints of one round, at most; the longest alone come first.
const LIMIT: u16 = 1_000;
/// Endpoints that the line of a round names; the longest alone come first.
const NAMED_MAX: usize = 10;
/// Partitions, and what has expired, are looked after so often.
const CHORES_EVERY: Duration = Duration::from_secs(3_600);
/// Deliveries of one step of the expiry: each takes a transaction of its own.
const EXPIRES_AT_ONCE: u16 = 200;
/// Endpoints of which one round of it has a line, at most.
const EXPIRED_LINES_MAX: usize = 100;

/// Sweeps until `shutdown`.
pub(crate) async fn run(
    store: Store,
    ingress: Ingress,
    health: Health,
    shutdown: CancellationToken,
) {
    // Beside the rounds: what expires of a large backlog takes its time, and nobody is woken later for it.
    tokio::join!(
        go_round(&store, &ingress, &health, &shutdown),
        chores(&store, &ingress, &shutdown)
    );
}

async fn go_round(store: &Store, ingress: &Ingress, health: &Health, shutdown: &CancellationToken) {
    loop {
        match store.endpoints_left_alone(IDLE, LIMIT).await {
            Ok(left_alone) => {
                health.ready("database");
                let result = if left_alone.is_some() { "swept" } else { "not_mine" };
                let found = left_alone.unwrap_or_default();
                metrics::worker().swept(result, found.len());
                wake_all(ingress, &found).await;
            }
            Err(error) => {
                tracing::warn!(%error, "the sweeper could not look");
                metrics::worker().swept("failed", 0);
                health.not_ready("database", error.to_string());
            }
        }
        tokio::select! {
            () = tokio::time::sleep(ROUND) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

async fn chores(store: &Store, ingress: &Ingress, shutdown: &CancellationToken) {
    loop {
        look_after(store, ingress, shutdown).await;
        tokio::select! {
            () = tokio::time::sleep(CHORES_EVERY) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

async fn wake_all(ingress: &Ingress, left_alone: &[LeftAlone]) {
    if left_alone.is_empty() {
        return;
    }
    let endpoints: Vec<_> =
        left_alone.iter().take(NAMED_MAX).map(|alone| alone.endpoint.to_string()).collect();
    tracing::warn!(
        found = left_alone.len(),
        endpoints = endpoints.join(" "),
        "the sweeper found endpoints left alone"
    );
    for LeftAlone { endpoint, fence } in left_alone {
        // The fence names this very neglect: however many rounds it lasts, one wake waits.
        let key = format!("sweep-{fence}");
        if let Err(error) = ingress.wake(*endpoint, WakeCall::Swept, &key).await {
            tracing::warn!(%endpoint, %error, "the sweeper could not wake an endpoint");
            if matches!(error, RestateError::Away { .. }) {
                // Nobody else can be woken either; the next round tries again.
                return;
            }
        }
    }
}

/// What is done every hour, by one worker at a time.
async fn look_after(store: &Store, ingress: &Ingress, shutdown: &CancellationToken) {
    match store.alone(Chore::Upkeep).await {
        Ok(Some(alone)) => {
            upkeep(&alone).await;
            expire(&alone, ingress, shutdown).await;
        }
        Ok(None) => tracing::debug!("another worker looks after partitions and what has expired"),
        Err(error) => tracing::warn!(%error, "partitions could not be looked after"),
    }
}

async fn upkeep(alone: &Alone) {
    match alone.create_partitions_ahead().await {
        Ok(0) => {}
        Ok(created) => tracing::info!(created, "partitions were created ahead of time"),
        Err(error) => tracing::error!(
            %error,
            "partitions could not be created ahead; rows go to the default partitions, see docs/operating.md"
        ),
    }
}

/// Ends what waited for too long, in bounded steps.
async fn expire(alone: &Alone, ingress: &Ingress, shutdown: &CancellationToken) {
    let (mut after, mut all) = (None, BTreeMap::<_, OfEndpoint>::new());
    while !shutdown.is_cancelled() {
        match alone.expire_deliveries(after, EXPIRES_AT_ONCE).await {
            Ok(step) => {
                for expired in step.ended {
                    let of_endpoint = all.entry(expired.endpoint);
                    of_endpoint.or_insert_with(|| OfEndpoint { count: 0, first: expired }).count +=
                        1;
                }
                for (endpoint, delivery) in step.unblocked {
                    wake_unblocked(ingress, endpoint, delivery).await;
                }
                if let Some(error) = step.error {
                    tracing::warn!(%error, "the sweeper could not expire all deliveries");
                }
                after = step.next;
            }
            Err(error) => {
                tracing::warn!(%error, "the sweeper could not expire deliveries");
                break;
            }
        }
        if after.is_none() {
            break;
        }
    }
    tell_expired(&all);
}

/// What expired of one endpoint's.
struct OfEndpoint {
    count: u64,
    first: ExpiredDelivery,
}

/// A line for each endpoint, with one of its deliveries, and one for what is left out.
fn tell_expired(all: &BTreeMap<EndpointId, OfEndpoint>) {
    let (disposition, why) = FinishReason::Expired.names();
    for (endpoint, OfEndpoint { count, first }) in all.iter().take(EXPIRED_LINES_MAX) {
        tracing::warn!(
            %endpoint,
            count,
            delivery = %first.delivery,
            attempts = first.attempts,
            trace_id = first.traceparent.as_deref().and_then(kept_trace_id),
            disposition,
            why,
            "deliveries expired: they waited for as long as their endpoint's policy lets them"
        );
    }
    let endpoints = all.len();
    if endpoints > EXPIRED_LINES_MAX {
        tracing::warn!(endpoints, "deliveries of more endpoints expired than have a line");
    }
    let count = all.values().map(|of_endpoint| of_endpoint.count).sum::<u64>();
    if count > 0 {
        metrics::worker().expired(count);
    }
}

/// What waited behind a delivery that has expired is due now. Nobody else would look before the
/// sweeper finds it left alone.
async fn wake_unblocked(ingress: &Ingress, endpoint: EndpointId, delivery: DeliveryId) {
    let key = format!("expired-{delivery}");
    if let Err(error) = ingress.wake(endpoint, WakeCall::Swept, &key).await {
        tracing::warn!(%endpoint, %error, "no wake after an expiry; the sweeper will come by");
    }
}
