//! The gRPC front: `posthorn.v1`, server reflection and `grpc.health.v1` on one port.
//!
//! A message comes in and is handed to `operations`; what they answer goes out. No rule about a
//! value stands here.

mod commands;
mod counted;
mod endpoints;
mod merchants;
mod messages;
mod methods;
mod payments;
mod unreadable;

use observability::spans;
use proto::v1::endpoint_service_server::EndpointServiceServer;
use proto::v1::merchant_service_server::MerchantServiceServer;
use proto::v1::payment_service_server::PaymentServiceServer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthReporter;
use tower::util::MapResponseLayer;

use crate::Error;
use crate::call::{Call, joined};
use crate::limits::{
    GRPC_REQUEST_TIMEOUT, HEADERS_BYTES_MAX, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT,
    REQUEST_BYTES_MAX, STREAMS_PER_CONNECTION_MAX,
};
use crate::operations::Operations;

#[derive(Debug, Clone)]
struct Front {
    operations: Operations,
}

/// What comes with a request, and its message.
fn call_of<T>(request: Request<T>) -> Result<(Call, T), Status> {
    let call = Call::of(request.metadata().as_ref())?;
    Ok((call, request.into_inner()))
}

/// Serves until `shutdown`, then lets the requests at work end.
pub(crate) async fn serve(
    listener: TcpListener,
    operations: Operations,
    health: HealthServer<impl tonic_health::pb::health_server::Health>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let front = Front { operations };
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Server::builder()
        .timeout(GRPC_REQUEST_TIMEOUT)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .trace_fn(|request| {
            let span = spans::grpc_server(methods::served(request.uri().path()));
            joined(span, request.headers())
        })
        .layer(counted::Counted)
        .layer(MapResponseLayer::new(unreadable::blamed_rightly))
        .add_service(health)
        .add_service(reflection().build_v1().map_err(Error::Reflection)?)
        // What grpcurl and others of its age ask for.
        .add_service(reflection().build_v1alpha().map_err(Error::Reflection)?)
        .add_service(
            PaymentServiceServer::new(front.clone()).max_decoding_message_size(REQUEST_BYTES_MAX),
        )
        .add_service(
            MerchantServiceServer::new(front.clone()).max_decoding_message_size(REQUEST_BYTES_MAX),
        )
        .add_service(EndpointServiceServer::new(front).max_decoding_message_size(REQUEST_BYTES_MAX))
        .serve_with_incoming_shutdown(
            // Answers are small: waiting for more to send would only delay them.
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            shutdown.cancelled_owned(),
        )
        .await
        .map_err(Error::Grpc)
}

/// What health clients may ask about; the empty name is the server as a whole.
const SERVICES: [&str; 4] = [
    "",
    "posthorn.v1.PaymentService",
    "posthorn.v1.MerchantService",
    "posthorn.v1.EndpointService",
];

/// Tells health clients whether the services can work.
pub(crate) async fn report(reporter: &HealthReporter, is_ready: bool) {
    let status = if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}

/// Ends the streams of clients that watch the health: they would stay open as long as the clients
/// like, and the server would wait for them.
pub(crate) async fn end_reports(reporter: &mut HealthReporter) {
    report(reporter, false).await;
    for service in SERVICES {
        reporter.clear_service_status(service).await;
    }
}
