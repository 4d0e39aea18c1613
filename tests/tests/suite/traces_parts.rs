//! What a trace tells of its attempts: where the time went, and why each of them was made.

use std::time::Duration;

use anyhow::{Context, ensure};
use posthorn_tests::{Answer, Lab, Receiver, Span, Trace, until};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::traces::{attempted_well, begins_well, configure, hasten, of_caller, pay, turns};
use crate::{merchant, shared_lab};

/// What a slow merchant takes, far more than all else of an attempt.
const SLOW: Duration = Duration::from_secs(1);

/// The merchant answers late, and then not at all: the time is in its POST, and nowhere else.
pub(crate) async fn is_slow(lab: &Lab) -> anyhow::Result<()> {
    let (api, receiver, traces) = (lab.api()?, Receiver::start().await?, lab.traces()?);
    let merchant = merchant("traced-slow");
    let endpoint = api.merchant(&merchant, receiver.url()).await?;
    let policy = json!({
        "backoff_initial_ms": 200, "backoff_max_ms": 400, "attempt_timeout_ms": 2_000,
    });
    configure(lab, &endpoint, policy).await?;
    receiver.script([Answer::Late(SLOW)]);
    let (late, header) = of_caller();
    pay(lab, &merchant, &header).await?;
    traces
        .read(&late, |trace| {
            begins_well(trace, "POST /payments")?;
            let (turn, attempt) = *turns(trace)?.first().context("no turn")?;
            attempted_well(trace, turn, attempt, 200)?;
            takes(trace.one_below(attempt, "POST")?, SLOW)
        })
        .await?;

    receiver.script([Answer::Hang]);
    let (never, header) = of_caller();
    pay(lab, &merchant, &header).await?;
    traces
        .read(&never, |trace| {
            begins_well(trace, "POST /payments")?;
            let turns = turns(trace)?;
            ensure!(turns.len() == 2, "{} turns", turns.len());
            let post = trace.one_below(turns[0].1, "POST")?;
            ensure!(post.tag("error.type") == "timeout", "{post:?}");
            ensure!(post.tag("http.response.status_code").is_empty(), "{post:?}");
            takes(post, 2 * SLOW)?;
            attempted_well(trace, turns[1].0, turns[1].1, 200)
        })
        .await?;
    Ok(())
}

/// It took that long, and not twice as long.
fn takes(span: &Span, time: Duration) -> anyhow::Result<()> {
    let took = Duration::from_micros(span.duration_us);
    ensure!(time <= took && took < 2 * time, "{} took {took:?}", span.name);
    Ok(())
}

