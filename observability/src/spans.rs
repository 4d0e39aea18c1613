//! Every span that we make for others to read, and the one list of its attributes.
//!
//! One trace leads from the caller's request to the merchant's answer:
//!
//! ```text
//! posthorn.v1.PaymentService/Create          api           the caller's trace goes on here
//! └─ transaction payments.create             api           its context is the row's traceparent
//!    ├─ publish webhook-events               relay         until Kafka has it, on both topics
//!    └─ process webhook-wakes                worker        one for each attempt, however late
//!       ├─ attempt 1                         worker        why it is made, and what came of it
//!       │  ├─ GET /payload/{payment_id}      worker        what it asked the data service
//!       │  ├─ guard, connect                 worker
//!       │  └─ POST                           worker        the merchant's status
//!       └─ settle                            worker        what follows: delivered, or when again
//! ```
//!
//! Publishing and processing are both below the transaction, not below each other: a span is only
//! ever the child of one that has ended before its context was known to others. (So the data service
//! has none: a worker that is killed would leave it without a parent.) Attributes of ours
//! are `posthorn.*`, everything else is OpenTelemetry's own. Ids are told; a secret, a payload, a
//! path or query of a merchant's URL never.
//!
//! Numbers are signed: others become texts on their way. The names stand here and, for what happens inside of the delivery's client, in that crate.

use std::fmt::Display;

use tracing::{Span, field};

/// Spans for traces, under one target: logs leave them out.
pub const TARGET: &str = "posthorn::span";
/// What stands for a caller's word that nobody knows, by OpenTelemetry's conventions.
pub const OTHER: &str = "_OTHER";

/// A gRPC call that is served; `path` is `package.Service/Method`, or `_OTHER`.
pub fn grpc_server(path: &'static str) -> Span {
    let name = if path == OTHER { "grpc" } else { path };
    tracing::info_span!(
        target: TARGET,
        "grpc",
        otel.name = name,
        otel.kind = "server",
        otel.status_code = field::Empty,
        rpc.system.name = "grpc",
        rpc.method = path,
        rpc.response.status_code = field::Empty,
        error.type = field::Empty,
    )
}

/// The codes of gRPC by their numbers, as texts.
const GRPC_CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// What a gRPC call came to, on the span that is entered. Codes of which the server is to blame are
/// errors.
pub fn grpc_answered(code: i32) {
    let code = usize::try_from(code).ok().and_then(|code| GRPC_CODES.get(code));
    let (span, code) = (Span::current(), *code.unwrap_or(&"UNKNOWN"));
    span.record("rpc.response.status_code", code);
    let is_ours = matches!(
        code,
        "UNKNOWN"
            | "DEADLINE_EXCEEDED"
            | "UNIMPLEMENTED"
            | "INTERNAL"
            | "UNAVAILABLE"
            | "DATA_LOSS"
    );
    if is_ours {
        failed(&span, &code);
    }
}

/// `method` if HTTP knows it, else `_OTHER`: a caller may write anything there, and a name or a
/// label of ours is none of a caller's words.
pub fn known_method(method: &str) -> &'static str {
    const KNOWN: [&str; 9] =
        ["GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| *known == method).unwrap_or(OTHER)
}

/// An HTTP request that is served; `method` is a known one, `route` the pattern, never the path.
pub fn http_server(method: &'static str, route: &str) -> Span {
    let verb = if method == OTHER { "HTTP" } else { method };
    tracing::info_span!(
        target: TARGET,
        "http",
        otel.name = format!("{verb} {route}"),
        otel.kind = "server",
        otel.status_code = field::Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = field::Empty,
        error.type = field::Empty,
    )
}

/// A request to a part of our own; `route` is the pattern, never the path.
pub fn http_client(method: &str, route: &str, host: &str, port: u16) -> Span {
    tracing::info_span!(
        target: TARGET,
        "http",
        otel.name = format!("{method} {route}"),
        otel.kind = "client",
        otel.status_code = field::Empty,
        http.request.method = method,
        url.template = route,
        server.address = host,
        server.port = i64::from(port),
        http.response.status_code = field::Empty,
        error.type = field::Empty,
    )
}

/// What an HTTP request came to. For a server, only 5xx is its own fault; for a client, 4xx as well.
pub fn http_answered(span: &Span, status: u16, is_server: bool) {
    span.record("http.response.status_code", i64::from(status));
    if status >= if is_server { 500 } else { 400 } {
        failed(span, &status);
    }
}

/// The transaction that writes a payment; `operation` is its stable name.
pub fn transaction(operation: &str) -> Span {
    tracing::info_span!(
        target: TARGET,
        "transaction",
        otel.name = format!("transaction {operation}"),
        otel.kind = "client",
        otel.status_code = field::Empty,
        db.system.name = "postgresql",
        db.operation.name = operation,
        error.type = field::Empty,
        posthorn.payment.id = field::Empty,
        posthorn.merchant.id = field::Empty,
    )
}

/// Which payment it was.
pub fn of_payment(span: &Span, payment: &impl Display, merchant: &str) {
    span.record("posthorn.payment.id", field::display(payment));
    span.record("posthorn.merchant.id", merchant);
}

/// Another transaction of ours.
pub fn database(operation: &str) -> Span {
    tracing::info_span!(
        target: TARGET,
        "database",
        otel.name = operation,
        otel.kind = "client",
        otel.status_code = field::Empty,
        db.system.name = "postgresql",
        db.operation.name = operation,
        error.type = field::Empty,
    )
}

