//! `posthorn endpoint`: what operators tell an endpoint, and what they ask about it.
//!
//! A command goes to the api role, which does it in one transaction; `history` and `rebuild` read
//! PostgreSQL. Nothing here decides, and nothing but a command changes anything.

mod change;
mod journal;
mod redeliver;
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
    /// Change what the options name; the rest stays. It holds from the next attempt on.
    Update(UpdateArgs),
    /// End it for good: what waits is cancelled, secrets are destroyed, the history stays.
    Delete(PlainArgs),
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
struct UpdateArgs {
    /// `ep_` and a UUID.
    id: EndpointId,
    /// Where its webhooks go; what stood in the way of the old URL is forgotten.
    #[arg(long)]
    url: Option<String>,
    /// Which events it gets, once for each type, in the place of those that are there.
    #[arg(long = "event-type")]
    event_types: Vec<String>,
    /// It gets every event of the merchant.
    #[arg(long, conflicts_with = "event_types")]
    all_events: bool,
    /// `ordered`, `strict` or `unordered`.
    #[arg(long)]
    ordering: Option<String>,
    /// In the place of its policy, as JSON: {"schedule_s":[5,300],"attempt_timeout_ms":20000}. What
    /// it does not say is the default again.
    #[arg(long)]
    policy: Option<String>,
    /// A header `name: value` of its requests, once for each, in the place of those that are there.
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Its requests carry no headers of its own.
    #[arg(long, conflicts_with = "headers")]
    no_headers: bool,
    /// `v1`, `v1a` or `both`; a secret that this makes necessary is printed once.
    #[arg(long)]
    signature_scheme: Option<String>,
    /// Does it get our trace context: true or false.
    #[arg(long)]
    send_traceparent: Option<bool>,
    #[command(flatten)]
    said: SaidArgs,
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
    #[arg(conflicts_with_all = ["since", "until", "event_type", "ended"])]
    delivery: Option<DeliveryId>,
    /// Those that ended then or later, such as 2026-01-31T12:00:00Z. Default: 30 days ago.
    #[arg(long)]
    since: Option<String>,
    /// Those that ended before. Default: now.
    #[arg(long)]
    until: Option<String>,
    /// Only events of this type, such as payment.succeeded.
    #[arg(long)]
    event_type: Option<String>,
    /// Only what ended like this: refused, unwell, expired or skipped.
    #[arg(long)]
    ended: Option<String>,
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
        EndpointCommand::Update(args) => change::update(args).await,
        EndpointCommand::Delete(args) => change::delete(args).await,
        EndpointCommand::Pause(args) => tell::plain(args, "pause").await,
        EndpointCommand::Resume(args) => tell::plain(args, "resume").await,
        EndpointCommand::Disable(args) => tell::plain(args, "disable").await,
        EndpointCommand::Enable(args) => tell::plain(args, "enable").await,
        EndpointCommand::Skip(args) => tell::skip(args).await,
        EndpointCommand::Redeliver(args) => redeliver::redeliver(args).await,
        EndpointCommand::Status(args) => tell::status(args).await,
        EndpointCommand::History(args) => journal::history(args).await,
        EndpointCommand::Rebuild(args) => journal::rebuild(args).await,
    }
}
