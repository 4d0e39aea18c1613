//! What a run came to, as Markdown for people and as JSON for programs.
//!
//! Figures go in and text comes out: nothing is measured or judged here.

use std::fmt::{self, Display};

use serde::Serialize;

use crate::breakdown::Breakdown;
use crate::conditions::Conditions;
use crate::event::Arrival;

/// A run's figures.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub conditions: Conditions,
    pub created: Created,
    pub delivered: Delivered,
    pub latency: Vec<Latency>,
    pub breakdown: Option<Breakdown>,
    pub killed: Option<Killed>,
    pub processes: Vec<Process>,
    /// Empty when all is well.
    pub complaints: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Created {
    /// Events whose transaction was acknowledged.
    pub events: usize,
    pub events_per_second: f64,
    /// Calls that were asked more than once.
    pub repeated: u64,
    /// What the first of them was answered.
    pub first_refusal: Option<String>,
    /// Calls that were never acknowledged.
    pub given_up: u64,
    /// How far the load fell behind its own pace at worst.
    pub lag_ms_max: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Delivered {
    pub events: u64,
    pub lost: usize,
    pub duplicates: u64,
    pub out_of_order_within_payment: usize,
    pub out_of_order_at_endpoint: usize,
    pub stale: usize,
    /// Of calls that were given up.
    pub unacknowledged: u64,
    /// Requests that were no webhook of this run.
    pub odd: u64,
    /// From the first call to the last first arrival.
    pub events_per_second: f64,
    /// From the end of the load to the last first arrival.
    pub drain_seconds: f64,
}

/// From the event's timestamp to its first arrival.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    pub of: String,
    pub events: usize,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    /// First arrivals in a second, from the first of this group to its last.
    pub events_per_second: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Killed {
    pub name: String,
    pub pid: u32,
    /// From the kill to the first arrival of an event that happened after it.
    pub first_delivery_seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Process {
    pub name: String,
    pub cpu_seconds: f64,
    pub cpu_seconds_per_1000_deliveries: f64,
    pub memory_mb_max: f64,
}

impl Latency {
    /// The latencies of some first arrivals; none when there are none.
    pub(crate) fn of(name: impl Into<String>, arrivals: &[&Arrival]) -> Option<Self> {
        let mut latencies: Vec<i64> =
            arrivals.iter().map(|arrival| arrival.arrived_us - arrival.happened_us).collect();
        latencies.sort_unstable();
        let last = latencies.len().checked_sub(1)?;
        let percentile = |p: usize| millis(nearest_rank(&latencies, p));
        let times = || arrivals.iter().map(|arrival| arrival.arrived_us);
        let span_us = times().max()? - times().min()?;
        Some(Self {
            of: name.into(),
            events: latencies.len(),
            p50_ms: percentile(50),
            p90_ms: percentile(90),
            p99_ms: percentile(99),
            max_ms: millis(latencies[last]),
            events_per_second: per_second(latencies.len(), span_us),
        })
    }
}

/// The smallest value of `sorted` that `percent` of them do not exceed. There must be one.
pub(crate) fn nearest_rank(sorted: &[i64], percent: usize) -> i64 {
    sorted[(sorted.len() * percent).div_ceil(100) - 1]
}

#[allow(clippy::cast_precision_loss)] // Microseconds of a run are exact in an f64.
pub(crate) fn millis(us: i64) -> f64 {
    us as f64 / 1_000.0
}

#[allow(clippy::cast_precision_loss)] // As above.
pub(crate) fn per_second(count: usize, span_us: i64) -> f64 {
    if span_us <= 0 { 0.0 } else { count as f64 * 1_000_000.0 / span_us as f64 }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.conditions.fmt(f)?;
        let (created, delivered) = (&self.created, &self.delivered);
        writeln!(
            f,
            "\n| created | delivered | lost | duplicates | out of order (payment) | out of order (endpoint) | stale |"
        )?;
        writeln!(f, "|--:|--:|--:|--:|--:|--:|--:|")?;
        writeln!(
            f,
            "| {} | {} | {} | {} | {} | {} | {} |",
            created.events,
            delivered.events,
            delivered.lost,
            delivered.duplicates,
            delivered.out_of_order_within_payment,
            delivered.out_of_order_at_endpoint,
            delivered.stale,
        )?;
        writeln!(f, "\n| latency of | events | p50 ms | p90 ms | p99 ms | max ms | arrived /s |")?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|--:|")?;
        for line in &self.latency {
            writeln!(
                f,
                "| {} | {} | {:.1} | {:.1} | {:.1} | {:.1} | {:.0} |",
                line.of,
                line.events,
                line.p50_ms,
                line.p90_ms,
                line.p99_ms,
                line.max_ms,
                line.events_per_second,
            )?;
        }
        writeln!(
            f,
            "\nLatency is the arrival at the receiver less the event's own timestamp, which is taken inside the transaction: it includes the commit."
        )?;
        writeln!(
            f,
            "\nCreated {:.1}/s, delivered {:.1}/s over the whole run; drained {:.1} s after the load. \
             The load fell behind its pace by {:.0} ms at worst; {} calls were repeated, {} given up \
             ({} of their events arrived); {} requests were no webhook of this run.",
            created.events_per_second,
            delivered.events_per_second,
            delivered.drain_seconds,
            created.lag_ms_max,
            created.repeated,
            created.given_up,
            delivered.unacknowledged,
            delivered.odd,
        )?;
        if let Some(refusal) = &created.first_refusal {
            writeln!(f, "\nThe first call that was repeated had been answered: {refusal}")?;
        }
        if let Some(breakdown) = &self.breakdown {
            breakdown.fmt(f)?;
        }
        if let Some(killed) = &self.killed {
            killed.fmt(f)?;
        }
        table_of_processes(&self.processes, f)?;
        for complaint in &self.complaints {
            writeln!(f, "\n**{complaint}**")?;
        }
        Ok(())
    }
}

impl Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.rate.map_or("flat out".to_owned(), |rate| format!("{rate}/s"));
        let burst = self.burst.map_or(String::new(), |count| format!(", a burst of {count}"));
        let kill = self.kill.as_ref().map_or(String::new(), |name| format!(", {name} killed"));
        let versions: Vec<String> =
            self.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        writeln!(f, "| condition | |\n|---|---|")?;
        writeln!(
            f,
            "| scenario | {}: {rate} by {} for {} s over {} endpoints{burst}{kill} |",
            self.scenario, self.via, self.seconds, self.endpoints
        )?;
        writeln!(f, "| callers, refunds | {}, {} % |", self.callers, self.refund_percent)?;
        writeln!(f, "| revision | {}, bench built for {} |", self.git_revision, self.build)?;
        writeln!(f, "| machine | {} cores, {} |", self.cores, self.cpu)?;
        writeln!(
            f,
            "| load average | {} before, {} after |",
            self.load_average_before, self.load_average_after
        )?;
        writeln!(f, "| versions | {} |", versions.join(", "))
    }
}

