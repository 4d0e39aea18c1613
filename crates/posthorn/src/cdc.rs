//! `posthorn cdc switch relay|sequin`: moves a running installation from one producer to the other.
//!
//! The new one stands before the old one goes, so there is no moment in which nobody reads the WAL;
//! at the end one is left, with its slot, and one subscription, and that is looked at before it is
//! said. A producer is believed when what it announces comes out of Kafka. One switch, or
//! registration, runs at a time. It begins only where who announces, what Restate reads and the slots
//! fit together; a step that fails takes back what this run made, and no more; each step can be done
//! again: a switch that was interrupted is typed again. What was announced and not read when a
//! subscription goes is made good by a wake of everybody who has due work.

mod found;
mod sequin;
mod switch;

use std::path::PathBuf;
use std::process::ExitCode;

use actors::RegisterConfig;
use clap::{Args, Subcommand, ValueEnum};

#[derive(Args)]
pub(crate) struct CdcArgs {
    #[command(subcommand)]
    command: CdcCommand,
}

#[derive(Subcommand)]
enum CdcCommand {
    /// Let another producer announce deliveries, without a gap.
    Switch(SwitchArgs),
}

/// Who shall announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Producer {
    /// Our own relay.
    Relay,
    /// Sequin.
    Sequin,
}

#[derive(Args)]
struct SwitchArgs {
    /// Who shall announce.
    to: Producer,
    /// PostgreSQL, as a URL. Its user must be allowed to drop replication slots.
    #[arg(long, env = "POSTHORN_DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// Restate's ingress.
    #[arg(long, env = "POSTHORN_RESTATE_INGRESS_URL", default_value = "http://127.0.0.1:8080")]
    restate_ingress_url: String,
    /// Restate's admin API.
    #[arg(long, env = "POSTHORN_RESTATE_ADMIN_URL", default_value = "http://127.0.0.1:9070")]
    restate_admin_url: String,
    /// Kafka's bootstrap servers, as we and Restate reach them.
    #[arg(long, env = "POSTHORN_KAFKA", default_value = "127.0.0.1:9092")]
    kafka: String,
    /// Restate has one node: see `posthorn register`.
    #[arg(long, env = "POSTHORN_RESTATE_IS_ONE_NODE")]
    restate_is_one_node: bool,
    /// The relay's slot.
    #[arg(long, env = "POSTHORN_RELAY_SLOT", default_value = "posthorn_relay")]
    relay_slot: String,
    /// Sequin's own API.
    #[arg(long, env = "POSTHORN_SEQUIN_URL", default_value = "http://127.0.0.1:7376")]
    sequin_url: String,
    /// Its token.
    #[arg(
        long,
        env = "POSTHORN_SEQUIN_TOKEN",
        hide_env_values = true,
        required_unless_present = "sequin_is_gone"
    )]
    sequin_token: Option<String>,
    /// Sequin is dead and does not come back: it is not asked, its slot is dropped all the same.
    #[arg(long)]
    sequin_is_gone: bool,
    /// Sequin's configuration; its variables are taken from the environment.
    #[arg(long, default_value = "compose/sequin/sequin.yaml", value_name = "FILE")]
    sequin_config: PathBuf,
    /// The slot that this configuration names.
    #[arg(long, default_value = "sequin_slot")]
    sequin_slot: String,
    /// How long one step may take, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    step_seconds: u64,
}

impl SwitchArgs {
    /// What Restate is told; the worker stays as it is.
    fn registration(&self) -> RegisterConfig {
        RegisterConfig {
            restate_admin_url: self.restate_admin_url.clone(),
            worker_url: String::new(),
            kafka: self.kafka.clone(),
            restate_is_one_node: self.restate_is_one_node,
        }
    }
}

pub(crate) async fn cdc(args: CdcArgs) -> anyhow::Result<ExitCode> {
    let CdcCommand::Switch(args) = args.command;
    switch::switch(&args).await?;
    Ok(ExitCode::SUCCESS)
}
