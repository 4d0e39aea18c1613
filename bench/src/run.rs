//! One run from set-up to verdict.
//!
//! Load and receiver start, the scenario is played, whatever was acknowledged is waited for, the
//! judge is asked. It ends with an error when anything was lost or out of order; the report is
//! printed in any case.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::Instant;

use crate::breakdown;
use crate::conditions::{Conditions, load_average};
use crate::config::{Config, Scenario};
use crate::event::{Arrival, now_us};
use crate::judge::{Verdict, judge};
use crate::load::{End, Load, Stream};
use crate::receiver::Receiver;
use crate::report::{Created, Delivered, Killed, Latency, Process, Report, millis, per_second};
use crate::setup;
use crate::stack::Stack;
use crate::target::Target;
use crate::usage::Meter;
use crate::way::Way;

/// Between two lines of progress, and between two looks at the processes.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// After everything has arrived: so long a duplicate may still come.
const LATE_DUPLICATES: Duration = Duration::from_secs(3);
/// The same after a kill, when what was in flight comes again.
const LATE_DUPLICATES_AFTER_KILL: Duration = Duration::from_secs(15);
/// Steady load before and after the burst, so that there is something to compare with.
const AROUND_BURST: Duration = Duration::from_secs(5);
/// A burst that has not arrived after this long never will; the judge says what is missing.
const BURST_MAX: Duration = Duration::from_secs(600);

/// When things happened.
#[derive(Debug, Default)]
struct Times {
    begun_us: i64,
    load_ended_us: i64,
    burst_begun_us: Option<i64>,
    killed: Option<(u32, i64)>,
}

/// Runs the benchmark; `print` gets its report.
///
/// # Errors
/// When the stack cannot be reached, or something was lost or out of order.
pub async fn run(config: Config, print: impl FnOnce(&str)) -> anyhow::Result<()> {
    let stack = Stack::new(&config.dir);
    let target = Target::of(&config, &stack);
    if let Some(name) = &config.kill {
        // Said now, not in the middle of the load.
        stack.pid(name)?;
    }
    let receiver = Receiver::start(config.receiver).await?;
    let way = Way::new(config.via, &target)?;
    let run = format!("{:x}", now_us() / 1_000);
    let endpoints = config.endpoints + u32::from(config.scenario == Scenario::Burst);
    eprintln!("run {run}: making {endpoints} merchants with an endpoint each");
    let merchants =
        setup::merchants(&target.api_url, &format!("bench-{run}"), endpoints, |number| {
            Some(receiver.url(number))
        })
        .await?;
    let mut conditions = Conditions::read(&config, &stack, &target).await;
    let load = Arc::new(Load::new(way, merchants, config.refund_percent));

    let is_over = Arc::new(AtomicBool::new(false));
    let watch = tokio::spawn(watch(
        Meter::start(stack.clone()),
        Arc::clone(&load),
        receiver.clone(),
        Arc::clone(&is_over),
    ));
    let times = play(&config, &stack, &load, &receiver).await?;
    drain(&config, &load, &receiver).await;
    is_over.store(true, Ordering::Relaxed);
    let meter = watch.await.context("the watch panicked")?;
    conditions.load_average_after = load_average();

    let mut report = report(&config, conditions, &load, &receiver, &times, &meter);
    if config.breakdown {
        let made = load.made().clone();
        report.breakdown = Some(breakdown::measure(&target, &made).await?);
    }
    if config.json {
        print(&(serde_json::to_string_pretty(&report)? + "\n"));
    } else {
        print(&report.to_string());
    }
    if report.complaints.is_empty() {
        return Ok(());
    }
    bail!("something was lost, out of order or stale; the report names it")
}

