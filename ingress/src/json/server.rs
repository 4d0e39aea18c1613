//! The HTTP server: HTTP/1.1 and HTTP/2 on one port, every wait bounded.
//!
//! It has an accept loop of its own because the framework's has no limit on how long a client may
//! take over its headers, nor on how many are connected.

use std::sync::Arc;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::limits::{
    HEADERS_BYTES_MAX, HTTP_CONNECTIONS_MAX, HTTP_HEADERS_TIMEOUT, KEEPALIVE_INTERVAL,
    KEEPALIVE_TIMEOUT, STREAMS_PER_CONNECTION_MAX,
};

/// Serves `routes` until `shutdown`, then lets the requests at work end.
pub(crate) async fn serve(listener: TcpListener, routes: Router, shutdown: CancellationToken) {
    let builder = builder();
    let service = TowerToHyperService::new(routes);
    let places = Arc::new(Semaphore::new(HTTP_CONNECTIONS_MAX));
    let open = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else { continue };
        let connection =
            builder.serve_connection(TokioIo::new(stream), service.clone()).into_owned();
        let connection = open.watch(connection);
        tokio::spawn(async move {
            // A client that goes away in the middle is no concern of ours.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    open.shutdown().await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Answers are small: waiting for more to send would only delay them.
            let _ = stream.set_nodelay(true);
            Some((stream, place))
        }
        Err(error) => {
            // Out of file descriptors, most of the time: others must be closed first.
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            None
        }
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HTTP_HEADERS_TIMEOUT)
        .max_buf_size(HEADERS_BYTES_MAX as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEADERS_BYTES_MAX)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    builder
}
