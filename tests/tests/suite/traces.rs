//! One trace from the caller's request to the merchant's 200, read back by Jaeger's query paths.
//!
//! Each story is told twice: to our own role, and to Jaeger itself when `make jaeger` has built it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use posthorn_tests::{Answer, Lab, Receiver, Span, Trace, until};
use proto::v1::payment_service_client::PaymentServiceClient;
use proto::v1::{CreatePaymentRequest, CreatePaymentResponse};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::traces_parts::{is_found_before_it_is_attempted, is_slow};
use crate::{crash, merchant, shared_lab};

const SOON: Duration = Duration::from_secs(30);
/// Time of a span in which nothing that has a span of its own happened: scheduling.
const REST: Duration = Duration::from_millis(250);
/// This much is added for each process that runs or waits for a core.
const REST_SLACK: Duration = Duration::from_millis(50);
/// The caller's own span.
const CALLER: &str = "b7ad6b7169203331";

/// Jaeger, when `make jaeger` has built it; says loudly that `test` is skipped when it has not.
pub(crate) fn jaeger(test: &str) -> Option<PathBuf> {
    let parts = std::env::var("POSTHORN_PARTS_DIR").unwrap_or_default();
    let jaeger = Path::new(&parts).join("jaeger-v1.76.0/jaeger");
    if !jaeger.exists() {
        eprintln!(
            "SKIPPED: {test}: not in POSTHORN_PARTS_DIR ({parts:?}); `make jaeger` builds it"
        );
        return None;
    }
    Some(jaeger)
}

/// A trace that begins at a caller of ours: its id, and the header.
pub(crate) fn of_caller() -> (String, String) {
    let id = Uuid::new_v4().simple().to_string();
    let header = format!("00-{id}-{CALLER}-01");
    (id, header)
}

/// What may be missing in the sum of a span's parts.
pub(crate) fn rest() -> anyhow::Result<Duration> {
    Ok(REST + crash::slack(REST_SLACK)?)
}

/// A payment by JSON, in a caller's trace.
pub(crate) async fn pay(lab: &Lab, merchant: &str, traceparent: &str) -> anyhow::Result<String> {
    let body = json!({ "merchant_id": merchant, "amount": 1, "currency": "USD" }).to_string();
    let headers = [("traceparent", traceparent)];
    let (status, answer) = lab.api()?.send("POST", "/payments", &headers, body).await?;
    ensure!(status == 201, "{status} {answer}");
    Ok(answer["id"].as_str().context("no id")?.to_owned())
}

/// Makes an endpoint's backoff short, and leaves its schedule long: nothing is exhausted meanwhile.
pub(crate) async fn hasten(lab: &Lab, endpoint: &str) -> anyhow::Result<()> {
    configure(lab, endpoint, json!({ "backoff_initial_ms": 200, "backoff_max_ms": 400 })).await
}

/// Gives an endpoint its policy, within no bounds.
pub(crate) async fn configure(lab: &Lab, endpoint: &str, policy: Value) -> anyhow::Result<()> {
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    let changed = sqlx::query("update endpoints set policy = $2 where id = $1")
        .bind(Uuid::parse_str(endpoint.trim_start_matches("ep_"))?)
        .bind(policy)
        .execute(&mut db)
        .await?;
    ensure!(changed.rows_affected() == 1, "no endpoint {endpoint}");
    Ok(())
}

/// Turns of the delivery, the earliest first; each with its attempt.
pub(crate) fn turns(trace: &Trace) -> anyhow::Result<Vec<(&Span, &Span)>> {
    let processed = trace.named("process webhook-wakes").into_iter();
    processed
        .enumerate()
        .map(|(place, turn)| Ok((turn, trace.one_below(turn, &format!("attempt {}", place + 1))?)))
        .collect()
}