/// Plays the scenario, and the kill in the middle of it.
async fn play(
    config: &Config,
    stack: &Stack,
    load: &Arc<Load>,
    receiver: &Receiver,
) -> anyhow::Result<Times> {
    let begin = Instant::now();
    let seconds = Duration::from_secs(config.seconds);
    let mut times = Times { begun_us: now_us(), ..Times::default() };
    let is_burst_over = Arc::new(AtomicBool::new(false));
    let stream = Stream {
        first_endpoint: 0,
        endpoints: config.endpoints,
        rate: (config.scenario != Scenario::FlatOut).then_some(config.rate),
        callers: config.concurrency,
        end: match config.scenario {
            Scenario::Burst => End::When(Arc::clone(&is_burst_over)),
            Scenario::Steady | Scenario::FlatOut => End::At(begin + seconds),
        },
    };
    let steady = async {
        let ended = load.run(stream).await;
        (ended, now_us())
    };
    let burst = async {
        if config.scenario != Scenario::Burst {
            return Ok(None);
        }
        tokio::time::sleep(AROUND_BURST).await;
        let begun_us = now_us();
        let ended = play_burst(config, load, receiver).await;
        tokio::time::sleep_until(begin + seconds).await;
        // Also when it failed: the steady load must end.
        is_burst_over.store(true, Ordering::Relaxed);
        ended.map(|()| Some(begun_us))
    };
    let killing = async {
        let Some(name) = &config.kill else { return Ok(None) };
        tokio::time::sleep_until(begin + seconds / 2).await;
        let killed_us = now_us();
        let pid = stack.kill(name)?;
        eprintln!("killed {name} (pid {pid})");
        anyhow::Ok(Some((pid, killed_us)))
    };
    let ((ended, load_ended_us), burst_begun_us, killed) = tokio::join!(steady, burst, killing);
    ended?;
    times.load_ended_us = load_ended_us;
    times.burst_begun_us = burst_begun_us?;
    times.killed = killed?;
    Ok(times)
}

/// Makes the burst, and waits until it has arrived.
async fn play_burst(config: &Config, load: &Arc<Load>, receiver: &Receiver) -> anyhow::Result<()> {
    let begun = Instant::now();
    let endpoint = config.endpoints;
    load.burst(endpoint, config.burst, config.concurrency).await?;
    eprintln!("burst of {} made in {:.1} s", config.burst, begun.elapsed().as_secs_f64());
    // A duplicate may end this a little early; the judge counts, not this.
    let (mut seen, mut arrived) = (0, 0);
    while arrived < config.burst && begun.elapsed() < BURST_MAX {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let received = receiver.received();
        let fresh = &received.arrivals[seen..];
        seen += fresh.len();
        arrived += u32::try_from(fresh.iter().filter(|a| a.event.endpoint == endpoint).count())?;
    }
    eprintln!("burst arrived after {:.1} s", begun.elapsed().as_secs_f64());
    tokio::time::sleep(AROUND_BURST).await;
    Ok(())
}

