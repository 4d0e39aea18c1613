//! Logs and traces of one process.
//!
//! Logs go to standard error, pretty or JSON. Traces go to an OTLP endpoint when one is given; the
//! exporter has a bounded queue of its own and drops spans when it is full or the endpoint is away.

use std::time::Duration;

use clap::{Args, ValueEnum};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// What a role may be told about its telemetry.
#[derive(Debug, Clone, Args)]
pub struct TelemetryConfig {
    /// How log lines look.
    #[arg(long, env = "POSTHORN_LOG_FORMAT", value_enum, default_value = "pretty")]
    pub log_format: LogFormat,
    /// What is logged: a level, or directives such as `info,relay=debug`.
    #[arg(long, env = "POSTHORN_LOG", default_value = "info")]
    pub log: String,
    /// Where traces go, by OTLP over gRPC, such as http://127.0.0.1:4317. None: no traces.
    #[arg(long, env = "POSTHORN_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// Share of new traces that are kept, 0 to 1. A trace that a caller began keeps its own choice.
    #[arg(long, env = "POSTHORN_TRACE_RATIO", default_value_t = 1.0)]
    pub trace_ratio: f64,
}

/// Why telemetry could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log directives cannot be read.
    #[error(
        "--log: {0}; use a level (error, warn, info, debug, trace) or directives such as info,relay=debug"
    )]
    Directives(#[from] tracing_subscriber::filter::ParseError),
    /// The ratio is out of range.
    #[error("--trace-ratio: {0} is not between 0 and 1")]
    Ratio(f64),
    /// The exporter cannot be built.
    #[error("--otlp-endpoint: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// A subscriber is there already.
    #[error("telemetry was started twice in one process: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Telemetry that runs; [`Telemetry::stop`] sends out what is still queued.
#[derive(Debug)]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// Longest that the exporter waits for its endpoint, for one batch.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

impl Telemetry {
    /// Starts logs and traces for the role `service`; once per process, inside a Tokio runtime.
    ///
    /// # Errors
    /// When an option cannot be used, or telemetry has started before.
    pub fn start(service: &'static str, config: &TelemetryConfig) -> Result<Self, TelemetryError> {
        if !(0.0..=1.0).contains(&config.trace_ratio) {
            return Err(TelemetryError::Ratio(config.trace_ratio));
        }
        let filter = EnvFilter::builder().parse(&config.log)?;
        let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let logs = match config.log_format {
            LogFormat::Pretty => logs.with_target(true).boxed(),
            LogFormat::Json => logs.json().flatten_event(true).boxed(),
        };
        let provider = match &config.otlp_endpoint {
            Some(endpoint) => Some(provider(service, endpoint, config.trace_ratio)?),
            None => None,
        };
        let traces = provider.as_ref().map(|provider| {
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer("posthorn"))
                .with_filter(LevelFilter::INFO)
        });
        tracing_subscriber::registry().with(logs.with_filter(filter)).with(traces).try_init()?;
        Ok(Self { provider })
    }

    /// Sends out what is queued, within the exporter's own time limit.
    pub async fn stop(self) {
        if let Some(provider) = self.provider {
            // The exporter blocks while it drains.
            let _ = tokio::task::spawn_blocking(move || provider.shutdown()).await;
        }
    }
}

fn provider(
    service: &'static str,
    endpoint: &str,
    ratio: f64,
) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build()?;
    let resource = Resource::builder().with_service_name(format!("posthorn-{service}")).build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
        .with_resource(resource)
        .build())
}
