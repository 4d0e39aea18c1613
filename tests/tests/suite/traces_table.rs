//! Every span that we make, with each of its attributes and their exact values: names that others
//! search by, and build dashboards on, change here or nowhere.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use posthorn_tests::{Answer, Receiver, Span, Trace};
use proto::v1::CreatePaymentRequest;
use proto::v1::payment_service_client::PaymentServiceClient;
use sqlx::{Connection as _, PgConnection};
use tonic::codegen::{Service as _, http};
use uuid::Uuid;

use crate::traces::{hasten, of_caller, pay, turns};
use crate::{merchant, shared_lab};

/// A value that is another each time, and there.
const SOME: &str = "*";
/// What whoever shows a trace adds to a span.
const NOT_OURS: [&str; 3] = ["otel.scope.", "otel.library.", "internal."];

type Attributes<'a> = [(&'a str, &'a str)];

/// A span has these attributes, in any order, with these values, and no others.
fn is(span: &Span, expected: &[&Attributes<'_>]) -> anyhow::Result<()> {
    let expected: BTreeMap<&str, &str> =
        expected.iter().flat_map(|part| part.iter().copied()).collect();
    let ours = |name: &str| !NOT_OURS.iter().any(|prefix| name.starts_with(prefix));
    let names: Vec<&str> = span.tags.keys().map(String::as_str).filter(|name| ours(name)).collect();
    ensure!(names.iter().eq(expected.keys()), "{}: {names:#?}, not {expected:#?}", span.name);
    for (name, value) in expected {
        let told = span.tag(name);
        let is_it = if value == SOME { !told.is_empty() } else { told == value };
        ensure!(is_it, "{}: {name} is {told:?}, not {value:?}", span.name);
    }
    Ok(())
}

const ERROR: &Attributes<'_> = &[("otel.status_code", "ERROR"), ("error", "true")];
const SERVER: &Attributes<'_> = &[("span.kind", "server")];
const CLIENT: &Attributes<'_> = &[("span.kind", "client")];
const DATABASE: &Attributes<'_> = &[("span.kind", "client"), ("db.system.name", "postgresql")];

/// Who and what a span about a delivery is about.
struct About {
    payment: String,
    merchant: String,
    endpoint: String,
}

impl About {
    fn ids(&self) -> [(&str, &str); 5] {
        [
            ("posthorn.payment.id", &self.payment),
            ("posthorn.merchant.id", &self.merchant),
            ("posthorn.endpoint.id", &self.endpoint),
            ("posthorn.event.id", SOME),
            ("posthorn.delivery.id", SOME),
        ]
    }

    /// What the api and the relay make.
    fn is_announced(&self, trace: &Trace) -> anyhow::Result<()> {
        let transaction = [
            ("db.operation.name", "payments.create"),
            ("posthorn.payment.id", &self.payment),
            ("posthorn.merchant.id", &self.merchant),
        ];
        is(trace.only("transaction payments.create")?, &[DATABASE, &transaction])?;
        let publish = [
            ("span.kind", "producer"),
            ("messaging.system", "kafka"),
            ("messaging.operation.type", "send"),
            ("messaging.operation.name", "publish"),
            ("messaging.destination.name", "webhook-events"),
            ("messaging.kafka.message.key", &self.endpoint),
            ("posthorn.acknowledged", "true"),
        ];
        is(trace.only("publish webhook-events")?, &[&publish, &self.ids()])
    }

    /// A turn, but for what came of it.
    fn is_turn(&self, turn: &Span, came_of_it: &[&Attributes<'_>]) -> anyhow::Result<()> {
        let process = [
            ("span.kind", "consumer"),
            ("messaging.system", "kafka"),
            ("messaging.operation.type", "process"),
            ("messaging.operation.name", "process"),
            ("messaging.destination.name", "webhook-wakes"),
            ("restate.invocation.id", SOME),
            ("posthorn.wake.because", SOME),
        ];
        is(turn, &[&[&process, &self.ids()[..]], came_of_it].concat())
    }
}

/// An attempt but for its number, its reason and what came of it.
const ATTEMPT: &Attributes<'_> = &[("span.kind", "internal"), ("posthorn.attempt.id", SOME)];
const POST: &Attributes<'_> = &[
    ("http.request.method", "POST"),
    ("http.request.body.size", SOME),
    ("network.protocol.version", "1.1"),
    ("network.peer.address", "127.0.0.1"),
    ("network.peer.port", SOME),
    ("url.scheme", "http"),
    ("server.address", "127.0.0.1"),
    ("server.port", SOME),
];
const PAYLOAD: &Attributes<'_> = &[
    ("http.request.method", "GET"),
    ("url.template", "/payload/{payment_id}"),
    ("server.address", "127.0.0.1"),
    ("server.port", SOME),
];

