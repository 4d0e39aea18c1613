//! How every role runs: telemetry first, then its own `run` until it is told to stop.
//!
//! A role names what it needs to be ready by itself, and ends by itself when it cannot go on: who
//! started it starts it again.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use observability::{Health, Telemetry, TelemetryConfig, shutdown_signal};
use tokio_util::sync::CancellationToken;

/// Options of a role: its own, and those of telemetry.
#[derive(Args)]
pub(crate) struct RoleArgs<C: Args> {
    #[command(flatten)]
    config: C,
    #[command(flatten)]
    telemetry: TelemetryConfig,
}

/// Runs the role `name` until SIGTERM or SIGINT.
pub(crate) async fn run<C, F, E>(
    name: &'static str,
    args: RoleArgs<C>,
    role: impl FnOnce(C, Health, CancellationToken) -> F,
) -> anyhow::Result<ExitCode>
where
    C: Args,
    F: Future<Output = Result<(), E>>,
    E: std::error::Error + Send + Sync + 'static,
{
    stack::exec::show_as(name);
    let telemetry = Telemetry::start(name, &args.telemetry)?;
    let shutdown = shutdown_signal().context("cannot listen to signals")?;
    let ended = role(args.config, Health::default(), shutdown).await;
    let code = match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // As a line of the log, whatever its format: it is what an operator looks for.
            tracing::error!("{name} cannot go on: {:#}", anyhow::Error::new(error));
            ExitCode::FAILURE
        }
    };
    telemetry.stop().await;
    Ok(code)
}
