//! The traces role: spans come in by OTLP, Jaeger's own UI shows them. For development.
//!
//! `receiver` takes spans, `shelf` keeps the last of them in memory, within a bound; `api` answers
//! Jaeger's query paths (`jaeger` has their JSON, `search` what they may be asked), `ui` is Jaeger's
//! built user interface. Nothing is written to disk, and nothing waits for this role: who sends
//! spans drops them when it is away. In production, Jaeger itself or another backend is in its place.

mod api;
mod config;
mod jaeger;
mod receiver;
mod search;
mod shelf;
#[cfg(test)]
mod tests;
mod ui;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use observability::Health;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceServiceServer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

pub use config::Config;

use crate::receiver::Receiver;
use crate::shelf::Shelf;

/// What both sides share. Held for one batch, or one search; never across an await.
type Shared = Arc<Mutex<Shelf>>;

/// Largest batch that is taken; ours have 512 spans, some 300 kB.
const BATCH_BYTES_MAX: usize = 16 << 20;
/// Batches that one connection may have at work.
const STREAMS_MAX: u32 = 16;

/// Why the role could not start, or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port is taken, or may not be used.
    #[error("{flag}: cannot listen on {address}: {source}; choose another")]
    Listen {
        /// What was told.
        flag: &'static str,
        /// Where it should have listened.
        address: SocketAddr,
        /// Why it cannot.
        source: std::io::Error,
    },
    /// The HTTP server broke.
    #[error("serving the user interface: {0}")]
    Http(#[source] std::io::Error),
    /// The OTLP server broke.
    #[error("serving OTLP: {0}")]
    Grpc(#[source] tonic::transport::Error),
}

/// Runs the role until `shutdown`.
///
/// # Errors
/// When a port is taken, or a server breaks.
pub async fn run(config: Config, health: Health, shutdown: CancellationToken) -> Result<(), Error> {
    let http_listener = listen("--listen", config.listen).await?;
    let otlp_listener = listen("--otlp-listen", config.otlp_listen).await?;
    tracing::info!(ui = %config.listen, otlp = %config.otlp_listen, "traces are received and shown");
    let shelf: Shared = Arc::new(Mutex::new(Shelf::new(config.memory_mib << 20)));
    let routes = api::routes(Arc::clone(&shelf)).merge(health.routes()).merge(ui::routes());
    let http = axum::serve(http_listener, routes)
        .with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let service = TraceServiceServer::new(Receiver(shelf))
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(BATCH_BYTES_MAX);
    let otlp = Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .add_service(service)
        .serve_with_incoming(TcpIncoming::from(otlp_listener).with_nodelay(Some(true)));
    tokio::select! {
        // A browser that waits for more must not keep the role; nor must a sender's connection.
        () = shutdown.cancelled() => Ok(()),
        served = http => served.map_err(Error::Http),
        served = otlp => served.map_err(Error::Grpc),
    }
}

async fn listen(flag: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { flag, address, source })
}

fn locked(shelf: &Shared) -> std::sync::MutexGuard<'_, Shelf> {
    // A panic while it was held left a span more or less: no reason to show none.
    shelf.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
