//! The worker role: the `Endpoint` virtual object, one per merchant endpoint.
//!
//! A thin shell around the pure core: look → decide → attempt → settle → schedule. `object.rs` has
//! the two handlers, `slice.rs` the bounded run of attempts inside a wake, `attempt.rs` one request,
//! `timer.rs` the one timer, `kept.rs` what Restate keeps from one build to the next. No rule about
//! who waits for whom stands here (domain), no SQL (store), no HTTP to a merchant (delivery). Nothing
//! sleeps inside a handler: waiting is a delayed message.

mod account;
mod announcement;
mod attempt;
mod awaited;
mod call;
mod cdc;
mod config;
mod descriptors;
mod ended;
mod figures;
mod jitter;
mod kept;
mod last_look;
mod news;
mod object;
mod persist;
mod readiness;
mod reason;
mod register;
mod report;
mod restate;
mod serve;
mod slice;
mod stuck;
mod sweeper;
mod timer;
mod told_by_restate;
mod worker;

use std::sync::Arc;

use observability::{Health, metrics};
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use cdc::{subscribe_beside, subscribed_topics, unsubscribe, wake_left_alone};
pub use config::{Config, RegisterConfig};
pub use descriptors::DescriptorsError;
pub use register::{Beside, RegisterError, Registered, Topic, keep_subscribed, register};
pub use restate::RestateError;

use crate::worker::{WakeTopic, Worker};

/// Why the worker could not start, or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port is taken, or may not be listened on.
    #[error("listening on {address}: {source}; choose another with {flag}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// The option that chooses it.
        flag: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// It may not open as many file descriptors as it may need.
    #[error(transparent)]
    Descriptors(#[from] DescriptorsError),
    /// The database's URL cannot be read.
    #[error("--database-url: {0}")]
    Store(#[from] store::StoreError),
    /// An option of the delivery cannot be used.
    #[error("the delivery's options: {0}")]
    Delivery(#[from] delivery::ConfigError),
    /// TLS cannot be set up.
    #[error("the delivery's TLS: {0}")]
    Tls(#[from] delivery::TlsError),
    /// The data service's URL cannot be used.
    #[error("--data-service-url: {0}")]
    DataService(#[from] data_service::ClientError),
    /// Restate's URL cannot be used.
    #[error("{0}")]
    Restate(#[from] RestateError),
    /// The server broke.
    #[error("serving: {0}")]
    Serve(#[from] std::io::Error),
}

/// Runs the worker until `shutdown`.
///
/// # Errors
/// When an option cannot be used, a port is taken, or file descriptors are too few.
pub async fn run(config: Config, health: Health, shutdown: CancellationToken) -> Result<(), Error> {
    descriptors::raise(&config)?;
    health.not_ready("database", "not asked yet");
    health.not_ready("restate", "not asked yet");
    let store = Store::new(&config.database_url, "posthorn-worker", config.connections_max)?;
    let worker = Arc::new(Worker {
        store: store.clone(),
        row_looks: Semaphore::new(awaited::looks_at_once(config.connections_max)),
        client: delivery::Client::new(config.delivery.client_config()?)?,
        keys: config.delivery.key_ring()?,
        payloads: data_service::Client::new(&config.data_service_url)?,
        wake_topic: WakeTopic::of_our_relay(),
    });
    let topic = worker.wake_topic.clone();
    let ingress = restate::Ingress::new(&config.restate_ingress_url)?;
    let admin = restate::Http::new(&config.restate_admin_url)?;
    // Exposed from the start: a counter that begins with its first event hides it.
    metrics::worker();
    let of_pool = store.clone();
    metrics::pool(move || of_pool.pool_sizes());
    let object = bind(config.listen, "--listen").await?;
    let health_listener = bind(config.health_listen, "--health-listen").await?;
    tracing::info!(address = %config.listen, "the Endpoint object is served");
    let (served, health_served, (), (), ()) = tokio::join!(
        serve::serve(object, object::endpoint(worker), shutdown.clone()),
        observability::serve_health(health_listener, health.routes(), shutdown.clone()),
        figures::run(store.clone(), admin.clone(), shutdown.clone()),
        readiness::run(admin, topic, health.clone(), shutdown.clone()),
        sweeper::run(store, ingress, health, shutdown),
    );
    served?;
    health_served?;
    Ok(())
}

async fn bind(address: std::net::SocketAddr, flag: &'static str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address, flag, source })
}