/// The way from the request to the transaction, and that everything else is below it.
pub(crate) fn begins_well<'a>(trace: &'a Trace, request: &str) -> anyhow::Result<&'a Span> {
    trace.is_connected_below(Some(CALLER))?;
    let server = trace.only(request)?;
    ensure!(server.tag("span.kind") == "server" && server.service == "posthorn-api");
    let transaction = trace.one_below(server, "transaction payments.create")?;
    ensure!(transaction.tag("db.system.name") == "postgresql");
    server.contains(transaction)?;
    let publish = trace.one_below(transaction, "publish webhook-events")?;
    ensure!(publish.tag("span.kind") == "producer" && publish.service == "posthorn-relay");
    ensure!(publish.tag("posthorn.acknowledged") == "true");
    for turn in trace.named("process webhook-wakes") {
        ensure!(turn.tag("messaging.operation.name") == "process");
        ensure!(turn.tag("messaging.destination.name") == "webhook-wakes");
        ensure!(turn.parent.as_ref() == Some(&transaction.id), "a turn is elsewhere");
        ensure!(turn.tag("span.kind") == "consumer" && turn.service == "posthorn-worker");
        ensure!(turn.tag("restate.invocation.id").starts_with("inv_"));
        for id in ["payment", "event", "delivery", "endpoint", "merchant"] {
            let name = format!("posthorn.{id}.id");
            ensure!(!turn.tag(&name).is_empty(), "no {name}");
            ensure!(publish.tag(&name) == turn.tag(&name), "{name}");
        }
    }
    Ok(transaction)
}

/// One attempt with its parts; its time is made up of theirs.
pub(crate) fn attempted_well(
    trace: &Trace,
    turn: &Span,
    attempt: &Span,
    status: u16,
) -> anyhow::Result<()> {
    let fetch = trace.one_below(attempt, "GET /payload/{payment_id}")?;
    ensure!(fetch.tag("span.kind") == "client" && fetch.tag("http.response.status_code") == "200");
    let post = trace.one_below(attempt, "POST")?;
    ensure!(post.tag("span.kind") == "client");
    ensure!(post.tag("http.response.status_code") == status.to_string());
    if status >= 400 {
        for span in [turn, attempt, post] {
            ensure!(span.tag("error.type") == status.to_string(), "{}", span.name);
            ensure!(span.tag("otel.status_code") == "ERROR", "{}", span.name);
        }
    }
    // A connection that was used before is not made again.
    let parts = trace.below(attempt);
    let is_reused = post.tag("posthorn.connection.reused") == "true";
    ensure!(parts.len() == if is_reused { 2 } else { 4 }, "{} parts", parts.len());
    if !is_reused {
        ensure!(trace.one_below(attempt, "guard")?.tag("span.kind") == "client");
        ensure!(trace.one_below(attempt, "connect")?.tag("network.peer.address") == "127.0.0.1");
    }
    attempt.adds_up(&parts, rest()?)?;
    turn.adds_up(&[attempt, trace.one_below(turn, "settle")?], rest()?)
}

/// A payment is delivered at once, and one search finds its trace.
async fn is_delivered(lab: &Lab) -> anyhow::Result<()> {
    let (api, receiver, traces) = (lab.api()?, Receiver::start().await?, lab.traces()?);
    let merchant = merchant("traced");
    api.merchant(&merchant, receiver.url()).await?;
    let (id, header) = of_caller();
    let payment = pay(lab, &merchant, &header).await?;
    let webhook = receiver.wait_for(1, SOON).await?.remove(0);
    ensure!(webhook.header("traceparent").is_empty(), "nobody asked for it");
    let trace = traces
        .read(&id, |trace| {
            let transaction = begins_well(trace, "POST /payments")?;
            ensure!(trace.spans.len() == 10, "{} spans", trace.spans.len());
            ensure!(transaction.tag("posthorn.payment.id") == payment);
            let turns = turns(trace)?;
            ensure!(turns.len() == 1);
            let (turn, attempt) = turns[0];
            ensure!(turn.tag("posthorn.disposition") == "delivered");
            ensure!(turn.tag("posthorn.wake.because") == "notified");
            ensure!(attempt.tag("posthorn.attempt.reason") == "first");
            attempted_well(trace, turn, attempt, 200)
        })
        .await?;
    ensure!(traces.find("posthorn-api", "posthorn.payment.id", &payment).await? == [&*trace.id]);

    // Restate's own trace of the wake is one link away.
    let turn = trace.only("process webhook-wakes")?;
    let (other, _) = turn.links.first().context("no link to Restate's span")?;
    ensure!(*other != trace.id);
    let invocation = turn.tag("restate.invocation.id");
    traces
        .read(other, |wake| {
            let is_of_it = |span: &Span| span.tag("restate.invocation.id") == invocation;
            ensure!(wake.spans.iter().any(is_of_it), "nothing of {invocation}");
            Ok(())
        })
        .await?;
    Ok(())
}