/// Waits until everything has arrived, or nothing has for a while.
async fn drain(config: &Config, load: &Load, receiver: &Receiver) {
    let quiet = Duration::from_secs(config.quiet_seconds);
    let ended = std::time::Instant::now();
    let expected = load.made().len();
    loop {
        let (distinct, last) = {
            let received = receiver.received();
            (received.distinct(), received.last)
        };
        // What was given up may have arrived instead of something else: ask the judge.
        if distinct >= expected
            && judge(&load.made(), &receiver.received().arrivals).lost.is_empty()
        {
            break;
        }
        if last.max(ended).elapsed() > quiet {
            eprintln!("nothing has arrived for {} s", quiet.as_secs());
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let late = if config.kill.is_some() { LATE_DUPLICATES_AFTER_KILL } else { LATE_DUPLICATES };
    tokio::time::sleep(late).await;
}

/// A line of progress and a look at the processes now and then.
async fn watch(
    mut meter: Meter,
    load: Arc<Load>,
    receiver: Receiver,
    is_over: Arc<AtomicBool>,
) -> Meter {
    let begun = Instant::now();
    let mut next = begun + PROGRESS_INTERVAL;
    let mut seen = 0;
    while !is_over.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if Instant::now() < next {
            continue;
        }
        next += PROGRESS_INTERVAL;
        meter.look();
        let created = load.made().len();
        let received = receiver.received();
        let fresh: Vec<&Arrival> = received.arrivals[seen..].iter().collect();
        let p99 = Latency::of("", &fresh).map_or("-".to_owned(), |l| format!("{:.0} ms", l.p99_ms));
        eprintln!(
            "{:>4} s  created {created}  arrived {}  to come {}  p99 of the last {}: {p99}",
            begun.elapsed().as_secs(),
            received.arrivals.len(),
            created.saturating_sub(received.distinct()),
            fresh.len(),
        );
        seen = received.arrivals.len();
    }
    meter.look();
    meter
}

fn report(
    config: &Config,
    conditions: Conditions,
    load: &Load,
    receiver: &Receiver,
    times: &Times,
    meter: &Meter,
) -> Report {
    let (verdict, odd) = {
        let received = receiver.received();
        (judge(&load.made(), &received.arrivals), received.odd)
    };
    let events = load.made().len();
    let last_us = verdict.first_arrivals.iter().map(|a| a.arrived_us).max().unwrap_or(0);
    let delivered = usize::try_from(verdict.delivered).unwrap_or(usize::MAX);
    Report {
        conditions,
        created: Created {
            events,
            events_per_second: per_second(events, times.load_ended_us - times.begun_us),
            repeated: load.repeated.load(Ordering::Relaxed),
            first_refusal: load.first_refusal.get().cloned(),
            given_up: load.given_up.load(Ordering::Relaxed),
            lag_ms_max: millis(load.lag_us_max.load(Ordering::Relaxed)),
        },
        latency: latencies(config, &verdict, times),
        breakdown: None,
        killed: config.kill.clone().zip(times.killed).map(|(name, (pid, at_us))| {
            let after = verdict.first_arrivals.iter().filter(|a| a.happened_us > at_us);
            let first_us = after.map(|a| a.arrived_us).min();
            Killed {
                name,
                pid,
                first_delivery_seconds: first_us.map(|us| millis(us - at_us) / 1_000.0),
            }
        }),
        processes: processes(meter, verdict.delivered),
        complaints: verdict.complaints(),
        delivered: Delivered {
            events: verdict.delivered,
            lost: verdict.lost.len(),
            duplicates: verdict.duplicates,
            out_of_order_within_payment: verdict.behind_in_payment.len(),
            out_of_order_at_endpoint: verdict.behind_in_endpoint.len(),
            stale: verdict.stale.len(),
            unacknowledged: verdict.unacknowledged,
            odd,
            events_per_second: per_second(delivered, last_us - times.begun_us),
            drain_seconds: (millis(last_us - times.load_ended_us) / 1_000.0).max(0.0),
        },
    }
}

fn latencies(config: &Config, verdict: &Verdict, times: &Times) -> Vec<Latency> {
    let all: Vec<&Arrival> = verdict.first_arrivals.iter().collect();
    let Some(begun_us) = times.burst_begun_us else {
        return Latency::of("all", &all).into_iter().collect();
    };
    let (burst, others): (Vec<&Arrival>, Vec<&Arrival>) =
        all.into_iter().partition(|arrival| arrival.event.endpoint == config.endpoints);
    let ended_us = burst.iter().map(|arrival| arrival.arrived_us).max().unwrap_or(begun_us);
    let (during, around): (Vec<&Arrival>, Vec<&Arrival>) =
        others.into_iter().partition(|a| (begun_us..=ended_us).contains(&a.happened_us));
    [
        Latency::of("the burst's endpoint", &burst),
        Latency::of("the others, while the burst was on its way", &during),
        Latency::of("the others, before and after", &around),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[allow(clippy::cast_precision_loss)] // Deliveries and KiB of a run are exact in an f64.
fn processes(meter: &Meter, delivered: u64) -> Vec<Process> {
    let usages = meter.usages().iter();
    usages
        .map(|(name, usage)| Process {
            name: name.clone(),
            cpu_seconds: usage.cpu_seconds(),
            cpu_seconds_per_1000_deliveries: usage.cpu_seconds() * 1_000.0
                / delivered.max(1) as f64,
            memory_mb_max: usage.memory_kib_max as f64 / 1_024.0,
        })
        .collect()
}
