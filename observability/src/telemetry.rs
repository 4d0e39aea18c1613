//! Logs and traces of one process.
//!
//! Logs go to standard error, pretty or JSON. Traces go to an OTLP endpoint when one is given; how,
//! and what it costs when that is away, `exporting` says.

use std::time::Duration;

use clap::{Args, ValueEnum};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Metadata;
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::exporting::provider;
use crate::metrics::SpansDropped;
use crate::otlp::OtlpEndpoint;
use crate::spans;

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
    /// What is logged: a level, or directives such as `info,posthorn_relay=debug`.
    #[arg(long, env = "POSTHORN_LOG", default_value = "info")]
    pub log: String,
    /// Where traces go, by OTLP over gRPC, such as http://127.0.0.1:4317. https:// trusts whom this
    /// machine trusts, or the certificates in the file that SSL_CERT_FILE names. None: no traces.
    #[arg(long, env = "POSTHORN_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<OtlpEndpoint>,
    /// Share of new traces that are kept, 0 to 1. A trace that a caller began keeps its own choice.
    #[arg(
        long,
        env = "POSTHORN_TRACE_RATIO",
        default_value_t = 1.0,
        value_parser = trace_ratio,
        value_name = "SHARE"
    )]
    pub trace_ratio: f64,
}

/// The share of traces that are kept, as a person writes it.
///
/// # Errors
/// When it is no number from 0 to 1.
pub fn trace_ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| "it is a number from 0 (none) to 1 (all)".to_owned())
}

/// Why telemetry could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log directives cannot be read.
    #[error(
        "--log: {0}; use a level (error, warn, info, debug, trace) or directives such as info,posthorn_relay=debug"
    )]
    Directives(#[from] tracing_subscriber::filter::ParseError),
    /// The exporter cannot be built: by what it reads from the environment by itself.
    #[error("OTEL_EXPORTER_OTLP_*: {0}")]
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

/// Longest that a role that ends waits for its last spans to be sent.
const LAST_SPANS_TIMEOUT: Duration = Duration::from_secs(2);

/// What the exporter says of itself: that it drops spans, we say, once.
const QUIET: &str = "opentelemetry=off,opentelemetry_sdk=off,opentelemetry-otlp=off";

impl Telemetry {
    /// Starts logs and traces for the role `service`; once per process, inside a Tokio runtime.
    ///
    /// # Errors
    /// When an option cannot be used, or telemetry has started before.
    pub fn start(service: &'static str, config: &TelemetryConfig) -> Result<Self, TelemetryError> {
        let filter = EnvFilter::builder().parse(format!("{QUIET},{}", config.log))?;
        let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let logs = match config.log_format {
            LogFormat::Pretty => logs.with_target(true).boxed(),
            LogFormat::Json => logs.json().flatten_event(true).boxed(),
        };
        let provider = match &config.otlp_endpoint {
            Some(endpoint) => {
                let dropped = SpansDropped::default();
                dropped.show();
                Some(provider(service, endpoint, config.trace_ratio, &dropped)?)
            }
            None => None,
        };
        let traces = provider.as_ref().map(|provider| {
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer("posthorn"))
                .with_location(false)
                .with_threads(false)
                .with_target(false)
                .with_tracked_inactivity(false)
                .with_context_activation(false)
                .with_filter(filter_fn(is_for_traces))
        });
        let filter = filter.and(filter_fn(is_for_logs));
        tracing_subscriber::registry().with(logs.with_filter(filter)).with(traces).try_init()?;
        Ok(Self { provider })
    }

    /// Sends out what is queued, within a time limit.
    pub async fn stop(self) {
        if let Some(provider) = self.provider {
            // The exporter blocks while it drains.
            let drain = move || provider.shutdown_with_timeout(LAST_SPANS_TIMEOUT);
            let _ = tokio::task::spawn_blocking(drain).await;
        }
    }
}

/// Spans that were made to be read, and nothing of libraries: the exporter uses some of them itself.
fn is_for_traces(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target() == spans::TARGET
}

/// Lines; around them only spans that are no trace's, whose fields would fill the screen.
fn is_for_logs(metadata: &Metadata<'_>) -> bool {
    !metadata.is_span() || metadata.target() != spans::TARGET
}
