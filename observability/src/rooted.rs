//! A span is handed on when its local root has ended, and then with everything below it.
//!
//! Children end before their parents. Exported as they end, what a killed process leaves behind
//! would be children of spans that nobody ever sees; so they wait for the root, which ends within
//! seconds: a request, an attempt. So what one process has exported is connected; what others made of
//! a row whose writer was killed before its own spans were sent stays below a parent that nobody sees
//! (ADR 7). What waits is bounded by what is at work, and by a number for each span.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry::trace::{Span as _, SpanId};
use opentelemetry::{Context, trace::SpanContext};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

/// Spans that wait for one, at most; more are handed on without it.
const WAITING_MAX: usize = 256;

/// Hands spans on to `next`, each with what is below it.
#[derive(Debug)]
pub(crate) struct Rooted<P> {
    next: P,
    // Sampled spans that have begun and not ended → what has ended below them.
    open: Mutex<HashMap<SpanId, Vec<SpanData>>>,
}

impl<P> Rooted<P> {
    pub(crate) fn new(next: P) -> Self {
        Self { next, open: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<SpanId, Vec<SpanData>>> {
        // A panic between two steps left a span that waits for ever, at worst.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, context: &SpanContext) {
        if context.is_sampled() {
            self.open().insert(context.span_id(), Vec::new());
        }
    }

    /// What may go now that `span` has ended: nothing, while its parent is open.
    fn end(&self, span: SpanData) -> Vec<SpanData> {
        let mut open = self.open();
        let below = open.remove(&span.span_context.span_id()).unwrap_or_default();
        let mut ended = Vec::with_capacity(1 + below.len());
        // The parent first.
        ended.push(span);
        ended.extend(below);
        match open.get_mut(&ended[0].parent_span_id) {
            Some(waiting) if waiting.len() + ended.len() <= WAITING_MAX => {
                waiting.append(&mut ended);
                Vec::new()
            }
            _ => ended,
        }
    }
}

impl<P: SpanProcessor> SpanProcessor for Rooted<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.begin(span.span_context());
        self.next.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        for span in self.end(span) {
            self.next.on_end(span);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use opentelemetry::trace::{TraceContextExt as _, Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};

    use super::*;

    /// The names of the spans that were handed on, in that order.
    #[derive(Debug, Clone, Default)]
    struct Heard(Arc<Mutex<Vec<String>>>);

    impl SpanProcessor for Heard {
        fn on_start(&self, _: &mut Span, _: &Context) {}

        fn on_end(&self, span: SpanData) {
            self.0.lock().expect("a list").push(span.name.to_string());
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    fn tracing_to(heard: &Heard, sampler: Sampler) -> SdkTracerProvider {
        SdkTracerProvider::builder()
            .with_span_processor(Rooted::new(heard.clone()))
            .with_sampler(sampler)
            .build()
    }

    #[test]
    fn nothing_goes_before_its_root_and_then_the_root_goes_first() {
        let heard = Heard::default();
        let provider = tracing_to(&heard, Sampler::AlwaysOn);
        let tracer = provider.tracer("test");
        let names = || heard.0.lock().expect("a list").clone();
        let root = Context::new().with_span(tracer.start_with_context("root", &Context::new()));
        let middle = Context::new().with_span(tracer.start_with_context("middle", &root));
        tracer.start_with_context("leaf", &middle).end();
        middle.span().end();
        assert!(names().is_empty(), "a kill now would leave nothing that is not connected");
        root.span().end();
        assert_eq!(names(), ["root", "middle", "leaf"]);
        // A span whose parent is another process's waits for nobody.
        tracer.start_with_context("late", &root).end();
        assert_eq!(names().last().map(String::as_str), Some("late"));
    }

    #[test]
    fn what_waits_is_bounded_and_what_is_not_sampled_takes_no_room() {
        let heard = Heard::default();
        let provider = tracing_to(&heard, Sampler::AlwaysOn);
        let tracer = provider.tracer("test");
        let root = Context::new().with_span(tracer.start_with_context("root", &Context::new()));
        for _ in 0..WAITING_MAX + 10 {
            tracer.start_with_context("leaf", &root).end();
        }
        assert_eq!(heard.0.lock().expect("a list").len(), 10);

        let rooted = Rooted::new(Heard::default());
        rooted.begin(&SpanContext::empty_context());
        assert!(rooted.open().is_empty());
    }
}
