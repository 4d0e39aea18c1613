//! Metrics of one process, served as OpenMetrics text under `/metrics` beside its health.
//!
//! `catalogue` defines every family once; `worker`, `relay` and `front` count what a role does,
//! `figures` are gauges that are looked up now and then, `process` is read when it is scraped. A
//! role exposes what it touches and nothing else: a zero is never another role's. What is counted
//! on the way of a delivery is an atomic; a histogram that keeps exemplars has a lock of its own,
//! held for some nanoseconds. Labels never come from a caller: what may be many is cut to a few.

mod catalogue;
mod figures;
mod front;
mod process;
mod relay;
mod spans;
mod worker;

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::registry::{Metric, Registry, Unit};

pub use catalogue::{ALL, Definition, Kind, document};
pub use figures::{Figure, Figures, figure, pool};
pub use front::{front, payloads};
pub use relay::{Relay, relay};
pub(crate) use spans::SpansDropped;
pub use worker::{WaitedFor, Worker, worker};

/// What the name of every family begins with that is ours alone.
const PREFIX: &str = "posthorn";
/// What a scraper is told that it gets.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Label names and values of one series.
type Labels<const N: usize> = [(&'static str, &'static str); N];
/// A counter by labels whose values are known beforehand.
type Counters<const N: usize> = Family<Labels<N>, Counter>;
/// A trace id.
type Exemplar = [(&'static str, String); 1];
type Histogram = HistogramWithExemplars<Exemplar>;
/// How each histogram of a family is made.
#[derive(Debug, Clone, Copy)]
struct Buckets(&'static [f64]);
type Histograms<const N: usize> = Family<Labels<N>, Histogram, Buckets>;

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

fn registry() -> MutexGuard<'static, Registry> {
    static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(|| {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(process::Process));
        let figures = Box::new(Figures::of_this_process());
        registry.sub_registry_with_prefix(PREFIX).register_collector(figures);
        Mutex::new(registry)
    });
    // It only ever grows: a panic leaves it as it was.
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts `metric` under its definition into the registry, and gives it back.
fn register<M: Metric + Clone>(definition: &'static Definition, metric: M) -> M {
    let mut registry = registry();
    let registry = registry.sub_registry_with_prefix(PREFIX);
    match definition.unit {
        Some(unit) => registry.register_with_unit(
            definition.base(),
            definition.help,
            Unit::Other(unit.to_owned()),
            metric.clone(),
        ),
        None => registry.register(definition.base(), definition.help, metric.clone()),
    }
    metric
}

/// Seconds into a histogram, with the trace that they are an example of.
fn observe(histogram: &Histogram, seconds: f64, traceparent: Option<&str>) {
    let trace_id = traceparent.and_then(crate::traceparent::kept_trace_id);
    let exemplar = trace_id.map(|id| [("trace_id", id.to_owned())]);
    let now = exemplar.as_ref().map(|_| std::time::SystemTime::now());
    histogram.observe(seconds, exemplar, now);
}

/// The route `/metrics`.
pub(crate) fn routes() -> Router {
    Router::new().route("/metrics", get(scrape))
}

async fn scrape() -> impl IntoResponse {
    let mut text = String::new();
    // Writing into a string fails for nobody.
    let _ = prometheus_client::encoding::text::encode(&mut text, &registry());
    ([(header::CONTENT_TYPE, OPENMETRICS)], text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_told_as_openmetrics_with_its_unit_and_its_trace() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let traceparent = format!("00-{id}-00f067aa0ba902b7-01");
        worker().first_attempt(WaitedFor::Nothing, 0.012, Some(&traceparent));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry()).expect("encoded");
        for part in [
            "# TYPE posthorn_commit_to_attempt_seconds histogram\n",
            "# UNIT posthorn_commit_to_attempt_seconds seconds\n",
            "posthorn_commit_to_attempt_seconds_bucket{le=\"0.015\",waited_for=\"nothing\"} 1 # \
             {trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"} 0.012",
            "posthorn_sweeper_found_total 0\n",
            "\nprocess_resident_memory_bytes ",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