/// The first attempt, which the merchant answered 500, with everything below its turn.
fn failed(trace: &Trace, about: &About, turn: &Span, attempt: &Span) -> anyhow::Result<()> {
    let came = [
        ("posthorn.outcome", "unwell"),
        ("posthorn.disposition", "stays in line"),
        ("posthorn.next_attempt_at", SOME),
        ("posthorn.breaker", "closed"),
        ("error.type", "500"),
        ("http.response.status_code", "500"),
    ];
    about.is_turn(turn, &[&came[..5], ERROR])?;
    let numbered = [("posthorn.attempt.number", "1"), ("posthorn.attempt.reason", "first")];
    is(attempt, &[ATTEMPT, &numbered, &came[..1], &came[4..], ERROR])?;
    let ok = [("http.response.status_code", "200")];
    is(trace.one_below(attempt, "GET /payload/{payment_id}")?, &[CLIENT, PAYLOAD, &ok])?;
    is(trace.one_below(attempt, "guard")?, &[CLIENT, &[("server.address", "127.0.0.1")]])?;
    is(trace.one_below(attempt, "connect")?, &[CLIENT, &POST[3..]])?;
    let anew = [("posthorn.connection.reused", "false")];
    is(trace.one_below(attempt, "POST")?, &[CLIENT, POST, &anew, &came[4..], ERROR])?;
    is(trace.one_below(turn, "settle")?, &[DATABASE, &[("db.operation.name", "settle")]])
}

/// The second attempt, which the merchant answered 200.
fn delivered(trace: &Trace, about: &About, turn: &Span, attempt: &Span) -> anyhow::Result<()> {
    let came = [
        ("posthorn.disposition", "delivered"),
        ("posthorn.breaker", "closed"),
        ("posthorn.outcome", "delivered"),
        ("http.response.status_code", "200"),
    ];
    about.is_turn(turn, &[&came[..3]])?;
    let numbered = [
        ("posthorn.attempt.number", "2"),
        ("posthorn.attempt.reason", "again; the endpoint answered 500, 1 in a row"),
    ];
    is(attempt, &[ATTEMPT, &numbered, &came[2..]])?;
    let reused = [("posthorn.connection.reused", SOME)];
    is(trace.one_below(attempt, "POST")?, &[CLIENT, POST, &reused, &came[3..]])
}

