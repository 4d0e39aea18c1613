//! `posthorn simulate`: the product's rules under a virtual clock, with everything that can break.
//!
//! Options come in; progress, what was counted, and on a violation the smallest scenario that was
//! found and the line that shows it again go out. It needs nothing that runs, and touches nothing.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, value_parser};
use simulation::{DAYS_MAX, ENDPOINTS_MAX, Options, Tally, simulate as run};
use uuid::Uuid;

use crate::say::say;

/// Endpoints between two lines of progress: some seconds.
const STEP: u64 = 500;
/// Progress is told so often, at most.
const TOLD_EVERY: Duration = Duration::from_secs(2);

#[derive(Args)]
pub(crate) struct SimulateArgs {
    /// Determines everything. Default: one that is drawn, and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// The first endpoint: to see one again.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// How many endpoints, each with a merchant of its own.
    #[arg(long, default_value_t = 2_000, value_parser = value_parser!(u64).range(1..=ENDPOINTS_MAX))]
    endpoints: u64,
    /// Over how many days each; nine quiet ones follow.
    #[arg(long, default_value_t = 60, value_parser = value_parser!(u32).range(1..=i64::from(DAYS_MAX)))]
    days: u32,
    /// How many threads share the work. It makes no difference to what happens.
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u64).range(1..=64))]
    threads: u64,
    /// Show a failing scenario as it is, and do not look for a smaller one.
    #[arg(long)]
    whole: bool,
}

/// Fails (exit status 1) at the first endpoint at which something is not as it must be.
pub(crate) fn simulate(args: &SimulateArgs) -> ExitCode {
    let seed = args.seed.unwrap_or_else(|| Uuid::new_v4().as_u64_pair().1 & u64::from(u32::MAX));
    say!(
        "seed {seed}: {} endpoints from number {}, {} days each",
        args.endpoints,
        args.first,
        args.days
    );
    let (began, mut told) = (Instant::now(), Instant::now());
    let (mut tally, mut done) = (Tally::default(), 0);
    while done < args.endpoints {
        let options = Options {
            seed,
            first: args.first.saturating_add(done),
            endpoints: STEP.min(args.endpoints - done),
            days: args.days,
            threads: args.threads,
            shrinks: !args.whole,
            bug: None,
        };
        match run(options) {
            Ok(part) => tally += part,
            Err(failure) => {
                say!("{failure}");
                return ExitCode::FAILURE;
            }
        }
        done += options.endpoints;
        if told.elapsed() >= TOLD_EVERY && done < args.endpoints {
            told = Instant::now();
            say!("{done} endpoints, {} deliveries, {:.0?}", tally.deliveries, began.elapsed());
        }
    }
    say!("{tally}");
    let took = began.elapsed();
    let per_second =
        f64::from(u32::try_from(tally.settles).unwrap_or(u32::MAX)) / took.as_secs_f64();
    say!("nothing was lost, passed or left alone; {took:.1?}, {per_second:.0} decisions/s");
    ExitCode::SUCCESS
}
