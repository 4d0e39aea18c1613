//! `posthorn crash-test`: payments at a steady rate, a part killed with -9 in the middle, and what
//! of it reached the merchants; beside it the old design, under the same driver and the same kill.
//!
//! What arrived is counted from the receiver's own ledger, never from our tables; those are read
//! only to say where a payment stands that did not arrive. It ends with an error when Posthorn lost
//! one, or delivered one out of order.

mod comparison;
mod document;
mod ledger;
mod old_side;
mod own_stack;
mod rows;
mod seed;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};

use self::comparison::{Comparison, compare};
use self::own_stack::OwnStack;

use crate::say;

/// Who is killed, by its name in `posthorn status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Victim {
    Worker,
    Relay,
    Api,
    DataService,
    Kafka,
    Restate,
    Postgres,
}

impl Victim {
    fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Relay => "relay",
            Self::Api => "api",
            Self::DataService => "data-service",
            Self::Kafka => "kafka",
            Self::Restate => "restate",
            Self::Postgres => "postgres",
        }
    }

    /// The old design keeps its payments in the same PostgreSQL; all else that it has is one process.
    fn is_of_both(self) -> bool {
        self == Self::Postgres
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CrashTestArgs {
    /// Payments on each side.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    payments: u32,
    /// Payments a second on each side.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: u32,
    /// Merchants on each side, with one endpoint each; they take turns.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    merchants: u32,
    /// Who is killed with -9 in the middle.
    #[arg(long, value_enum, default_value = "worker")]
    kill: Victim,
    /// Every one of them, one after the other.
    #[arg(long, conflicts_with = "kill")]
    all: bool,
    /// Decides at which payment the kill comes. None: drawn, and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// So long before the kill one merchant begins to answer 500, on both sides, and is well again
    /// at the kill: so that something is being retried when it comes. 0: no merchant fails.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    failing_ms: u64,
    /// After the load: give up when nothing has arrived for so many seconds.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    quiet_seconds: u64,
    /// Write the comparison as a document.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// For programs: one JSON object for each part that was killed.
    #[arg(long)]
    json: bool,
    /// Start a stack of its own for the test, on free ports, and stop it afterwards.
    #[arg(long)]
    start: bool,
    /// The state directory of the `up` that is tested; with --start, where the new one lies.
    #[arg(long, env = "POSTHORN_DIR", default_value = ".posthorn", value_name = "FOLDER")]
    dir: PathBuf,
}

pub(crate) async fn crash_test(args: CrashTestArgs) -> anyhow::Result<ExitCode> {
    let own = if args.start { Some(OwnStack::start(&args.dir).await?) } else { None };
    let tested = test(&args).await;
    if let Some(own) = own {
        own.stop().await?;
    }
    tested
}

async fn test(args: &CrashTestArgs) -> anyhow::Result<ExitCode> {
    let seed = args.seed.unwrap_or_else(seed::draw);
    let victims = if args.all { Victim::value_variants().to_vec() } else { vec![args.kill] };
    let mut comparisons = Vec::new();
    for victim in victims {
        let comparison = compare(args, victim, seed).await?;
        if args.json {
            say::text_if_read(serde_json::to_string(&comparison)? + "\n");
        } else {
            say::text_if_read(&comparison);
        }
        comparisons.push(comparison);
    }
    if let Some(file) = &args.report {
        let text = document::of(args, &comparisons);
        std::fs::write(file, text).with_context(|| format!("--report {}", file.display()))?;
        eprintln!("written: {}", file.display());
    }
    let is_well = comparisons.iter().all(Comparison::is_well);
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
