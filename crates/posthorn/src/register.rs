//! `posthorn register`: the worker, Kafka and the one subscription, made known to Restate.

use std::process::ExitCode;

use actors::{RegisterConfig, Registered};

pub(crate) async fn register(config: &RegisterConfig) -> anyhow::Result<ExitCode> {
    let registered = actors::register(config).await?;
    println!("{}", summary(&registered));
    Ok(ExitCode::SUCCESS)
}

/// What was made, in one line.
pub(crate) fn summary(registered: &Registered) -> String {
    if registered.made.is_empty() {
        "everything was registered before".to_owned()
    } else {
        registered.made.join("; ")
    }
}
