//! The server that Restate talks to: HTTP/2 without TLS, on an accept loop of our own.
//!
//! The SDK's own server leaves Nagle's algorithm on, which costs an object nine tenths of its
//! speed; here every connection has TCP_NODELAY. It answers only under the path that carries this
//! build's id: what began on another build's code must not go on with this one's.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::Service;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::graceful::GracefulShutdown;
use restate_sdk::endpoint::Endpoint as ServiceEndpoint;
use restate_sdk::hyper::HyperEndpoint;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::told_by_restate::{self, Told};

/// How long running slices may take to end when the worker is asked to stop: about one attempt.
const DRAIN: Duration = Duration::from_secs(10);
/// Invocations of one connection at a time; Restate opens a stream for each.
const STREAMS_MAX: u32 = 10_000;

/// Restate sends an object's key as a header, and a record's key may be as long as the topic takes
/// (1 MiB). Under this limit it is parked; over it, HTTP/2 ends the whole connection, all slices
/// on it with it, again and again.
const HEADERS_BYTES_MAX: u32 = 4 * 1024 * 1024;

/// Identifies the code that Restate replays; part of the deployment's URL.
pub(crate) const BUILD_ID: &str = env!("POSTHORN_BUILD_ID");

/// Restate's protocol under this build's path; 404 for everything else.
#[derive(Clone)]
struct OfThisBuild(HyperEndpoint);

impl Service<Request<Incoming>> for OfThisBuild {
    type Response = Response<Either<Told, Full<Bytes>>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut segments = request.uri().path().split('/').skip(1);
        if segments.next() == Some(BUILD_ID) && segments.next().is_some() {
            let traceparent = told_by_restate::in_headers(request.headers());
            return ready(match self.0.call(request).into_inner() {
                Ok(response) => Ok(told_by_restate::told(response, traceparent).map(Either::Left)),
            });
        }
        let sentence = format!("this worker serves build {BUILD_ID} only\n");
        let mut response = Response::new(Either::Right(Full::from(sentence)));
        *response.status_mut() = StatusCode::NOT_FOUND;
        ready(Ok(response))
    }
}

/// Serves `endpoint` until `shutdown`, then lets what runs end, for some seconds.
///
/// # Errors
/// When the listener breaks.
pub(crate) async fn serve(
    listener: TcpListener,
    endpoint: ServiceEndpoint,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let service = OfThisBuild(HyperEndpoint::new(endpoint));
    let graceful = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, or the peer went away: the next one may do better.
                    tracing::warn!(%error, "a connection of Restate's could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = shutdown.cancelled() => break,
        };
        // It fails when the other end has hung up already: that is no matter of the server's.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY refused");
        }
        let connection = http2::Builder::new(TokioExecutor::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEADERS_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service.clone());
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection of Restate's ended");
            }
        });
    }
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("slices still run; Restate will run them again elsewhere");
    }
    Ok(())
}
