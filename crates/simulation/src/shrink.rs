//! Making a failing scenario small: leave parts of it out, keep what still fails the same way.
//!
//! A scenario and the sentence that is not true in it come in; the smallest scenario that was found
//! goes out, with the last lines of its run. It is bounded: a failure is worth some seconds.

use std::fmt;

use crate::Mutation;
use crate::clock::{HOUR, Micros};
use crate::scenario::Scenario;
use crate::violation::Violation;
use crate::world::World;

/// Runs that shrinking may take.
const RUNS_MAX: u32 = 600;
/// Lines of the trace that are kept.
const TRACE_LINES: usize = 60;

/// A run in which a sentence is not true.
#[derive(Debug)]
pub struct Failure {
    /// The seed of the simulation.
    pub seed: u64,
    /// Which of its endpoints.
    pub endpoint: u64,
    /// Over how many days.
    pub days: u32,
    /// What is not true, in the scenario as it was.
    pub violation: Violation,
    /// The smallest scenario that was found; the whole one when nobody asked for less.
    pub scenario: String,
    /// How much was in it at first: payments, mishaps, orders, behaviours and days.
    pub size_before: usize,
    /// How much is left.
    pub size: usize,
    /// The last lines of the smallest run.
    pub trace: Vec<String>,
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, endpoint, days, violation, scenario, size_before, size, trace } = self;
        writeln!(f, "{violation}")?;
        writeln!(
            f,
            "again: posthorn simulate --seed {seed} --first {endpoint} --endpoints 1 --days {days}"
        )?;
        writeln!(f, "the smallest scenario found ({size} of {size_before} parts):\n{scenario}")?;
        writeln!(f, "its last steps (µs):\n{}", trace.join("\n"))
    }
}

impl Failure {
    pub(crate) fn of(scenario: Scenario, days: u32, bug: Option<Mutation>, shrinks: bool) -> Self {
        let verdict = World::new(&scenario, bug, false).run().0;
        let violation = verdict.err().unwrap_or(Violation {
            check: "a run is the same every time",
            at: 0,
            what: "this one failed, and now it does not".to_owned(),
        });
        let (seed, endpoint, size_before) = (scenario.seed, scenario.endpoint, scenario.size());
        let mut shrinking = Shrinking { bug, check: violation.check, runs: 0 };
        let smallest = if shrinks {
            let scenario = shrinking.forget_after(scenario, violation.at);
            shrinking.smallest(scenario)
        } else {
            scenario
        };
        let (_, mut trace) = World::new(&smallest, bug, true).run();
        trace.drain(..trace.len().saturating_sub(TRACE_LINES));
        let size = smallest.size();
        let scenario = format!("{smallest:?}");
        Self { seed, endpoint, days, violation, scenario, size_before, size, trace }
    }
}

struct Shrinking {
    bug: Option<Mutation>,
    check: &'static str,
    runs: u32,
}

impl Shrinking {
    /// Does this scenario fail in the same way?
    fn fails(&mut self, scenario: &Scenario) -> bool {
        if self.runs >= RUNS_MAX {
            return false;
        }
        self.runs += 1;
        let verdict = World::new(scenario, self.bug, false).run().0;
        verdict.is_err_and(|violation| violation.check == self.check)
    }

    fn smallest(mut self, mut scenario: Scenario) -> Scenario {
        loop {
            let before = scenario.size();
            self.shrink(&mut scenario, |s| &mut s.mishaps);
            self.shrink(&mut scenario, |s| &mut s.orders);
            self.shrink(&mut scenario, |s| &mut s.merchant.segments);
            self.shrink(&mut scenario, |s| &mut s.payments);
            self.cut_short(&mut scenario);
            if scenario.size() >= before || self.runs >= RUNS_MAX {
                return scenario;
            }
        }
    }

    /// What comes later had no part in it.
    fn forget_after(&mut self, scenario: Scenario, at: Micros) -> Scenario {
        let mut candidate = scenario.clone();
        candidate.payments.retain(|payment| payment.begins_at <= at);
        candidate.mishaps.retain(|mishap| mishap.at <= at);
        candidate.orders.retain(|order| order.at <= at);
        candidate.merchant.segments.retain(|(from, _)| *from <= at);
        candidate.quiet_from = candidate.quiet_from.min(at);
        if self.fails(&candidate) { candidate } else { scenario }
    }

    /// Leaves out halves, quarters, … of a list, as long as it still fails.
    fn shrink<T: Clone>(
        &mut self,
        scenario: &mut Scenario,
        list: impl Fn(&mut Scenario) -> &mut Vec<T>,
    ) {
        let mut chunk = list(scenario).len();
        while chunk > 0 {
            let mut from = 0;
            while from < list(scenario).len() {
                let mut candidate = scenario.clone();
                let parts = list(&mut candidate);
                parts.drain(from..(from + chunk).min(parts.len()));
                if self.fails(&candidate) {
                    *scenario = candidate;
                } else {
                    from += chunk;
                }
            }
            chunk /= 2;
        }
    }

    /// Ends it soon after the last thing that happens.
    fn cut_short(&mut self, scenario: &mut Scenario) {
        let last = [
            scenario.payments.iter().map(|payment| payment.commits_at).max(),
            scenario.mishaps.iter().map(|mishap| mishap.at).max(),
            scenario.orders.iter().map(|order| order.at).max(),
            scenario.merchant.segments.iter().map(|(from, _)| *from).max(),
        ];
        let quiet_from = last.into_iter().flatten().fold(0, Micros::max) + HOUR;
        if quiet_from < scenario.quiet_from {
            let candidate = Scenario { quiet_from, ..scenario.clone() };
            if self.fails(&candidate) {
                *scenario = candidate;
            }
        }
    }
}
