//! Telemetry, metrics, health and shutdown: started in one place, the same for every role.
//!
//! `Telemetry::start` sets up logs and, behind a flag, traces; `Health` answers `/livez` and
//! `/readyz`; `shutdown_signal` is the one way in which a role learns that it must end.
//! No secret and no payload passes through here, and no role waits for telemetry.

mod exporting;
mod health;
mod losing;
pub mod metrics;
mod otlp;
mod rooted;
mod shutdown;
pub mod spans;
mod telemetry;
pub mod traceparent;

pub use health::{Health, serve_health};
pub use otlp::{OtlpEndpoint, OtlpEndpointError};
pub use shutdown::shutdown_signal;
pub use telemetry::{LogFormat, Telemetry, TelemetryConfig, TelemetryError, trace_ratio};
