//! `posthorn topics`: the topics, made as far as they are missing; what is there stays as it is.

use std::process::ExitCode;

use clap::Args;

use crate::say::say;

#[derive(Debug, Args)]
pub(crate) struct TopicsArgs {
    /// Kafka's bootstrap servers, host:port separated by commas.
    #[arg(long, env = "POSTHORN_KAFKA", default_value = "127.0.0.1:9092")]
    kafka: String,
}

pub(crate) async fn topics(args: &TopicsArgs) -> anyhow::Result<ExitCode> {
    for oddity in relay::topics::ensure(&args.kafka).await? {
        say!("Look at this: {oddity}.");
    }
    say!("The topics are there: {}, {}.", relay::topics::EVENTS, relay::topics::WAKES);
    Ok(ExitCode::SUCCESS)
}
