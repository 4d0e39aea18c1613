//! Counts what the gRPC services answer: method, code, time. What nobody serves counts as `_OTHER`:
//! a caller's own words never become a label.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{Request, Response};
use observability::{metrics, traceparent};
use tower::{Layer, Service};

use super::methods;
use crate::at_work::AtWork;

/// The layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted;

/// What the layer makes of a service.
#[derive(Debug, Clone)]
pub(super) struct CountedService<S>(S);

impl<S> Layer<S> for Counted {
    type Service = CountedService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CountedService(inner)
    }
}

impl<S, I, O> Service<Request<I>> for CountedService<S>
where
    S: Service<Request<I>, Response = Response<O>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, ctx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(ctx)
    }

    fn call(&mut self, request: Request<I>) -> Self::Future {
        let began = Instant::now();
        let method = methods::served(request.uri().path());
        let trace = traceparent::of(&tracing::Span::current());
        let at_work = AtWork::of(method, trace.clone(), request.headers());
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = at_work.runs(answer).await?;
            // A refusal is all headers; a success says so in trailers that are still to come.
            let code = answer.headers().get("grpc-status").and_then(|code| code.to_str().ok());
            metrics::front("grpc", method, code.unwrap_or("0"), began.elapsed(), trace.as_deref());
            Ok(answer)
        })
    }
}
