//! The one binary: a subcommand for each role, `up` for all of them, and what operators type.
//!
//! This crate stands on every other one and holds no rule of its own: it reads options, puts parts
//! together and prints. A role is the same whether `up` or somebody else starts it.

mod cdc;
mod crash_test;
mod delivery_show;
mod demo_merchant;
mod endpoint;
mod exec;
mod from_files;
mod guard;
mod health;
mod migrate;
mod old_design;
mod parked;
mod register;
mod role;
mod say;
mod secrets;
mod simulate;
mod status;
mod topics;
mod up;
mod webhook;
mod why;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::role::RoleArgs;

/// Webhook delivery for payments that never loses one.
// Not `Debug`, like what is below it: some options are secrets.
#[derive(Parser)]
#[command(name = "posthorn", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start everything on this machine, for development: PostgreSQL, Kafka, Restate and every role.
    Up(up::UpArgs),
    /// What `up` runs: every part and role with its process, port, state and log.
    Status(status::StatusArgs),
    /// The api role: gRPC services and their HTTP/JSON front.
    Api(RoleArgs<ingress::Config>),
    /// The relay role: what is inserted into the outbox goes to Kafka.
    Relay(RoleArgs<relay::Config>),
    /// The worker role: the Endpoint object, which Restate calls.
    Worker(RoleArgs<actors::Config>),
    /// The data-service role: a payment as it is now.
    DataService(RoleArgs<data_service::Config>),
    /// The simulator role: merchants that answer as they are told.
    Simulator(RoleArgs<simulator::Config>),
    /// The traces role: takes spans by OTLP and shows them in Jaeger's user interface.
    Traces(RoleArgs<traces::Config>),
    /// Bring the database's schema up to date.
    Migrate(migrate::MigrateArgs),
    /// Make the topics that are missing.
    Topics(topics::TopicsArgs),
    /// Make the worker, Kafka and the one subscription known to Restate; what is known stays.
    Register(register::RegisterArgs),
    /// Put a load of payments on a running stack, receive it, and report what it came to.
    Bench(bench::Config),
    /// Who announces deliveries: our relay, or Sequin.
    Cdc(cdc::CdcArgs),
    /// Kill a part of a running stack with -9 under load, and compare what arrives with the old design.
    CrashTest(crash_test::CrashTestArgs),
    /// Run the rules under a virtual clock, with everything around them that can break.
    Simulate(simulate::SimulateArgs),
    /// What became of a delivery.
    Delivery(delivery_show::DeliveryArgs),
    /// What became of a payment, an event or a delivery, and what happens next.
    Why(why::WhyArgs),
    /// Tell an endpoint something, or ask where it stands.
    Endpoint(endpoint::EndpointArgs),
    /// Records that could not be understood.
    Parked(parked::ParkedArgs),
    /// Which URLs and addresses may be reached.
    Guard(guard::GuardArgs),
    /// The keys that seal secrets.
    Secrets(secrets::SecretsArgs),
    /// Sign and verify webhooks by hand.
    Webhook(webhook::WebhookArgs),
    /// Is it ready? For the health check of a container, in which there is nothing else.
    #[command(hide = true)]
    Health(health::HealthArgs),
    /// Make the demo merchant and its endpoint, unless they are there.
    #[command(hide = true)]
    DemoMerchant(demo_merchant::DemoMerchantArgs),
    /// The old design that `crash-test` compares with: an api that sends webhooks from memory.
    #[command(hide = true)]
    OldDesign(old_design::OldDesignArgs),
    /// Become another program that dies with its parent.
    #[command(hide = true)]
    Exec(exec::ExecArgs),
}

fn main() -> ExitCode {
    let command = match from_files::parse::<Cli>().command {
        // Before there are threads: this process is about to become another.
        Command::Exec(args) => return exec::exec(args),
        command => command,
    };
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        // Only this function installs one.
        eprintln!("posthorn: a TLS provider was installed before");
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("posthorn: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(command)) {
        Ok(code) => code,
        Err(error) => {
            // Where nobody reads it, there is nobody to be told that nobody does.
            let _ = writeln!(std::io::stderr(), "posthorn: {}", said_once(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes, without those that the text before has already said.
fn said_once(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| {
        if told.is_empty() {
            cause
        } else if told.ends_with(&cause) {
            told
        } else {
            format!("{told}: {cause}")
        }
    })
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(args) => up::up(args).await,
        Command::Status(args) => status::status(&args).await,
        Command::Api(args) => role::run("api", args, ingress::run).await,
        Command::Relay(args) => role::run("relay", args, relay::run).await,
        Command::Worker(args) => role::run("worker", args, actors::run).await,
        Command::DataService(args) => role::run("data-service", args, data_service::run).await,
        Command::Simulator(args) => role::run("simulator", args, simulator::run).await,
        Command::Traces(args) => role::run("traces", args, traces::run).await,
        Command::Migrate(args) => migrate::migrate(&args).await,
        Command::Register(args) => register::register(&args).await,
        Command::Bench(config) => {
            bench::run(config, |report| say::text(report)).await.map(|()| ExitCode::SUCCESS)
        }
        Command::Cdc(args) => cdc::cdc(args).await,
        Command::CrashTest(args) => crash_test::crash_test(args).await,
        Command::Topics(args) => topics::topics(&args).await,
        Command::Health(args) => health::health(&args).await,
        Command::DemoMerchant(args) => demo_merchant::demo_merchant(&args).await,
        Command::OldDesign(args) => old_design::old_design(args).await,
        Command::Simulate(args) => Ok(simulate::simulate(&args)),
        Command::Delivery(args) => delivery_show::delivery(&args).await,
        Command::Why(args) => why::why(&args).await,
        Command::Endpoint(args) => endpoint::endpoint(&args).await,
        Command::Parked(args) => parked::parked(&args).await,
        Command::Guard(args) => guard::guard(&args),
        Command::Secrets(args) => secrets::secrets(&args).await,
        Command::Webhook(args) => webhook::webhook(&args),
        Command::Exec(args) => Ok(exec::exec(args)),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_subcommand_can_be_parsed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_telemetry_cannot_use_is_refused_before_anything_starts() {
        for command in ["up", "simulator"] {
            for option in ["--otlp-endpoint=localhost:4317", "--trace-ratio=5", "--trace-ratio=NaN"]
            {
                let parsed = Cli::try_parse_from(["posthorn", command, option]);
                assert!(parsed.is_err(), "{command} {option}");
            }
            let endpoint = "--otlp-endpoint=http://localhost:4317";
            let parsed = Cli::try_parse_from(["posthorn", command, endpoint, "--trace-ratio=0.01"]);
            assert!(parsed.is_ok(), "{command}");
        }
    }

    #[test]
    fn a_cause_that_was_told_is_not_told_again() {
        let away = || std::io::Error::other("away");
        let told = anyhow::Error::new(away()).context("the database: away").context("schema");
        assert_eq!(said_once(&told), "schema: the database: away");
        assert_eq!(said_once(&anyhow::Error::new(away())), "away");
    }
}