#[tokio::test(flavor = "multi_thread")]
async fn every_span_has_its_name_and_its_attributes_with_their_values() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("table");
    let endpoint = api.merchant(&merchant, receiver.url()).await?;
    hasten(lab, &endpoint).await?;
    receiver.script([Answer::Status(500)]);
    let (id, header) = of_caller();
    let payment = pay(lab, &merchant, &header).await?;
    let about = About { payment, merchant, endpoint };
    lab.traces()?
        .read(&id, |trace| {
            let served = [
                ("http.request.method", "POST"),
                ("http.route", "/payments"),
                ("http.response.status_code", "201"),
            ];
            is(trace.only("POST /payments")?, &[SERVER, &served])?;
            about.is_announced(trace)?;
            let turns = turns(trace)?;
            ensure!(turns.len() == 2, "{} turns", turns.len());
            failed(trace, &about, turns[0].0, turns[0].1)?;
            delivered(trace, &about, turns[1].0, turns[1].1)
        })
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_is_not_there_is_a_status_and_our_fault() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("table-missing");
    let endpoint = api.merchant(&merchant, receiver.url()).await?;
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    // An event about a payment that nobody made.
    let payment = format!("pay_{}", Uuid::now_v7());
    let (id, header) = of_caller();
    sqlx::query(
        "insert into domain_events (event_type, object_id, merchant_id, traceparent)
         values ('payment.succeeded', $1, $2, $3)",
    )
    .bind(&payment)
    .bind(&merchant)
    .bind(&header)
    .execute(&mut db)
    .await?;
    let about = About { payment, merchant, endpoint };
    lab.traces()?
        .read(&id, |trace| {
            let (turn, attempt) = *turns(trace)?.first().context("no turn")?;
            let came = [
                ("posthorn.disposition", "steps aside"),
                ("posthorn.next_attempt_at", SOME),
                ("posthorn.breaker", "closed"),
                ("posthorn.outcome", "fault"),
                ("error.type", "payload_missing"),
            ];
            about.is_turn(turn, &[&came, ERROR])?;
            let numbered = [("posthorn.attempt.number", "1"), ("posthorn.attempt.reason", "first")];
            is(attempt, &[ATTEMPT, &numbered, &came[3..], ERROR])?;
            let missing = [("http.response.status_code", "404"), ("error.type", "404")];
            let fetch = trace.one_below(attempt, "GET /payload/{payment_id}")?;
            is(fetch, &[CLIENT, PAYLOAD, &missing, ERROR])
        })
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_call_has_its_method_and_its_code_and_is_an_error_when_it_is_ours()
-> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let merchant = merchant("table-grpc");
    lab.api()?.merchant(&merchant, Receiver::start().await?.url()).await?;
    let address = format!("http://127.0.0.1:{}", lab.ports()?.grpc);
    let mut client = PaymentServiceClient::connect(address.clone()).await?;
    for (amount, code) in [(1, "OK"), (-1, "INVALID_ARGUMENT")] {
        let (id, header) = of_caller();
        let mut request = tonic::Request::new(CreatePaymentRequest {
            amount,
            currency: "USD".to_owned(),
            merchant_id: merchant.clone(),
            ..CreatePaymentRequest::default()
        });
        request.metadata_mut().insert("traceparent", header.parse()?);
        ensure!(client.create(request).await.is_ok() == (code == "OK"));
        let method = "posthorn.v1.PaymentService/Create";
        let answered = [
            ("rpc.system.name", "grpc"),
            ("rpc.method", method),
            ("rpc.response.status_code", code),
        ];
        let its = |trace: &Trace| is(trace.only(method)?, &[SERVER, &answered]);
        lab.traces()?.read(&id, its).await?;
    }
    // What a caller makes up is no name of ours.
    let (id, header) = of_caller();
    let mut channel = tonic::transport::Endpoint::new(address.clone())?.connect().await?;
    let request = http::Request::post(format!("{address}/made.up.Service/Method"))
        .header("content-type", "application/grpc")
        .header("traceparent", &header)
        .body(tonic::body::Body::empty())?;
    std::future::poll_fn(|ctx| channel.poll_ready(ctx)).await?;
    let answer = channel.call(request).await?;
    ensure!(answer.headers()["grpc-status"] == "12", "{answer:?}");
    let answered = [
        ("rpc.system.name", "grpc"),
        ("rpc.method", "_OTHER"),
        ("rpc.response.status_code", "UNIMPLEMENTED"),
        ("error.type", "UNIMPLEMENTED"),
    ];
    let its = |trace: &Trace| is(trace.only("grpc")?, &[SERVER, &answered, ERROR]);
    lab.traces()?.read(&id, its).await?;
    Ok(())
}
