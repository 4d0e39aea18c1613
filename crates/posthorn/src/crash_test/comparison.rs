//! One comparison: both sides under load at once, one kill, one judge.
//!
//! The driver is the benchmark's, twice; the judge is the benchmark's too. Nothing here decides what
//! counts as lost: what was acknowledged and is not in the receiver's ledger is.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Display};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bench::{End, Load, Made, Stack, Stream, Verdict, Way, judge, now_us};
use domain::MerchantId;
use serde::Serialize;
use store::Store;

use super::ledger::Receiver;
use super::old_side::OldSide;
use super::{CrashTestArgs, Victim, rows, seed};

/// Payments of a side that are made at the same time, at most.
const CALLERS: u16 = 8;
/// The merchant that fails.
const FAILS: u32 = 0;
/// After the kill: so long a duplicate may still come.
const LATE_DUPLICATES: Duration = Duration::from_secs(15);
/// Between two looks at the ledger once the load is over.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Between two looks at how far the load is.
const POLL: Duration = Duration::from_millis(1);
/// The first delivery after the kill is late when it takes longer than this.
const FIRST_DELIVERY_MAX_SECONDS: f64 = 10.0;
/// Rows of a few payments are read.
const CONNECTIONS: u32 = 1;

/// What came of one side.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Tally {
    pub(super) created: usize,
    pub(super) delivered: u64,
    pub(super) lost: usize,
    pub(super) duplicates: u64,
    pub(super) out_of_order: usize,
    /// From the kill to the first arrival of a payment that was made after it.
    pub(super) first_delivery_seconds: Option<f64>,
    /// The longest from acknowledgement to arrival, of a merchant that did not fail.
    pub(super) longest_wait_seconds: Option<f64>,
}

/// Both sides, and who was killed.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Comparison {
    pub(super) killed: Victim,
    pub(super) seed: u64,
    /// Acknowledged payments of Posthorn when the kill came.
    pub(super) killed_after: u32,
    pub(super) old: Tally,
    pub(super) posthorn: Tally,
    /// What must not have happened to Posthorn, a sentence each.
    pub(super) complaints: Vec<String>,
    /// What should not have happened to Posthorn and loses nothing: said, no failure.
    pub(super) remarks: Vec<String>,
    /// Where the payments stand that Posthorn lost.
    pub(super) rows: String,
}

impl Comparison {
    pub(super) fn is_well(&self) -> bool {
        self.complaints.is_empty()
    }
}

/// One side under load.
struct Side {
    load: Arc<Load>,
    merchants: HashMap<String, u32>,
    killed_us: i64,
}

impl Side {
    fn new(way: Way, merchants: Vec<MerchantId>) -> Self {
        let numbers = merchants.iter().zip(0..).map(|(name, n)| (name.to_string(), n)).collect();
        Self { load: Arc::new(Load::new(way, merchants, 0)), merchants: numbers, killed_us: 0 }
    }

    async fn run(&self, args: &CrashTestArgs) -> anyhow::Result<()> {
        let stream = Stream {
            first_endpoint: 0,
            endpoints: args.merchants,
            rate: Some(f64::from(args.rate)),
            callers: CALLERS,
            end: End::After(u64::from(args.payments)),
        };
        self.load.run(stream).await
    }

    async fn until_made(&self, count: u32) {
        while self.load.made().len() < count as usize {
            tokio::time::sleep(POLL).await;
        }
    }

    async fn verdict(&self, receiver: &Receiver) -> anyhow::Result<(Vec<Made>, Verdict)> {
        let arrivals = receiver.arrivals(&self.merchants).await?;
        let made = self.load.made().clone();
        let verdict = judge(&made, &arrivals);
        Ok((made, verdict))
    }

