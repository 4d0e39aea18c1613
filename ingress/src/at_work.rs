//! The request that is at work, for the lines that are about it: its route, and its trace if that
//! can be looked up. Whoever refuses a request knows neither.

use std::borrow::Cow;
use std::future::Future;

use http::HeaderMap;
use observability::traceparent::kept_trace_id;

use crate::call::callers_trace;

tokio::task_local! {
    static REQUEST: AtWork;
}

/// A request that is at work.
#[derive(Debug)]
pub(crate) struct AtWork {
    route: Cow<'static, str>,
    traceparent: Option<String>,
}

impl AtWork {
    /// Of a known method and the pattern of a path, or of a gRPC method; `ours`: its span's context,
    /// when a trace is recorded here. If none is, the caller's own counts.
    pub(crate) fn of(
        route: impl Into<Cow<'static, str>>,
        ours: Option<String>,
        headers: &HeaderMap,
    ) -> Self {
        Self { route: route.into(), traceparent: ours.or_else(|| callers_trace(headers)) }
    }

    /// Runs what does the request.
    pub(crate) async fn runs<T>(self, request: impl Future<Output = T>) -> T {
        REQUEST.scope(self, request).await
    }
}

/// Gives `tell` the route and the trace id of the request at work.
pub(crate) fn told(tell: impl Fn(Option<&str>, Option<&str>)) {
    let is_told = REQUEST.try_with(|AtWork { route, traceparent }| {
        tell(Some(route), traceparent.as_deref().and_then(kept_trace_id));
    });
    if is_told.is_err() {
        tell(None, None);
    }
}
