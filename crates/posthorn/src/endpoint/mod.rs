//! `posthorn endpoint`: what operators tell an endpoint, and what they ask about it.
//!
//! A command goes to the api role, which does it in one transaction; `history` and `rebuild` read
//! PostgreSQL. Nothing here decides, and nothing but a command changes anything.

mod journal;
mod tell;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use domain::{DeliveryId, EndpointId};

#[derive(Args)]
pub(crate) struct EndpointArgs {
    #[command(subcommand)]
    command: EndpointCommand,
}

#[derive(Subcommand)]
enum EndpointCommand {
    /// Send nothing until it is resumed; its deliveries wait.
    Pause(PlainArgs),
    /// End a pause.
    Resume(PlainArgs),
    /// Send nothing until it is enabled; its deliveries wait.
    Disable(PlainArgs),
    /// Send again, whatever had disabled it.
    Enable(PlainArgs),
    /// Take a waiting delivery out of the line for good.
    Skip(SkipArgs),
    /// Put deliveries that are over back in line: one, or all that were given up or skipped.
    Redeliver(RedeliverArgs),
    /// Where it stands, and what happened last.
    Status(StatusArgs),
    /// Its journal as a story.
    History(JournalArgs),
    /// Fold its journal again and compare with what is kept; exit status 1 when they differ.
    Rebuild(JournalArgs),
}

#[derive(Args)]
struct ApiArgs {
    /// The api role's HTTP front.
    #[arg(long, env = "POSTHORN_API_URL", default_value = "http://127.0.0.1:3001")]
    api_url: String,
}

#[derive(Args)]
struct PlainArgs {
    /// `ep_` and a UUID.
    id: EndpointId,
    #[command(flatten)]
    said: SaidArgs,
}

#[derive(Args)]
struct SaidArgs {
    /// A UUID; a repeat under the same one changes nothing. Default: a new one.
    #[arg(long)]
    command_id: Option<uuid::Uuid>,
    /// Who asks, for the journal.
    #[arg(long, env = "USER", default_value = "operator")]
    actor: String,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Args)]
struct SkipArgs {
    /// `ep_` and a UUID.
    id: EndpointId,
    /// Which one: `dlv_` and a UUID.
    delivery: DeliveryId,
    #[command(flatten)]
    said: SaidArgs,
}

#[derive(Args)]
struct RedeliverArgs {
    /// `ep_` and a UUID.
    id: EndpointId,
    /// Which one: `dlv_` and a UUID. Default: all that were given up or skipped.
    #[arg(conflicts_with = "since")]
    delivery: Option<DeliveryId>,
    /// Those that ended then or later, such as 2026-01-31T12:00:00Z. Default: 30 days ago.
    #[arg(long)]
    since: Option<String>,
    #[command(flatten)]
    said: SaidArgs,
}

#[derive(Args)]
struct StatusArgs {
    /// `ep_` and a UUID.
    id: EndpointId,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Args)]
struct JournalArgs {
    /// `ep_` and a UUID.
    id: EndpointId,
    /// PostgreSQL, as a URL.
    #[arg(long, env = "POSTHORN_DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

pub(crate) async fn endpoint(args: &EndpointArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        EndpointCommand::Pause(args) => tell::plain(args, "pause").await,
        EndpointCommand::Resume(args) => tell::plain(args, "resume").await,
        EndpointCommand::Disable(args) => tell::plain(args, "disable").await,
        EndpointCommand::Enable(args) => tell::plain(args, "enable").await,
        EndpointCommand::Skip(args) => tell::skip(args).await,
        EndpointCommand::Redeliver(args) => tell::redeliver(args).await,
        EndpointCommand::Status(args) => tell::status(args).await,
        EndpointCommand::History(args) => journal::history(args).await,
        EndpointCommand::Rebuild(args) => journal::rebuild(args).await,
    }
}
