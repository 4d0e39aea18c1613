//! The relay role: the outbox in the WAL becomes records on Kafka.
//!
//! PostgreSQL's replication slot comes in; records on `webhook-events` (one per delivery, in
//! commit order) and `webhook-wakes` (merged per endpoint) go out. At least once: the slot is
//! confirmed only up to what Kafka has acknowledged on both topics. No row is dropped because it
//! looks odd, none is announced before every reader sees it, and nothing is decided here.
//!
//! `session` opens both sides → `stream` captures batches → `visibility` → `announcer` (`merge`,
//! `unlooked`, `publisher`) → `progress` says what may be confirmed. `slot` and `republish` care for the case
//! that the slot, or Kafka's data, is gone.

mod announced;
mod announcer;
#[cfg(test)]
mod announcer_tests;
mod config;
mod connection;
#[cfg(test)]
mod contract_tests;
mod error;
mod heard;
mod keeper;
mod lag;
mod merge;
mod parking;
mod pgoutput;
pub mod positions;
mod progress;
mod publisher;
mod record;
mod republish;
mod session;
mod slot;
mod stream;
mod topic_ids;
pub mod topics;
mod unlooked;
#[cfg(test)]
mod unlooked_tests;
mod visibility;

use std::time::{Duration, Instant};

pub use config::Config;
pub use error::Error;
pub use heard::Heard;
use observability::{Health, metrics, serve_health};
pub use pgoutput::Unreadable;
use store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
pub use topic_ids::{TopicIds, topic_id};

use crate::announced::Announced;
use crate::session::Sessions;

/// Connections to the database, beside the stream: the look at what is visible, the question whether
/// somebody looked, and the keeper.
const CONNECTIONS_MAX: u32 = 3;
/// First pause before a new session, doubled each time.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// Longest pause before a new session.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// A session that lasted so long was a good one: the next pause is the first again.
const GOOD_SESSION: Duration = Duration::from_secs(5);
/// Longest time that a session gets to end in order; then it is dropped, which loses nothing.
const STOP_TIMEOUT: Duration = Duration::from_secs(6);

/// Runs the role until `shutdown`.
///
/// # Errors
/// When it cannot start, or a person must act before it can go on.
pub async fn run(config: Config, health: Health, shutdown: CancellationToken) -> Result<(), Error> {
    health.not_ready("slot", "starting");
    health.not_ready("kafka", "starting");
    let address = config.listen;
    let listen_error = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen_error)?;
    let announced = Announced::default();
    let routes = health.routes().merge(announced.routes());
    // Exposed from the start: a counter that begins with its first event hides it.
    metrics::relay();
    let store = Store::new(&config.database_url, "posthorn relay", CONNECTIONS_MAX)?;
    let of_pool = store.clone();
    metrics::pool(move || of_pool.pool_sizes());
    tokio::spawn(lag::watch(config.kafka.clone(), shutdown.clone()));
    let sessions = Sessions {
        replication: connection::replication_config(&config.database_url, &config.slot)?,
        kafka: config.kafka,
        store,
        announced,
        health,
    };
    let relay = async {
        let result = tokio::select! {
            result = sessions.run_until(&shutdown) => result,
            () = async {
                shutdown.cancelled().await;
                tokio::time::sleep(STOP_TIMEOUT).await;
            } => Ok(()),
        };
        // Whatever ended it, health ends with it.
        shutdown.cancel();
        result
    };
    let (result, served) = tokio::join!(relay, serve_health(listener, routes, shutdown.clone()));
    result.and(served.map_err(listen_error))
}

impl Sessions {
    /// Session after session, until `shutdown` or until a person must act.
    async fn run_until(&self, shutdown: &CancellationToken) -> Result<(), Error> {
        let mut pause = BACKOFF_MIN;
        let mut unusable = false;
        let mut said = String::new();
        while !shutdown.is_cancelled() {
            let began = Instant::now();
            let error = match self.run(unusable, shutdown).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let reason = error.to_string();
            if matches!(error, Error::StandsBy) {
                // To stand by is all that it has to do now.
                self.health.ready("slot");
            } else {
                self.health.not_ready("slot", &reason);
            }
            if error.is_kafka() {
                self.health.not_ready("kafka", &reason);
            }
            if error.needs_a_person() {
                tracing::error!(%error, "the relay stops");
                return Err(error);
            }
            unusable = error.slot_is_unusable();
            if began.elapsed() > GOOD_SESSION {
                pause = BACKOFF_MIN;
                said.clear();
            }
            // A standby says once who streams, not every two seconds.
            if reason == said {
                tracing::debug!(%error, "still not streaming");
            } else {
                tracing::warn!(%error, "not streaming; trying again from what is confirmed");
                said = reason;
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(BACKOFF_MAX);
        }
        Ok(())
    }
}
