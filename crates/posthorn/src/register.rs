//! `posthorn register`: the worker, Kafka and the one subscription, made known to Restate, and who
//! announces behind it to the database.

use std::process::ExitCode;

use actors::{RegisterConfig, Registered};
use anyhow::Context;
use clap::Args;
use relay::topics;
use store::{CdcProducer, Store};

use crate::say::say;

const CONNECTIONS: u32 = 1;

#[derive(Args)]
pub(crate) struct RegisterArgs {
    /// PostgreSQL, as a URL: it keeps who announces what this topic carries.
    #[arg(long, env = "POSTHORN_DATABASE_URL", hide_env_values = true)]
    database_url: String,
    #[command(flatten)]
    config: RegisterConfig,
}

pub(crate) async fn register(args: &RegisterArgs) -> anyhow::Result<ExitCode> {
    let registered = with_restate(&args.config).await?;
    // Not before: a registration that is refused leaves whoever announces in place.
    if let Some(producer) = producer_of(&args.config.topic) {
        let store = Store::new(&args.database_url, "posthorn-register", CONNECTIONS)?;
        store.set_cdc_producer(producer).await.with_context(|| {
            format!("noting that {} announces; type this again", producer.name())
        })?;
    }
    say!("{}", summary(&registered));
    Ok(ExitCode::SUCCESS)
}

/// Who announces on the topic that is subscribed.
fn producer_of(topic: &str) -> Option<CdcProducer> {
    match topic {
        topics::EVENTS => Some(CdcProducer::Sequin),
        topics::WAKES => Some(CdcProducer::Relay),
        _ => None,
    }
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