    fn tally(&self, made: &[Made], verdict: &Verdict) -> Tally {
        let after: HashSet<_> =
            made.iter().filter(|made| made.begun_us > self.killed_us).map(|m| m.event).collect();
        let first = verdict.first_arrivals.iter().filter(|a| after.contains(&a.event));
        let first_us = first.map(|arrival| arrival.arrived_us).min();
        let made_us: HashMap<_, _> = made.iter().map(|made| (made.event, made.done_us)).collect();
        let waits = verdict.first_arrivals.iter().filter(|a| a.event.endpoint != FAILS);
        let waited_us = waits.map(|a| a.arrived_us - made_us[&a.event]).max();
        #[allow(clippy::cast_precision_loss)] // Microseconds of a run are exact in an f64.
        let seconds = |us: i64| us as f64 / 1_000_000.0;
        Tally {
            created: made.len(),
            delivered: verdict.delivered,
            lost: verdict.lost.len(),
            duplicates: verdict.duplicates,
            out_of_order: verdict.behind_in_endpoint.len(),
            first_delivery_seconds: first_us.map(|us| seconds(us - self.killed_us)),
            longest_wait_seconds: waited_us.map(seconds),
        }
    }
}

/// Runs one comparison on the stack that runs in `args.dir`.
pub(super) async fn compare(
    args: &CrashTestArgs,
    victim: Victim,
    seed: u64,
) -> anyhow::Result<Comparison> {
    let stack = Stack::new(&args.dir);
    stack.pid(victim.name())?;
    let variable = |name: &str| {
        let missing = || format!("no {name} in {}", args.dir.join("environment").display());
        stack.variable(name).with_context(missing)
    };
    let api = format!("http://{}", variable("POSTHORN_HTTP_LISTEN")?);
    let database_url = variable("POSTHORN_DATABASE_URL")?;
    let simulator = format!("http://{}", variable("POSTHORN_SIMULATOR_LISTEN")?);
    let receiver = Receiver::at(&simulator).await?;
    let run = format!("crash-{:x}", now_us() / 1_000);
    let old_run = format!("{run}-old");
    let url = |n| Some(receiver.url(&format!("{run}-{n}")));
    let merchants = bench::merchants(&api, &run, args.merchants, url).await?;
    // Known to the database, so that their payments can be kept, and without an endpoint of ours.
    let old_merchants = bench::merchants(&api, &old_run, args.merchants, |_| None).await?;
    let old_process = start_old(&args.dir, &receiver, &database_url).await?;
    let mut old = Side::new(Way::json(&old_process.url())?, old_merchants);
    let mut posthorn = Side::new(Way::json(&api)?, merchants);
    let killed_after = seed::moment(seed, args.payments);
    eprintln!(
        "{run}: {} payments a side at {}/s, {} killed after {killed_after} (--seed {seed})",
        args.payments,
        args.rate,
        victim.name(),
    );
    let failing = [format!("{run}-{FAILS}"), format!("{old_run}-{FAILS}")];
    let killing = async {
        let payments_in_failing = u64::from(args.rate) * args.failing_ms / 1_000;
        let begins = u64::from(killed_after).saturating_sub(payments_in_failing);
        posthorn.until_made(u32::try_from(begins)?).await;
        if args.failing_ms > 0 {
            for merchant in &failing {
                receiver.fail(merchant).await?;
            }
        }
        posthorn.until_made(killed_after).await;
        let struck = strike(&stack, victim, old_process).await?;
        for merchant in &failing {
            receiver.be_well(merchant).await?;
        }
        Ok(struck)
    };
    let ((), (), struck) = tokio::try_join!(old.run(args), posthorn.run(args), killing)?;
    (posthorn.killed_us, old.killed_us) = (struck.at_us, struck.old_at_us);
    drain(args, &receiver, &posthorn, struck.at).await?;
    let (old_made, old_verdict) = old.verdict(&receiver).await?;
    let (made, verdict) = posthorn.verdict(&receiver).await?;
    let store = Store::new(&database_url, "posthorn-crash-test", CONNECTIONS)?;
    let tally = posthorn.tally(&made, &verdict);
    Ok(Comparison {
        killed: victim,
        seed,
        killed_after,
        old: old.tally(&old_made, &old_verdict),
        remarks: lateness(tally.first_delivery_seconds).into_iter().collect(),
        posthorn: tally,
        rows: rows::of(&store, &verdict.lost).await?,
        complaints: complaints(args, &verdict),
    })
}

/// What must not have happened, a sentence each.
fn complaints(args: &CrashTestArgs, verdict: &Verdict) -> Vec<String> {
    let mut complaints = verdict.complaints();
    // An endpoint has one request in flight: a crash repeats at most that one.
    let (duplicates, in_flight_max) = (verdict.duplicates, args.merchants);
    if duplicates > u64::from(in_flight_max) {
        complaints.push(format!(
            "{duplicates} duplicates, and at most {in_flight_max} requests were in flight"
        ));
    }
    complaints
}

