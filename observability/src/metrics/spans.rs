//! Spans that were made and never arrive, counted.

use prometheus_client::metrics::counter::Counter;

use super::{Counters, catalogue, register};

/// Spans that were dropped, by why. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct SpansDropped {
    family: Counters<1>,
    queue_full: Counter,
    not_taken: Counter,
}

impl Default for SpansDropped {
    fn default() -> Self {
        let family = Counters::default();
        // Both are there from the beginning: a rate needs what it grows from.
        let counter = |reason| family.get_or_create(&[("reason", reason)]).clone();
        let (queue_full, not_taken) = (counter("queue_full"), counter("not_taken"));
        Self { family, queue_full, not_taken }
    }
}

impl SpansDropped {
    /// Shows it under `/metrics`: once per process.
    pub(crate) fn show(&self) {
        register(&catalogue::SPANS_DROPPED, self.family.clone());
    }

    /// One found no room.
    pub(crate) fn queue_full(&self) {
        self.queue_full.inc();
    }

    /// The endpoint did not take `spans`.
    pub(crate) fn not_taken(&self, spans: u64) {
        self.not_taken.inc_by(spans);
    }

    /// All of them.
    pub(crate) fn total(&self) -> u64 {
        self.queue_full.get() + self.not_taken.get()
    }
}