/// The reasons of a trace's attempts, the first one first.
fn reasons(trace: &Trace) -> anyhow::Result<Vec<String>> {
    Ok(turns(trace)?.iter().map(|(_, attempt)| attempt.tag("posthorn.attempt.reason")).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_slow_merchant_is_in_its_post() -> anyhow::Result<()> {
    is_slow(shared_lab().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_ours_and_a_redelivery_are_reasons_that_a_trace_tells() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, receiver, traces) = (lab.api()?, Receiver::start().await?, lab.traces()?);
    let merchant = merchant("traced-reasons");
    let endpoint = api.merchant(&merchant, receiver.url()).await?;
    let (id, header) = of_caller();
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    // It names no payment and carries no payload: until somebody mends it, that is our fault.
    let event: Uuid = sqlx::query_scalar(
        "insert into domain_events (event_type, object_id, merchant_id, traceparent)
         values ('note.written', 'note', $1, $2) returning id",
    )
    .bind(&merchant)
    .bind(&header)
    .fetch_one(&mut db)
    .await?;
    let fault = "again; our fault (payload_missing) with this delivery";
    let has = |count: usize| {
        move |trace: &Trace| {
            let reasons = reasons(trace)?;
            ensure!(reasons.len() >= count, "{reasons:?}");
            Ok(())
        }
    };
    let trace = traces.read(&id, has(2)).await?;
    ensure!(reasons(&trace)?[..2] == ["first", fault], "{:?}", reasons(&trace)?);

    sqlx::query("update domain_events set payload = '{}' where id = $1")
        .bind(event)
        .execute(&mut db)
        .await?;
    sqlx::query("update deliveries set next_attempt_at = now() where event_id = $1")
        .bind(event)
        .execute(&mut db)
        .await?;
    api.post(&format!("/v1/endpoints/{endpoint}/resume"), &json!({})).await?;
    let trace = traces.read(&id, has(3)).await?;
    ensure!(reasons(&trace)?[2] == fault, "{:?}", reasons(&trace)?);
    receiver.wait_for(1, Duration::from_secs(30)).await?;

    let delivery = turns(&trace)?[0].0.tag("posthorn.delivery.id");
    let path = format!("/v1/endpoints/{endpoint}/redeliver");
    api.post(&path, &json!({ "delivery_id": delivery })).await?;
    let trace = traces.read(&id, has(4)).await?;
    let expected = "redelivered: it was over, and somebody put it back in line";
    ensure!(reasons(&trace)?[3] == expected, "{:?}", reasons(&trace)?);
    Ok(())
}

/// What somebody asks about most often has not been attempted yet: its endpoint is paused. The searches
/// of docs/traces.md find it all the same.
pub(crate) async fn is_found_before_it_is_attempted(lab: &Lab) -> anyhow::Result<()> {
    let (api, traces) = (lab.api()?, lab.traces()?);
    let merchant = merchant("traced-paused");
    let endpoint = api.merchant(&merchant, Receiver::start().await?.url()).await?;
    api.post(&format!("/v1/endpoints/{endpoint}/pause"), &json!({})).await?;
    let (by_api, header) = of_caller();
    let payment = pay(lab, &merchant, &header).await?;
    let (by_sql, header) = of_caller();
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    let written = sql_pays(&mut db, &merchant, Some(&header)).await?;
    for (service, payment, trace) in [
        ("posthorn-api", &payment, &by_api),
        ("posthorn-relay", &written, &by_sql),
        ("posthorn-relay", &payment, &by_api),
    ] {
        until(&format!("{service} says where {payment} is"), Duration::from_secs(30), async || {
            let found = traces.find(service, "posthorn.payment.id", payment).await?;
            ensure!(found == [&**trace], "{found:?}");
            Ok(())
        })
        .await?;
    }
    let all = traces.find("posthorn-relay", "posthorn.endpoint.id", &endpoint).await?;
    ensure!(all.len() == 2 && all.contains(&by_api) && all.contains(&by_sql), "{all:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_at_a_paused_endpoint_is_found_by_the_search_that_the_documentation_tells()
-> anyhow::Result<()> {
    is_found_before_it_is_attempted(shared_lab().await?).await
}

/// A payment that SQL makes, in a trace of a caller's; its id.
async fn sql_pays(
    db: &mut PgConnection,
    merchant: &str,
    traceparent: Option<&str>,
) -> anyhow::Result<String> {
    let mut tx = db.begin().await?;
    if let Some(traceparent) = traceparent {
        sqlx::query("select set_config('posthorn.traceparent', $1, true)")
            .bind(traceparent)
            .execute(&mut *tx)
            .await?;
    }
    let payment = sqlx::query_scalar(
        "insert into payments (merchant_id, amount, currency) values ($1, 1, 'USD')
             returning 'pay_' || id",
    )
    .bind(merchant)
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(payment)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sql_writes_is_in_the_trace_that_its_transaction_names_or_found_by_its_id()
-> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, receiver, traces) = (lab.api()?, Receiver::start().await?, lab.traces()?);
    let merchant = merchant("traced-sql");
    let endpoint = api.merchant(&merchant, receiver.url()).await?;
    hasten(lab, &endpoint).await?;
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    let (id, header) = of_caller();
    sql_pays(&mut db, &merchant, Some(&header)).await?;
    let its_span = header.split('-').nth(2).map(str::to_owned);
    traces
        .read(&id, |trace| {
            for name in ["publish webhook-events", "process webhook-wakes"] {
                ensure!(trace.only(name)?.parent == its_span, "{name}");
            }
            Ok(())
        })
        .await?;

    // Without one there is nothing to be below.
    receiver.script([Answer::Status(500)]);
    let payment = sql_pays(&mut db, &merchant, None).await?;
    until("each turn is found by the payment's id", Duration::from_secs(30), async || {
        let found = traces.find("posthorn-worker", "posthorn.payment.id", &payment).await?;
        ensure!(found.len() == 2, "{found:?}");
        Ok(())
    })
    .await
}
