//! What a front counts: requests by operation and answer, and how long they took.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::{Buckets, Histograms, catalogue, observe, register};

const ANSWER: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// A front's metrics.
#[derive(Debug)]
struct Fronts {
    requests: Family<[(&'static str, String); 3], Counter>,
    durations: Histograms<1>,
}

static FRONTS: LazyLock<Fronts> = LazyLock::new(|| Fronts {
    requests: register(&catalogue::REQUESTS, Family::default()),
    durations: register(
        &catalogue::REQUEST_DURATION,
        Histograms::new_with_constructor(Buckets(ANSWER)),
    ),
});

/// `front` (grpc, http) answered `operation` with `code`.
///
/// An operation is a route or a method of the contract, never what a caller wrote: whoever calls
/// says `_OTHER` for what there is not.
pub fn front(
    front: &'static str,
    operation: &str,
    code: &str,
    took: Duration,
    traceparent: Option<&str>,
) {
    let labels = [
        ("front", front.to_owned()),
        ("operation", operation.to_owned()),
        ("code", code.to_owned()),
    ];
    FRONTS.requests.get_or_create(&labels).inc();
    let histogram = FRONTS.durations.get_or_create(&[("front", front)]);
    observe(&histogram, took.as_secs_f64(), traceparent);
}

/// The data service answered with the HTTP status `code`.
pub fn payloads(code: u16, took: Duration) {
    front("payload", "payload", &code.to_string(), took, None);
}