impl Display for Killed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, pid, first_delivery_seconds } = self;
        match first_delivery_seconds {
            Some(seconds) => writeln!(
                f,
                "\nKilled {name} (pid {pid}) with -9; the first event that happened afterwards arrived {seconds:.2} s after the kill."
            ),
            None => writeln!(f, "\nKilled {name} (pid {pid}) with -9; nothing arrived afterwards."),
        }
    }
}

fn table_of_processes(processes: &[Process], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "\n| process | CPU s | CPU s per 1,000 deliveries | memory MB, highest |")?;
    writeln!(f, "|---|--:|--:|--:|")?;
    for process in processes {
        writeln!(
            f,
            "| {} | {:.2} | {:.3} | {:.0} |",
            process.name,
            process.cpu_seconds,
            process.cpu_seconds_per_1000_deliveries,
            process.memory_mb_max,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, Kind};

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let arrivals: Vec<Arrival> = (1..=200)
            .map(|number| Arrival {
                event: Event {
                    endpoint: 0,
                    payment: uuid::Uuid::from_u128(1).into(),
                    kind: Kind::Succeeded,
                },
                webhook: 0,
                happened_us: 0,
                arrived_us: number * 1_000,
                is_refunded: false,
            })
            .collect();
        let arrivals: Vec<&Arrival> = arrivals.iter().collect();
        let latency = Latency::of("all", &arrivals).expect("there are some");
        let figures = [latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.max_ms];
        assert_eq!(figures, [100.0, 180.0, 198.0, 200.0]);
        assert!((latency.events_per_second - 200.0 / 0.199).abs() < 0.01);
        assert!(Latency::of("none", &[]).is_none());
        let one = Latency::of("one", &arrivals[..1]).expect("there is one");
        assert!((one.p50_ms - 1.0).abs() < f64::EPSILON && one.p99_ms <= one.max_ms);
    }
}