/// A merchant fails three times, then accepts: all of it is one trace, each with its reason.
async fn fails_three_times(lab: &Lab) -> anyhow::Result<()> {
    let (api, receiver, traces) = (lab.api()?, Receiver::start().await?, lab.traces()?);
    let merchant = merchant("traced-again");
    let endpoint = api.merchant(&merchant, receiver.url()).await?;
    hasten(lab, &endpoint).await?;
    receiver.script([Answer::Status(500), Answer::Status(500), Answer::Status(500)]);
    let (id, header) = of_caller();
    pay(lab, &merchant, &header).await?;
    traces
        .read(&id, |trace| {
            begins_well(trace, "POST /payments")?;
            let turns = turns(trace)?;
            ensure!(turns.len() == 4, "{} turns", turns.len());
            for (place, (turn, attempt)) in turns.iter().enumerate() {
                let status = if place < 3 { 500 } else { 200 };
                attempted_well(trace, turn, attempt, status)?;
                let reason = match place {
                    0 => "first".to_owned(),
                    n => format!("again; the endpoint answered 500, {n} in a row"),
                };
                ensure!(attempt.tag("posthorn.attempt.reason") == reason);
                let next = turn.tag("posthorn.next_attempt_at");
                ensure!(next.is_empty() == (place == 3), "{next:?} after attempt {}", place + 1);
            }
            ensure!(turns[1].0.tag("posthorn.wake.because") == "timer");
            Ok(())
        })
        .await?;
    ensure!(receiver.requests().len() == 4);
    Ok(())
}

/// Five failures open the breaker; what comes then is a probe, and the trace says so.
async fn opens_the_breaker(lab: &Lab) -> anyhow::Result<()> {
    let (api, receiver, traces) = (lab.api()?, Receiver::start().await?, lab.traces()?);
    let merchant = merchant("traced-breaker");
    let endpoint = api.merchant(&merchant, receiver.url()).await?;
    hasten(lab, &endpoint).await?;
    receiver.script([Answer::Status(500); 6]);
    let (id, header) = of_caller();
    pay(lab, &merchant, &header).await?;
    traces
        .read(&id, |trace| {
            begins_well(trace, "POST /payments")?;
            let turns = turns(trace)?;
            ensure!(turns.len() == 7, "{} turns", turns.len());
            for (place, (turn, attempt)) in turns.iter().enumerate() {
                let is_open = (4..6).contains(&place);
                ensure!(turn.tag("posthorn.breaker") == if is_open { "open" } else { "closed" });
                let reason = attempt.tag("posthorn.attempt.reason");
                let is_probe = reason.starts_with("probe: the breaker is open");
                ensure!(is_probe == (place >= 5), "attempt {}: {reason}", place + 1);
            }
            Ok(())
        })
        .await?;
    Ok(())
}

/// The worker is killed with a request in flight: what was exported is connected, and the one that
/// was lost left nothing behind.
async fn survives_a_kill(lab: &Lab) -> anyhow::Result<()> {
    let (api, receiver, traces) = (lab.api()?, Receiver::start().await?, lab.traces()?);
    let merchant = merchant("traced-kill");
    let endpoint = api.merchant(&merchant, receiver.url()).await?;
    hasten(lab, &endpoint).await?;
    receiver.script([Answer::Status(500), Answer::Hang]);
    let (id, header) = of_caller();
    pay(lab, &merchant, &header).await?;
    until("the second request hangs", SOON, async || {
        ensure!(receiver.requests().len() == 2);
        Ok(())
    })
    .await?;
    // What of the second attempt has ended by now would be sent before a later span of the same
    // worker's, had it not to wait for its root.
    a_later_span_is_there(lab).await?;
    lab.kill("worker").await?;
    receiver.wait_for(1, Duration::from_secs(90)).await?;
    traces
        .read(&id, |trace| {
            begins_well(trace, "POST /payments")?;
            let turns = turns(trace)?;
            ensure!(turns.len() == 2, "{} turns", turns.len());
            attempted_well(trace, turns[0].0, turns[0].1, 500)?;
            attempted_well(trace, turns[1].0, turns[1].1, 200)
        })
        .await?;
    ensure!(receiver.requests().len() == 3, "one of them was the killed worker's");
    Ok(())
}

