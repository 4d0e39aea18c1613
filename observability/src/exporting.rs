//! How spans leave the process: by OTLP, in batches, from a bounded queue, and never at the cost of
//! what they tell of.
//!
//! A full queue drops what comes; an endpoint that is away, silent or slow is waited for some
//! seconds for each batch, by a thread of its own. It is said once that spans are lost, and once
//! that they are not any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter,
};
use tokio::runtime::Handle;

use crate::rooted::Rooted;

/// Spans that wait to be sent, at most: some 8 MB, and half a second of full load.
const QUEUE_SPANS_MAX: usize = 8_192;
/// Spans of one batch: some 300 kB.
const BATCH_SPANS_MAX: usize = 512;
/// Longest that a span waits for others: what a kill -9 takes with it.
const BATCH_DELAY: Duration = Duration::from_millis(500);
/// Longest that one batch waits for its endpoint.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// The process's spans, on their way to `endpoint`. Inside a Tokio runtime.
///
/// # Errors
/// When `endpoint` is no URL.
pub(crate) fn provider(
    service: &'static str,
    endpoint: &str,
    ratio: f64,
) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build()?;
    let exporter = Patient {
        exporter: Arc::new(exporter),
        runtime: Handle::current(),
        is_away: AtomicBool::new(false),
        endpoint: endpoint.to_owned(),
    };
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE_SPANS_MAX)
        .with_max_export_batch_size(BATCH_SPANS_MAX)
        .with_scheduled_delay(BATCH_DELAY)
        .build();
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    let resource = Resource::builder()
        .with_service_name(format!("posthorn-{service}"))
        .with_attributes([
            KeyValue::new("service.namespace", "posthorn"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            // One for each start: a role that was started again is another process.
            KeyValue::new("service.instance.id", uuid::Uuid::new_v4().to_string()),
            KeyValue::new("process.pid", i64::from(std::process::id())),
        ])
        .build();
    Ok(SdkTracerProvider::builder()
        .with_span_processor(Rooted::new(processor))
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
        .with_resource(resource)
        .build())
}

/// An exporter that waits for a bounded time, and says once that it waits in vain.
#[derive(Debug)]
struct Patient {
    exporter: Arc<opentelemetry_otlp::SpanExporter>,
    runtime: Handle,
    is_away: AtomicBool,
    endpoint: String,
}

impl SpanExporter for Patient {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let exporter = Arc::clone(&self.exporter);
        // The client's own limit does not cover a connection that is never made; and this thread
        // has no timers.
        let sent = self.runtime.spawn(async move {
            match tokio::time::timeout(EXPORT_TIMEOUT, exporter.export(batch)).await {
                Ok(sent) => sent,
                Err(_) => Err(OTelSdkError::Timeout(EXPORT_TIMEOUT)),
            }
        });
        let sent = sent
            .await
            .unwrap_or_else(|error| Err(OTelSdkError::InternalFailure(error.to_string())));
        let was_away = self.is_away.swap(sent.is_err(), Ordering::Relaxed);
        match &sent {
            Err(error) if !was_away => tracing::warn!(
                endpoint = self.endpoint,
                %error,
                "traces cannot be sent; they are dropped until that endpoint answers"
            ),
            Ok(()) if was_away => tracing::info!(endpoint = self.endpoint, "traces are sent again"),
            _ => {}
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        if let Some(exporter) = Arc::get_mut(&mut self.exporter) {
            exporter.set_resource(resource);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};

    use super::*;

    fn memory_mib() -> u64 {
        let memory = std::fs::read_to_string("/proc/self/statm").expect("Linux");
        let pages = memory.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
        (pages.expect("a number") * 4096) >> 20
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_endpoint_that_is_silent_costs_a_bounded_queue_and_no_time() {
        // It takes connections, and never answers.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let provider = provider("test", &endpoint, 1.0).expect("a provider");
        let tracer = provider.tracer("test");
        let (began, before) = (Instant::now(), memory_mib());
        for _ in 0..300_000 {
            let mut span = tracer.start("span");
            span.set_attribute(KeyValue::new("text", "x".repeat(200)));
            span.end();
        }
        let took = began.elapsed();
        // All of them would be some 200 MiB, and waiting for each batch ten minutes.
        let grown = memory_mib().saturating_sub(before);
        assert!(grown < 60, "{grown} MiB");
        assert!(took < Duration::from_secs(30), "{took:?}");
        let began = Instant::now();
        let limit = Duration::from_secs(2);
        let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(limit));
        let _ = ended.await;
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
}