/// A sentence when the first delivery after the kill came late, or never.
fn lateness(first_delivery_seconds: Option<f64>) -> Option<String> {
    let max = FIRST_DELIVERY_MAX_SECONDS;
    match first_delivery_seconds {
        Some(seconds) if seconds <= max => None,
        Some(seconds) => Some(format!(
            "the first delivery came {seconds:.2} s after the kill, and should within {max} s"
        )),
        None => Some("nothing that was made after the kill was delivered".to_owned()),
    }
}

async fn start_old(dir: &Path, receiver: &Receiver, database_url: &str) -> anyhow::Result<OldSide> {
    OldSide::start(&dir.canonicalize()?, receiver.base(), database_url).await
}

/// The kill: when each side was hit. The old process lives as long as this.
struct Struck {
    at: Instant,
    at_us: i64,
    old_at_us: i64,
    _old: OldSide,
}

async fn strike(stack: &Stack, victim: Victim, mut old: OldSide) -> anyhow::Result<Struck> {
    let (at, at_us) = (Instant::now(), now_us());
    let pid = stack.kill(victim.name())?;
    let mut old_at_us = at_us;
    if !victim.is_of_both() {
        old_at_us = now_us();
        old.kill().await?;
    }
    let also = if victim.is_of_both() { "" } else { ", and the old design's process" };
    eprintln!("killed {} (pid {pid}){also}", victim.name());
    Ok(Struck { at, at_us, old_at_us, _old: old })
}

/// Waits until everything has arrived and late duplicates have had their time, or nothing has come
/// for a while.
async fn drain(
    args: &CrashTestArgs,
    receiver: &Receiver,
    posthorn: &Side,
    killed: Instant,
) -> anyhow::Result<()> {
    let quiet = Duration::from_secs(args.quiet_seconds);
    let (mut last_count, mut last_news) = (0, Instant::now());
    loop {
        let (_, verdict) = posthorn.verdict(receiver).await?;
        if verdict.lost.is_empty() && killed.elapsed() > LATE_DUPLICATES {
            return Ok(());
        }
        if verdict.delivered != last_count {
            (last_count, last_news) = (verdict.delivered, Instant::now());
        }
        if last_news.elapsed() > quiet.max(LATE_DUPLICATES) {
            eprintln!("nothing has arrived for {} s", last_news.elapsed().as_secs());
            return Ok(());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rows)?;
        for complaint in self.complaints.iter().chain(&self.remarks) {
            writeln!(f, "\nPosthorn: {complaint}")?;
        }
        writeln!(
            f,
            "\nkilled with -9: {}, after {} payments (--seed {})\n",
            self.killed.name(),
            self.killed_after,
            self.seed
        )?;
        writeln!(
            f,
            "{:<18}{:>10}{:>11}{:>6}{:>12}{:>14}  first delivery after the kill",
            "", "created", "delivered", "lost", "duplicates", "out of order"
        )?;
        for (name, tally) in [("old (in memory)", &self.old), ("Posthorn", &self.posthorn)] {
            writeln!(
                f,
                "{name:<18}{:>10}{:>11}{:>6}{:>12}{:>14}  {:>29}",
                tally.created,
                tally.delivered,
                tally.lost,
                tally.duplicates,
                tally.out_of_order,
                tally.first_delivery()
            )?;
        }
        Ok(())
    }
}

impl Tally {
    /// As people read it.
    pub(super) fn first_delivery(&self) -> String {
        in_seconds(self.first_delivery_seconds)
    }

    /// As people read it.
    pub(super) fn longest_wait(&self) -> String {
        in_seconds(self.longest_wait_seconds)
    }
}

fn in_seconds(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "none".to_owned(), |seconds| format!("{seconds:.2} s"))
}

#[cfg(test)]
mod tests {
    use super::lateness;

    #[test]
    fn a_first_delivery_that_is_late_or_never_comes_is_said() {
        assert_eq!(lateness(Some(10.0)), None);
        let late = lateness(Some(67.04)).expect("late");
        assert!(late.contains("67.04 s after the kill"), "{late}");
        assert!(lateness(None).is_some_and(|said| said.contains("nothing")));
    }
}
