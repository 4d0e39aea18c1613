//! `posthorn register`: the worker, Kafka and the one subscription, made known to Restate.

use std::process::ExitCode;

use actors::{RegisterConfig, Registered};

use crate::say::say;

pub(crate) async fn register(config: &RegisterConfig) -> anyhow::Result<ExitCode> {
    say!("{}", summary(&with_restate(config).await?));
    Ok(ExitCode::SUCCESS)
}

/// Asks Kafka which topic it is, and registers with Restate.
pub(crate) async fn with_restate(config: &RegisterConfig) -> anyhow::Result<Registered> {
    let topic = relay::topic_id(&config.kafka, &config.topic).await?;
    Ok(actors::register(config, topic).await?)
}

/// What was made, in one line.
pub(crate) fn summary(registered: &Registered) -> String {
    if registered.made.is_empty() {
        "everything was registered before".to_owned()
    } else {
        registered.made.join("; ")
    }
}
