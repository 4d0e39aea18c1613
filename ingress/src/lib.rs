//! The api role: the gRPC services, and a front that speaks HTTP and JSON.
//!
//! Both parse what was said and hand it to `operations`: one transaction, one answer. The role
//! needs PostgreSQL and nothing else: it takes payments while everything behind is away. What must
//! never happen here: a front without keys that others can reach, a rule that only one of the two
//! fronts knows, a write that is done twice for one idempotency key.

mod at_work;
mod call;
mod config;
mod grpc;
mod json;
mod limits;
mod listen;
mod operations;
mod refusal;
mod upkeep;
mod wake;

use std::net::SocketAddr;

use observability::{Health, metrics};
use store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

pub use config::Config;

use crate::limits::DRAIN_TIMEOUT;
use crate::operations::{EndpointPolicy, Operations};
use crate::wake::Waker;

/// Why the role could not start, or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The front asks for no key, so it must not be reachable by others.
    #[error(
        "{flag}: {address} is not a loopback address; this front asks for no key and listens on \
         loopback only, such as 127.0.0.1"
    )]
    NotLoopback {
        /// What was told.
        flag: &'static str,
        /// Where it should have listened.
        address: SocketAddr,
    },
    /// The port is taken, or may not be used.
    #[error("{flag}: cannot listen on {address}: {source}")]
    Listen {
        /// What was told.
        flag: &'static str,
        /// Where it should have listened.
        address: SocketAddr,
        /// Why it cannot.
        source: std::io::Error,
    },
    /// The database's URL cannot be read.
    #[error("--database-url: {0}")]
    Database(#[source] StoreError),
    /// An option that the delivery has too cannot be used.
    #[error("{0}")]
    Delivery(#[from] delivery::ConfigError),
    /// Restate's URL cannot be used.
    #[error("--restate-ingress-url: `{0}` is no URL of Restate's: expected http://host:port")]
    Restate(String),
    /// The contract that is built in cannot be served.
    #[error("server reflection: {0}")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// The gRPC server broke.
    #[error("the gRPC server: {0}")]
    Grpc(#[source] tonic::transport::Error),
}

/// Runs the role until `shutdown`, then lets the requests at work end, for at most 8 s.
///
/// # Errors
/// When it cannot start, or cannot go on.
pub async fn run(config: Config, health: Health, shutdown: CancellationToken) -> Result<(), Error> {
    let policy = endpoint_policy(&config)?;
    let waker = Waker::new(&config.restate_ingress_url)?;
    let store = Store::new(&config.database_url, "posthorn-api", config.database_connections)
        .map_err(Error::Database)?;
    let of_pool = store.clone();
    metrics::pool(move || of_pool.pool_sizes());
    let grpc_listener = listen::listen("--grpc-listen", config.grpc_listen).await?;
    let http_listener = listen::listen("--http-listen", config.http_listen).await?;
    tracing::info!(
        grpc = %config.grpc_listen,
        http = %config.http_listen,
        "development front: it asks for no key, so it listens on loopback only"
    );

    let operations = Operations::new(store.clone(), policy, waker);
    let (reporter, grpc_health) = tonic_health::server::health_reporter();
    let upkeep = shutdown.clone();
    tokio::spawn(upkeep::watch_database(store.clone(), health.clone(), reporter, upkeep.clone()));
    tokio::spawn(upkeep::forget_old_answers(store, upkeep));

    let routes = json::routes(operations.clone()).merge(health.routes());
    let http = json::serve(http_listener, routes, shutdown.clone());
    let grpc = grpc::serve(grpc_listener, operations, grpc_health, shutdown.clone());
    let both = async {
        tokio::pin!(http);
        tokio::pin!(grpc);
        tokio::select! {
            // Without being asked to stop, only a breakdown ends this one.
            result = &mut grpc => {
                result?;
                http.await;
            }
            () = &mut http => grpc.await?,
        }
        Ok(())
    };
    let too_late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN_TIMEOUT).await;
    };
    tokio::select! {
        result = both => result,
        () = too_late => {
            tracing::warn!("requests were still at work when the time to stop was over");
            Ok(())
        }
    }
}

fn endpoint_policy(config: &Config) -> Result<EndpointPolicy, Error> {
    Ok(EndpointPolicy {
        urls: config.delivery.url_policy(),
        networks: config.delivery.networks(),
        keys: config.delivery.key_ring()?,
    })
}