/// The worker makes a span that is younger than all others, and it is where they are sent.
async fn a_later_span_is_there(lab: &Lab) -> anyhow::Result<()> {
    let (receiver, merchant) = (Receiver::start().await?, merchant("traced-later"));
    lab.api()?.merchant(&merchant, receiver.url()).await?;
    let (later, header) = of_caller();
    pay(lab, &merchant, &header).await?;
    lab.traces()?.read(&later, |trace| trace.only("attempt 1").map(|_| ())).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_the_request_to_the_merchants_200() -> anyhow::Result<()> {
    is_delivered(shared_lab().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_are_in_the_same_trace_with_their_numbers_and_reasons() -> anyhow::Result<()> {
    fails_three_times(shared_lab().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_shows_the_breaker_open_and_its_probes() -> anyhow::Result<()> {
    opens_the_breaker(shared_lab().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_stays_connected_when_the_worker_is_killed() -> anyhow::Result<()> {
    survives_a_kill(&*crash::lab().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn jaeger_itself_tells_the_same() -> anyhow::Result<()> {
    if jaeger("the traces in Jaeger itself").is_none() {
        return Ok(());
    }
    let lab = Lab::start_with(&[("POSTHORN_TRACES", "jaeger")]).await?;
    tokio::try_join!(
        is_delivered(&lab),
        fails_three_times(&lab),
        opens_the_breaker(&lab),
        is_slow(&lab),
        is_found_before_it_is_attempted(&lab)
    )?;
    survives_a_kill(&lab).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_callers_trace_goes_on_and_a_merchant_that_asks_gets_it() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("traced-grpc");
    api.post("/v1/merchants", &json!({ "merchant_id": merchant, "name": "traced" })).await?;
    let endpoint = json!({
        "merchant_id": merchant, "url": receiver.url(), "send_traceparent": true,
    });
    api.endpoint(&endpoint).await?;
    let address = format!("http://127.0.0.1:{}", lab.ports()?.grpc);
    let mut client = PaymentServiceClient::connect(address).await?;
    let (id, header) = of_caller();
    let mut request = tonic::Request::new(CreatePaymentRequest {
        amount: 1,
        currency: "USD".to_owned(),
        merchant_id: merchant,
        ..CreatePaymentRequest::default()
    });
    request.metadata_mut().insert("traceparent", header.parse()?);
    request.metadata_mut().insert("tracestate", "congo=t61rcWkgMzE".parse()?);
    let CreatePaymentResponse { payment } = client.create(request).await?.into_inner();
    ensure!(payment.is_some());
    let webhook = receiver.wait_for(1, SOON).await?.remove(0);
    let trace = lab
        .traces()?
        .read(&id, |trace| {
            let transaction = begins_well(trace, "posthorn.v1.PaymentService/Create")?;
            let server = trace.only("posthorn.v1.PaymentService/Create")?;
            ensure!(transaction.parent.as_ref() == Some(&server.id));
            ensure!(turns(trace)?.len() == 1);
            Ok(())
        })
        .await?;
    let attempt = &trace.only("attempt 1")?.id;
    ensure!(webhook.header("traceparent") == format!("00-{id}-{attempt}-01"));
    ensure!(webhook.header("tracestate").is_empty(), "it is meant for no merchant");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_does_not_sample_is_not_traced_and_is_delivered() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("unsampled");
    api.merchant(&merchant, receiver.url()).await?;
    let (unseen, header) = of_caller();
    pay(lab, &merchant, &header.replace("-01", "-00")).await?;
    let (seen, header) = of_caller();
    pay(lab, &merchant, &header).await?;
    receiver.wait_for(2, SOON).await?;
    // Both were delivered by one worker, in order: when the second is there, the first is not late.
    let traces = lab.traces()?;
    traces.read(&seen, |trace| trace.only("attempt 1").map(|_| ())).await?;
    let api = posthorn_tests::Api::new(&format!("http://127.0.0.1:{}", lab.ports()?.traces))?;
    let (status, _) = api.send("GET", &format!("/api/traces/{unseen}"), &[], "").await?;
    ensure!(status == 404, "{status}");
    Ok(())
}
