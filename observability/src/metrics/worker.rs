//! What the worker counts: attempts, looks, settles, slices, the sweeper.

use std::sync::LazyLock;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::{Buckets, Counters, Histogram, Histograms, catalogue, observe, register};

/// What we promise is within 500 ms; what waits for a merchant may take days.
const WAY: &[f64] = &[
    0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0, 300.0, 3_600.0, 21_600.0, 86_400.0, 259_200.0,
];
/// An attempt has 30 s.
const ATTEMPT: &[f64] =
    &[0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0];
/// A statement; one that a silent connection took is tried once more, after 12 s.
pub(super) const STATEMENT: &[f64] =
    &[0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 10.0];

/// Every class of an outcome.
const CLASSES: [&str; 5] = ["delivered", "unwell", "refused", "gone", "fault"];

/// What a delivery waited for before its first attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitedFor {
    /// Nothing but us: our promise is about these.
    Nothing,
    /// Others of the same endpoint went first.
    Line,
    /// The endpoint was unwell, paused or blocked.
    Endpoint,
}

/// The worker's metrics.
#[derive(Debug)]
pub struct Worker {
    first_attempts: Histograms<1>,
    delivered: Histograms<1>,
    attempts: Counters<2>,
    attempt_durations: Histograms<1>,
    in_flight: Gauge<i64, AtomicI64>,
    slices: Counters<1>,
    looks: Histogram,
    settles: Histograms<1>,
    fences_lost: Counter,
    rounds: Counters<1>,
    found: Counter,
    expired: Counter,
}

/// The metrics of the worker; they are exposed from the first call on.
pub fn worker() -> &'static Worker {
    static WORKER: LazyLock<Worker> = LazyLock::new(Worker::new);
    &WORKER
}

/// Counts an attempt as under way until it is dropped.
#[derive(Debug)]
pub struct UnderWay(&'static Worker);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

impl Worker {
    fn new() -> Self {
        let worker = Self {
            first_attempts: histograms(&catalogue::COMMIT_TO_ATTEMPT, WAY),
            delivered: histograms(&catalogue::COMMIT_TO_DELIVERED, WAY),
            attempts: register(&catalogue::ATTEMPTS, Counters::default()),
            attempt_durations: histograms(&catalogue::ATTEMPT_DURATION, ATTEMPT),
            in_flight: register(&catalogue::ATTEMPTS_IN_FLIGHT, Gauge::default()),
            slices: register(&catalogue::SLICES, Counters::default()),
            looks: register(&catalogue::LOOK_DURATION, Histogram::new(STATEMENT.iter().copied())),
            settles: histograms(&catalogue::SETTLE_DURATION, STATEMENT),
            fences_lost: register(&catalogue::FENCES_LOST, Counter::default()),
            rounds: register(&catalogue::SWEEPER_ROUNDS, Counters::default()),
            found: register(&catalogue::SWEEPER_FOUND, Counter::default()),
            expired: register(&catalogue::EXPIRED, Counter::default()),
        };
        // A series that begins with its first event hides that event from `increase`.
        for waited_for in ["nothing", "line", "endpoint"] {
            drop(worker.first_attempts.get_or_create(&[("waited_for", waited_for)]));
        }
        for attempts in ["one", "more"] {
            drop(worker.delivered.get_or_create(&[("attempts", attempts)]));
        }
        for class in CLASSES {
            drop(worker.attempt_durations.get_or_create(&[("class", class)]));
        }
        for answer in ["settled", "moved", "fence_lost", "failed"] {
            drop(worker.settles.get_or_create(&[("answer", answer)]));
        }
        for end in ["ended", "stuck", "fence_lost"] {
            drop(worker.slices.get_or_create(&[("end", end)]));
        }
        for result in ["swept", "not_mine", "failed"] {
            drop(worker.rounds.get_or_create(&[("result", result)]));
        }
        drop(worker.attempts.get_or_create(&[("class", "delivered"), ("code", "")]));
        worker
    }

    /// An attempt begins; it is under way until the answer is dropped.
    pub fn attempt_begins(&'static self) -> UnderWay {
        self.in_flight.inc();
        UnderWay(self)
    }

    /// A delivery's first attempt began `seconds` after its row was written.
    pub fn first_attempt(&self, waited_for: WaitedFor, seconds: f64, traceparent: Option<&str>) {
        let waited_for = match waited_for {
            WaitedFor::Nothing => "nothing",
            WaitedFor::Line => "line",
            WaitedFor::Endpoint => "endpoint",
        };
        let histogram = self.first_attempts.get_or_create(&[("waited_for", waited_for)]);
        observe(&histogram, seconds, traceparent);
    }

    /// An attempt ended: its class, its code if something went wrong, how long it took.
    pub fn attempt_ended(
        &self,
        class: &'static str,
        code: Option<&'static str>,
        took: Duration,
        traceparent: Option<&str>,
    ) {
        let labels = [("class", class), ("code", code.unwrap_or_default())];
        self.attempts.get_or_create(&labels).inc();
        let histogram = self.attempt_durations.get_or_create(&[("class", class)]);
        observe(&histogram, took.as_secs_f64(), traceparent);
    }

    /// A merchant has a delivery, `seconds` after its row was written.
    pub fn delivered(&self, is_first_attempt: bool, seconds: f64, traceparent: Option<&str>) {
        let attempts = if is_first_attempt { "one" } else { "more" };
        let histogram = self.delivered.get_or_create(&[("attempts", attempts)]);
        observe(&histogram, seconds, traceparent);
    }

    /// A look was taken.
    pub fn looked(&self, took: Duration) {
        self.looks.observe(took.as_secs_f64(), None, None);
    }

    /// A settle was answered: `settled`, `moved`, `fence_lost`, or `failed`.
    pub fn settled(&self, answer: &'static str, took: Duration) {
        let histogram = self.settles.get_or_create(&[("answer", answer)]);
        histogram.observe(took.as_secs_f64(), None, None);
        if answer == "fence_lost" {
            self.fences_lost.inc();
        }
    }

    /// A slice is over: `ended`, `stuck` or `fence_lost`.
    pub fn slice_ended(&self, end: &'static str) {
        self.slices.get_or_create(&[("end", end)]).inc();
    }

    /// A round of the sweeper is over: `swept`, `not_mine` or `failed`.
    pub fn swept(&self, result: &'static str, found: usize) {
        self.rounds.get_or_create(&[("result", result)]).inc();
        self.found.inc_by(found as u64);
    }

    /// Deliveries were given up because they had waited for too long.
    pub fn expired(&self, count: u64) {
        self.expired.inc_by(count);
    }
}

fn histograms<const N: usize>(
    definition: &'static super::Definition,
    buckets: &'static [f64],
) -> Histograms<N> {
    register(definition, Histograms::new_with_constructor(Buckets(buckets)))
}
