//! What the relay counts: rows that were captured, announcements, sessions.

use std::sync::LazyLock;
use std::sync::atomic::AtomicI64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::{Histogram, catalogue, observe, register};

/// Some milliseconds when all is well; an outage of Kafka's is hours.
const WAY: &[f64] = &[
    0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3_600.0, 86_400.0,
];

/// The relay's metrics.
#[derive(Debug)]
pub struct Relay {
    captured: Counter,
    announced: Counter,
    wakes: Counter,
    stood_for: Counter,
    parked: Counter,
    way: Histogram,
    in_flight: Gauge<i64, AtomicI64>,
    sessions: Counter,
}

/// The metrics of the relay; they are exposed from the first call on.
pub fn relay() -> &'static Relay {
    static RELAY: LazyLock<Relay> = LazyLock::new(|| Relay {
        captured: register(&catalogue::RELAY_CAPTURED, Counter::default()),
        announced: register(&catalogue::RELAY_ANNOUNCED, Counter::default()),
        wakes: register(&catalogue::RELAY_WAKES, Counter::default()),
        stood_for: register(&catalogue::RELAY_STOOD_FOR, Counter::default()),
        parked: register(&catalogue::RELAY_PARKED, Counter::default()),
        way: register(&catalogue::RELAY_ANNOUNCE, Histogram::new(WAY.iter().copied())),
        in_flight: register(&catalogue::RELAY_IN_FLIGHT, Gauge::default()),
        sessions: register(&catalogue::RELAY_SESSIONS, Counter::default()),
    });
    &RELAY
}

impl Relay {
    /// A session begins to stream; nothing of the one before is in flight any more.
    pub fn session_begins(&self) {
        self.sessions.inc();
    }

    /// A row was read from the WAL.
    pub fn captured(&self) {
        self.captured.inc();
    }

    /// A row could not be understood.
    pub fn parked(&self) {
        self.parked.inc();
    }

    /// A record went to `webhook-wakes`.
    pub fn wake_sent(&self) {
        self.wakes.inc();
    }

    /// So many deliveries needed no wake: one before stands for them.
    pub fn stood_for(&self, count: usize) {
        self.stood_for.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// So many deliveries wait for Kafka's acknowledgements now.
    pub fn in_flight(&self, count: usize) {
        self.in_flight.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Kafka has a delivery on both topics; `seconds` since its commit, if that is remembered.
    pub fn announced(&self, seconds: Option<f64>) {
        self.announced.inc();
        if let Some(seconds) = seconds {
            observe(&self.way, seconds, None);
        }
    }
}
