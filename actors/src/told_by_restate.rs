//! What Restate tells of itself with every request: the context of the span that it made for it.
//!
//! The SDK hands a request's headers to nobody. A handler runs inside of the polls of its answer's
//! body, so around each poll the context is laid where the handler can find it. Nothing depends on
//! it: without tracing in Restate there is none.

use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Frame, SizeHint};
use hyper::{HeaderMap, Response};
use restate_sdk::endpoint::ResponseBody;

tokio::task_local! {
    static TRACEPARENT: Option<String>;
}

/// The context of Restate's span for the handler that runs now.
pub(crate) fn traceparent() -> Option<String> {
    TRACEPARENT.try_with(Clone::clone).ok().flatten()
}

/// The context that came with a request.
pub(crate) fn in_headers(headers: &HeaderMap) -> Option<String> {
    Some(headers.get("traceparent")?.to_str().ok()?.to_owned())
}

/// An answer whose handler finds `traceparent`.
pub(crate) fn told(
    response: Response<ResponseBody>,
    traceparent: Option<String>,
) -> Response<Told> {
    response.map(|body| Told { body: Box::pin(body), traceparent })
}

/// A body, polled with the context laid out.
pub(crate) struct Told {
    body: Pin<Box<ResponseBody>>,
    traceparent: Option<String>,
}

impl Body for Told {
    type Data = <ResponseBody as Body>::Data;
    type Error = <ResponseBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Self { body, traceparent } = &mut *self;
        TRACEPARENT.sync_scope(traceparent.clone(), || body.as_mut().poll_frame(ctx))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
