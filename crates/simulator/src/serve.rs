//! The role itself: listens, hands every connection to `receive` or `api`, ends when told.
//!
//! It has an accept loop of its own because a merchant may have to close a connection without an
//! answer, which a router cannot; and every connection is `TCP_NODELAY`, so that an answer is not
//! held back. What still hangs when the role ends is cut off.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use observability::Health;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::file::{FileError, LedgerFile};
use crate::ledger::Ledger;
use crate::receive::{Closed, WEBHOOKS, receive};
use crate::{Config, Simulator, api};

/// Most connections at once; further ones wait to be accepted. A thousand endpoints that hang,
/// several attempts each, fit in.
const CONNECTIONS_MAX: usize = 8_192;
/// Longest for a request's headers, idle time included. Longer than the pools of senders keep a
/// connection, so that a request does not run into a closing one.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest that requests in progress are waited for when the role ends.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Wait after an accept that failed: out of file descriptors is not helped by asking again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The part that `/readyz` names.
const LEDGER: &str = "ledger";

/// Why the role could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port is taken, or the address is not this machine's.
    #[error("cannot listen on {address}: {source}; choose another with --listen")]
    Listen {
        /// Where it should have listened.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The ledger's file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Runs the role until `shutdown`.
///
/// # Errors
/// When it cannot start.
pub async fn run(config: Config, health: Health, shutdown: CancellationToken) -> Result<(), Error> {
    health.not_ready(LEDGER, "being read");
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|source| Error::Listen { address: config.listen, source })?;
    let simulator = Arc::new(open(&config)?);
    let received = simulator.ledger().stats().total.received;
    health.ready(LEDGER);
    tracing::info!(address = %config.listen, received, "merchant simulator listens");
    let api = api::routes(Arc::clone(&simulator)).merge(health.routes());
    let front = Front { simulator, api: TowerToHyperService::new(api), shutdown: shutdown.clone() };
    accept(&listener, &front, &shutdown).await;
    Ok(())
}

fn open(config: &Config) -> Result<Simulator, FileError> {
    let mut ledger = Ledger::new();
    let file = match &config.ledger {
        Some(path) => Some(LedgerFile::open(path, &mut ledger)?),
        None => None,
    };
    Ok(Simulator { ledger: Mutex::new(ledger), behaviours: Mutex::default(), file })
}

async fn accept(listener: &TcpListener, front: &Front, shutdown: &CancellationToken) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept_one(listener, &connections) => accepted,
        };
        let Some((stream, permit)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS_TIMEOUT)
            .serve_connection(TokioIo::new(stream), front.clone());
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(permit);
        });
    }
    tokio::select! {
        () = graceful.shutdown() => {}
        () = tokio::time::sleep(DRAIN_TIMEOUT) => tracing::info!("requests were cut off"),
    }
}

async fn accept_one(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY refused");
            }
            Some((stream, permit))
        }
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            None
        }
    }
}

/// Tells webhooks from the rest.
#[derive(Debug, Clone)]
struct Front {
    simulator: Arc<Simulator>,
    api: TowerToHyperService<axum::Router>,
    shutdown: CancellationToken,
}

impl Service<Request<Incoming>> for Front {
    type Response = Response<Body>;
    type Error = Closed;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, Closed>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let path = request.uri().path();
        let is_webhook = path
            .strip_prefix(WEBHOOKS)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if is_webhook {
            let (simulator, shutdown) = (Arc::clone(&self.simulator), self.shutdown.clone());
            return Box::pin(async move { receive(&simulator, request, &shutdown).await });
        }
        let answer = self.api.call(request);
        Box::pin(async move {
            match answer.await {
                Ok(response) => Ok(response),
                Err(never) => match never {},
            }
        })
    }
}
