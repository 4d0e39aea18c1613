//! What the role does beside answering: it asks the database whether it is there, tells so, and
//! forgets the answers of old idempotency keys. Neither ever stands in the way of a request.

use observability::Health;
use store::{Chore, Store};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tonic_health::server::HealthReporter;

use crate::grpc;
use crate::limits::{
    FORGET_ANSWERS_MAX, FORGET_INTERVAL, FORGET_SECRETS_MAX, PROBE_INTERVAL, PROBE_TIMEOUT,
};

/// The part of the role's health that the database is.
const DATABASE: &str = "database";

/// Keeps the role's health true until `shutdown`. The role needs the database and nothing else:
/// it takes payments while Kafka and Restate are away.
pub(crate) async fn watch_database(
    store: Store,
    health: Health,
    mut reporter: HealthReporter,
    shutdown: CancellationToken,
) {
    health.not_ready(DATABASE, "not asked yet");
    grpc::report(&reporter, false).await;
    let mut ticks = interval(PROBE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_there = None;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let answer = tokio::select! {
            () = shutdown.cancelled() => break,
            answer = tokio::time::timeout(PROBE_TIMEOUT, store.ping()) => answer,
        };
        let is_there = matches!(answer, Ok(Ok(())));
        match answer {
            Ok(Ok(())) => health.ready(DATABASE),
            failed => {
                if was_there != Some(false) {
                    tracing::warn!(?failed, "the database is away: not ready");
                }
                health.not_ready(DATABASE, "it does not answer");
            }
        }
        if was_there == Some(false) && is_there {
            tracing::info!("the database is back: ready");
        }
        if was_there != Some(is_there) {
            grpc::report(&reporter, is_there).await;
        }
        was_there = Some(is_there);
    }
    grpc::end_reports(&mut reporter).await;
}

/// Forgets answers that no repeat is given any more, and secrets that have ended, a bounded number
/// at a time, one api role at a time.
pub(crate) async fn forget_old_answers(store: Store, shutdown: CancellationToken) {
    let mut ticks = interval(FORGET_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let alone = match store.alone(Chore::Forgetting).await {
            Ok(Some(alone)) => alone,
            // Another role is at it.
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(%error, "old idempotency keys could not be looked after");
                continue;
            }
        };
        match alone.forget_old_answers(FORGET_ANSWERS_MAX).await {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "forgot answers of old idempotency keys"),
            Err(error) => tracing::warn!(%error, "old idempotency keys could not be forgotten"),
        }
        if let Err(error) = alone.forget_ended_secrets(FORGET_SECRETS_MAX).await {
            tracing::warn!(%error, "secrets that have ended could not be forgotten");
        }
    }
}
