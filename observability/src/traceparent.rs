//! W3C trace context as text: how a trace crosses the database and the topic.
//!
//! Kafka headers do not reach a Restate handler, so the context is a column and a field of the
//! record. A text that is malformed counts as none: telemetry refuses nothing.

use std::collections::HashMap;

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const HEADER: &str = "traceparent";

struct Carrier(HashMap<String, String>);

impl Injector for Carrier {
    fn set(&mut self, key: &str, value: String) {
        self.0.insert(key.to_owned(), value);
    }
}

impl Extractor for Carrier {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

/// The `traceparent` of `span`, when it is part of a trace.
pub fn of(span: &Span) -> Option<String> {
    let context = span.context();
    if !context.span().span_context().is_valid() {
        return None;
    }
    let mut carrier = Carrier(HashMap::new());
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.0.remove(HEADER)
}

/// The id of the trace that `span` is part of, as 32 hexadecimal digits, if it is sampled: nobody
/// could look up another.
pub fn trace_id(span: &Span) -> Option<String> {
    let context = span.context();
    let context = context.span().span_context().clone();
    context.is_sampled().then(|| context.trace_id().to_string())
}

/// The trace id in a `traceparent`, of a trace that was sampled: nobody could look up another.
pub fn kept_trace_id(traceparent: &str) -> Option<&str> {
    let mut parts = traceparent.split('-').skip(1);
    let id = parts.next().filter(|id| id.len() == 32)?;
    let flags = u8::from_str_radix(parts.nth(1)?, 16).ok()?;
    (flags & 1 == 1).then_some(id)
}

/// Links `span` to the context in `traceparent`, which is no parent of it; a malformed one changes
/// nothing.
pub fn link(span: &Span, traceparent: &str) {
    span.add_link(context_in(traceparent).span().span_context().clone());
}

/// Makes `span` a child of the context in `traceparent`; a malformed one changes nothing.
pub fn set_parent(span: &Span, traceparent: &str) {
    let context = context_in(traceparent);
    if context.span().span_context().is_valid() {
        // Fails only when no OpenTelemetry layer is installed: then there is no trace to join.
        let _ = span.set_parent(context);
    }
}

fn context_in(traceparent: &str) -> opentelemetry::Context {
    let carrier = Carrier(HashMap::from([(HEADER.to_owned(), traceparent.to_owned())]));
    // Whatever is current here has no part in it.
    TraceContextPropagator::new().extract_with_context(&opentelemetry::Context::new(), &carrier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_that_is_kept_can_be_looked_up_and_no_other() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(kept_trace_id(&format!("00-{id}-00f067aa0ba902b7-01")), Some(id));
        assert_eq!(kept_trace_id(&format!("00-{id}-00f067aa0ba902b7-00")), None);
        for malformed in ["", "00", "00-abc-00f067aa0ba902b7-01", "00-x"] {
            assert_eq!(kept_trace_id(malformed), None, "{malformed}");
        }
    }
}
