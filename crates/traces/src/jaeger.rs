//! The JSON of Jaeger's query paths, as its user interface reads it.
//!
//! Kind, status and scope become tags under the names that Jaeger gives them, so that who asks
//! cannot tell which of the two has answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::{Value, json};

use crate::shelf::{KeptSpan, Process};

/// One trace.
pub(crate) fn trace(spans: &[KeptSpan]) -> Value {
    let mut processes: Vec<&Arc<Process>> = Vec::new();
    let mut trace_id = String::new();
    let spans: Vec<Value> = spans
        .iter()
        .map(|kept| {
            let known = processes.iter().position(|known| Arc::ptr_eq(known, &kept.process));
            let process = known.unwrap_or_else(|| {
                processes.push(&kept.process);
                processes.len() - 1
            });
            let span = kept.span();
            trace_id = hex(&span.trace_id);
            span_json(span, &kept.scope, process + 1)
        })
        .collect();
    let processes: BTreeMap<String, Value> = processes
        .iter()
        .enumerate()
        .map(|(place, process)| (format!("p{}", place + 1), process_json(process)))
        .collect();
    json!({ "traceID": trace_id, "spans": spans, "processes": processes, "warnings": null })
}

/// The service that a process belongs to.
pub(crate) fn service(process: &Process) -> &str {
    let attributes = &process.resource.attributes;
    let name = attributes.iter().find(|attribute| attribute.key == "service.name");
    match name.and_then(|name| name.value.as_ref()).and_then(|value| value.value.as_ref()) {
        Some(Any::StringValue(name)) => name,
        _ => "unknown_service",
    }
}

/// Everything that a span can be found by: its attributes, and what Jaeger makes tags of.
pub(crate) fn tags(span: &Span, scope: &str) -> Vec<(String, Value)> {
    let mut tags: Vec<(String, Value)> = span.attributes.iter().map(tag).collect();
    let kind = match span.kind() {
        SpanKind::Server => Some("server"),
        SpanKind::Client => Some("client"),
        SpanKind::Producer => Some("producer"),
        SpanKind::Consumer => Some("consumer"),
        SpanKind::Internal => Some("internal"),
        SpanKind::Unspecified => None,
    };
    tags.extend(kind.map(|kind| ("span.kind".to_owned(), kind.into())));
    if !scope.is_empty() {
        tags.push(("otel.scope.name".to_owned(), scope.into()));
    }
    if let Some(status) = &span.status {
        match status.code() {
            StatusCode::Ok => tags.push(("otel.status_code".to_owned(), "OK".into())),
            StatusCode::Error => {
                tags.push(("otel.status_code".to_owned(), "ERROR".into()));
                tags.push(("error".to_owned(), true.into()));
            }
            StatusCode::Unset => {}
        }
        if !status.message.is_empty() {
            let message = status.message.clone().into();
            tags.push(("otel.status_description".to_owned(), message));
        }
    }
    tags
}

/// The attributes of a process, and their values.
pub(crate) fn process_tags(process: &Process) -> impl Iterator<Item = (String, Value)> {
    process.resource.attributes.iter().filter(|attribute| attribute.key != "service.name").map(tag)
}

fn span_json(span: Span, scope: &str, process: usize) -> Value {
    let trace_id = hex(&span.trace_id);
    let reference = |kind: &str, trace: &[u8], span: &[u8]| json!({ "refType": kind, "traceID": hex(trace), "spanID": hex(span) });
    let mut references = Vec::new();
    if !span.parent_span_id.is_empty() {
        references.push(reference("CHILD_OF", &span.trace_id, &span.parent_span_id));
    }
    for link in &span.links {
        references.push(reference("FOLLOWS_FROM", &link.trace_id, &link.span_id));
    }
    let logs: Vec<Value> = span
        .events
        .iter()
        .map(|event| {
            let name = ("event".to_owned(), Value::from(event.name.clone()));
            let fields = std::iter::once(name).chain(event.attributes.iter().map(tag));
            json!({ "timestamp": event.time_unix_nano / 1_000, "fields": tags_json(fields) })
        })
        .collect();
    json!({
        "traceID": trace_id,
        "spanID": hex(&span.span_id),
        "operationName": span.name,
        "references": references,
        "startTime": span.start_time_unix_nano / 1_000,
        "duration": duration_us(&span),
        "tags": tags_json(tags(&span, scope)),
        "logs": logs,
        "processID": format!("p{process}"),
        "warnings": null,
    })
}

/// How long a span took; nothing, when a clock went back meanwhile.
pub(crate) fn duration_us(span: &Span) -> u64 {
    span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano) / 1_000
}

fn process_json(process: &Process) -> Value {
    json!({ "serviceName": service(process), "tags": tags_json(process_tags(process)) })
}

fn tags_json(tags: impl IntoIterator<Item = (String, Value)>) -> Vec<Value> {
    tags.into_iter()
        .map(|(key, value)| {
            let kind = match &value {
                Value::Bool(_) => "bool",
                Value::Number(number) if number.is_f64() => "float64",
                Value::Number(_) => "int64",
                _ => "string",
            };
            json!({ "key": key, "type": kind, "value": value })
        })
        .collect()
}

fn tag(attribute: &KeyValue) -> (String, Value) {
    (attribute.key.clone(), attribute.value.as_ref().map_or(Value::Null, value))
}

fn value(any: &AnyValue) -> Value {
    match &any.value {
        Some(Any::StringValue(text)) => text.clone().into(),
        Some(Any::BoolValue(truth)) => (*truth).into(),
        Some(Any::IntValue(number)) => (*number).into(),
        Some(Any::DoubleValue(number)) => (*number).into(),
        Some(Any::BytesValue(bytes)) => hex(bytes).into(),
        // What is nested is shown as text, as Jaeger does.
        Some(Any::ArrayValue(array)) => {
            Value::Array(array.values.iter().map(value).collect()).to_string().into()
        }
        Some(Any::KvlistValue(list)) => {
            Value::Object(list.values.iter().map(tag).collect()).to_string().into()
        }
        Some(Any::StringValueStrindex(_)) | None => Value::Null,
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