/// What a delivery is, in every span that is about one.
#[derive(Clone, Copy)]
pub struct Delivery<'a> {
    /// `dlv_…`
    pub delivery: &'a dyn Display,
    /// `evt_…`
    pub event: &'a dyn Display,
    /// `ep_…`
    pub endpoint: &'a dyn Display,
    /// The merchant's id.
    pub merchant: &'a str,
    /// What the event is about; a payment's id in most cases.
    pub object: &'a str,
    /// The context of the transaction that wrote it, if it has one.
    pub traceparent: Option<&'a str>,
}

impl Delivery<'_> {
    /// A payment's id, when the event is about one.
    fn payment(&self) -> Option<&str> {
        self.object.starts_with("pay_").then_some(self.object)
    }
}

/// A record on its way to `topic`.
pub fn publish(topic: &str, about: Delivery<'_>) -> Span {
    let span = tracing::info_span!(
        target: TARGET,
        "publish",
        otel.name = format!("publish {topic}"),
        otel.kind = "producer",
        messaging.system = "kafka",
        messaging.operation.type = "send",
        messaging.operation.name = "publish",
        messaging.destination.name = topic,
        messaging.kafka.message.key = %about.endpoint,
        posthorn.payment.id = about.payment(),
        posthorn.event.id = %about.event,
        posthorn.delivery.id = %about.delivery,
        posthorn.endpoint.id = %about.endpoint,
        posthorn.merchant.id = about.merchant,
        // Missing: the relay's session broke, and the record was sent again by the next one.
        posthorn.acknowledged = field::Empty,
    );
    join(&span, about.traceparent);
    span
}

/// Kafka has the record, on both topics.
pub fn acknowledged(span: &Span) {
    span.record("posthorn.acknowledged", true);
}

/// Who runs a wake.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Restate's id of it.
    pub id: String,
    /// Why there is a wake: notified, continued, timer, swept, commanded.
    pub because: &'static str,
    /// The context of Restate's own span, when it makes any.
    pub traceparent: Option<String>,
}

/// One turn of a delivery in a wake: an attempt, and what follows from it.
pub fn process(topic: &str, invocation: &Invocation, about: Delivery<'_>) -> Span {
    let span = tracing::info_span!(
        target: TARGET,
        "process",
        otel.name = format!("process {topic}"),
        otel.kind = "consumer",
        otel.status_code = field::Empty,
        messaging.system = "kafka",
        messaging.operation.type = "process",
        messaging.operation.name = "process",
        messaging.destination.name = topic,
        restate.invocation.id = invocation.id,
        posthorn.wake.because = invocation.because,
        posthorn.payment.id = about.payment(),
        posthorn.event.id = %about.event,
        posthorn.delivery.id = %about.delivery,
        posthorn.endpoint.id = %about.endpoint,
        posthorn.merchant.id = about.merchant,
        posthorn.outcome = field::Empty,
        posthorn.disposition = field::Empty,
        posthorn.next_attempt_at = field::Empty,
        posthorn.breaker = field::Empty,
        error.type = field::Empty,
    );
    join(&span, about.traceparent);
    if let Some(restate) = &invocation.traceparent {
        crate::traceparent::link(&span, restate);
    }
    span
}

/// What an attempt means for its delivery.
#[derive(Debug, Clone, Copy)]
pub struct Settled<'a> {
    /// What becomes of the delivery: delivered, exhausted, stays in line, steps aside.
    pub disposition: &'a str,
    /// When it is tried again, if that is known.
    pub next_attempt_at: Option<&'a str>,
    /// The endpoint's breaker: closed, open.
    pub breaker: &'a str,
}

/// Says on a `process` span what followed.
pub fn settled(span: &Span, settled: Settled<'_>) {
    span.record("posthorn.disposition", settled.disposition);
    span.record("posthorn.breaker", settled.breaker);
    if let Some(at) = settled.next_attempt_at {
        span.record("posthorn.next_attempt_at", at);
    }
}

/// Says on a `process` span that what its attempt came to is lost; `kind`: a stable word for why,
/// which is its error unless the attempt has one (`has_error`): an attribute is given once.
pub fn not_settled(span: &Span, kind: &'static str, has_error: bool) {
    span.record("posthorn.disposition", "not settled");
    if !has_error {
        failed(span, &kind);
    }
}

/// One attempt; `reason` is why it is made.
pub fn attempt(id: &impl Display, number: u32, reason: &str) -> Span {
    tracing::info_span!(
        target: TARGET,
        "attempt",
        otel.name = format!("attempt {number}"),
        otel.status_code = field::Empty,
        posthorn.attempt.id = %id,
        posthorn.attempt.number = i64::from(number),
        posthorn.attempt.reason = reason,
        posthorn.outcome = field::Empty,
        http.response.status_code = field::Empty,
        error.type = field::Empty,
    )
}

/// What an attempt, or the turn that it was made in, came to: the outcome's class and code.
pub fn ended(span: &Span, class: &str, code: Option<&str>, status: Option<u16>) {
    span.record("posthorn.outcome", class);
    if let Some(status) = status {
        span.record("http.response.status_code", i64::from(status));
    }
    match (code, status) {
        (None, _) => {}
        (Some(_), Some(status)) => failed(span, &status),
        (Some(code), None) => failed(span, &code),
    }
}

/// Marks a span as failed, with a stable word for the reason.
pub fn failed(span: &Span, kind: &impl Display) {
    span.record("error.type", field::display(kind));
    span.record("otel.status_code", "ERROR");
}

fn join(span: &Span, traceparent: Option<&str>) {
    if let Some(traceparent) = traceparent {
        crate::traceparent::set_parent(span, traceparent);
    }
}
