//! Spans that were made and never arrive: what waits is bounded, what is lost is counted, and it is
//! said once when it begins and once when it is over.
//!
//! `Bounded` stands before the queue and knows what is in it; whoever sends says what it took out
//! and what became of it. Nothing is written where spans end: that is in the middle of a delivery.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

use crate::metrics::SpansDropped;

/// Without a loss for so long it is over. An endpoint that is a little too slow loses something
/// every few seconds, and that is one story.
const OVER_AFTER: Duration = Duration::from_secs(30);

/// Spans in the queue. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    /// Room for one more, if fewer than `max` wait.
    fn enter(&self, max: usize) -> bool {
        let more = |waiting: usize| (waiting < max).then_some(waiting + 1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    /// So many were taken out.
    pub(crate) fn leave(&self, spans: usize) {
        self.0.fetch_sub(spans, Ordering::AcqRel);
    }
}

/// Hands spans on to the queue `next` as long as there is room in it: its own way of dropping what
/// does not fit tells nobody.
#[derive(Debug)]
pub(crate) struct Bounded<P> {
    next: P,
    max: usize,
    waiting: Waiting,
    dropped: SpansDropped,
}

impl<P> Bounded<P> {
    pub(crate) fn new(next: P, max: usize, waiting: Waiting, dropped: SpansDropped) -> Self {
        Self { next, max, waiting, dropped }
    }
}

impl<P: SpanProcessor> SpanProcessor for Bounded<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.next.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.waiting.enter(self.max) {
            self.next.on_end(span);
        } else {
            self.dropped.queue_full();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

/// What is to be said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Spans are being lost.
    Begun,
    /// They are not any more; so many were.
    Over(u64),
}

/// Are spans being lost?
#[derive(Debug, Default)]
pub(crate) struct Losing {
    // All that were lost ever, when it was last looked.
    seen: u64,
    // The last loss, and how many there were when it all began.
    story: Option<(Instant, u64)>,
}

impl Losing {
    /// A batch was sent, or given up, at `now`; `total` spans were lost so far.
    pub(crate) fn look(&mut self, total: u64, now: Instant) -> Option<News> {
        let before = std::mem::replace(&mut self.seen, total);
        if total > before {
            let began = self.story.map_or(before, |(_, began)| began);
            return self.story.replace((now, began)).is_none().then_some(News::Begun);
        }
        let (last, began) = self.story?;
        (now.saturating_duration_since(last) >= OVER_AFTER).then(|| {
            self.story = None;
            News::Over(total - began)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_every_ten_seconds_is_said_once_and_its_end_when_there_was_none_for_long() {
        let (mut losing, began) = (Losing::default(), Instant::now());
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        assert_eq!(losing.look(0, at(0)), None);
        assert_eq!(losing.look(5, at(1)), Some(News::Begun));
        for seconds in (10..60).step_by(10) {
            assert_eq!(losing.look(seconds, at(seconds)), None);
            assert_eq!(losing.look(seconds, at(seconds + 5)), None, "a batch got through");
        }
        assert_eq!(losing.look(50, at(79)), None);
        assert_eq!(losing.look(50, at(80)), Some(News::Over(50)));
        assert_eq!(losing.look(50, at(200)), None);
        assert_eq!(losing.look(57, at(201)), Some(News::Begun));
        assert_eq!(losing.look(57, at(231)), Some(News::Over(7)));
    }
}
