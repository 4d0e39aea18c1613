//! A replay of a step that Restate has acknowledged makes nothing again, no span either.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use posthorn_tests::{Answer, Lab, Receiver, Trace, until};
use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

use crate::standstill::commits_wait;
use crate::{crash, merchant};

const SOON: Duration = Duration::from_secs(30);
/// A worker that starts again, and Restate's own patience with it.
const BACK: Duration = Duration::from_secs(90);
/// The first request takes so long: the second payment commits meanwhile, after the first look.
const ON_ITS_WAY: Duration = Duration::from_secs(2);
/// The endpoint waits for 16 to 24 s; the sweeper would come 60 s after that.
const BEFORE_THE_SWEEPER: Duration = Duration::from_secs(65);
const WORKER: &str = "posthorn-worker";

/// A payment in a trace of its own; the trace's id.
async fn pay(lab: &Lab, merchant: &str, amount: u32) -> anyhow::Result<String> {
    let id = Uuid::new_v4().simple().to_string();
    let traceparent = format!("00-{id}-b7ad6b7169203331-01");
    let body = json!({ "merchant_id": merchant, "amount": amount, "currency": "USD" }).to_string();
    let headers = [("traceparent", &*traceparent)];
    let (status, answer) = lab.api()?.send("POST", "/payments", &headers, body).await?;
    ensure!(status == 201, "{status} {answer}");
    Ok(id)
}

/// Of this endpoint's policy, everything else is the default.
async fn set_policy(lab: &Lab, endpoint: &str, policy: serde_json::Value) -> anyhow::Result<()> {
    sqlx::query("update endpoints set policy = $2 where id = $1")
        .bind(Uuid::parse_str(endpoint.trim_start_matches("ep_"))?)
        .bind(policy)
        .execute(&mut PgConnection::connect(&lab.database_url()?).await?)
        .await?;
    Ok(())
}

pub(crate) fn signal(lab: &Lab, name: &str, signal: Signal) -> anyhow::Result<()> {
    let status = lab.status()?;
    let service = status.services.iter().find(|service| service.name == name);
    let pid = service.and_then(|service| service.pid).with_context(|| format!("no {name}"))?;
    Ok(kill(Pid::from_raw(i32::try_from(pid)?), signal)?)
}

async fn come(receiver: &Receiver, requests: usize) -> anyhow::Result<()> {
    until(&format!("{requests} requests"), SOON, async || {
        let come = receiver.requests().len();
        ensure!(come == requests, "{come} came");
        Ok(())
    })
    .await
}

/// The one turn in `trace`, as it was exported: its attempt's id and its wake's invocation.
fn turn(trace: &Trace) -> anyhow::Result<(String, String)> {
    let (turn, attempt) = (trace.only("process webhook-wakes")?, trace.only("attempt 1")?);
    ensure!(turn.tag("posthorn.outcome") == "delivered", "{}", turn.tag("posthorn.outcome"));
    Ok((attempt.tag("posthorn.attempt.id"), turn.tag("restate.invocation.id")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_replayed_makes_no_second_span() -> anyhow::Result<()> {
    let lab = crash::lab().await?;
    let (api, receiver, traces) = (lab.api()?, Receiver::start().await?, lab.traces()?);
    let merchant = merchant("replayed");
    let endpoint = api.merchant(&merchant, receiver.url()).await?;
    set_policy(&lab, &endpoint, json!({ "attempt_timeout_ms": 30_000 })).await?;
    let seconds = AtomicUsize::new(0);
    receiver.rule(move |amount| match amount {
        1 => Some(Answer::Late(ON_ITS_WAY)),
        _ => (seconds.fetch_add(1, Ordering::SeqCst) == 0).then_some(Answer::Hang),
    });
    let first = pay(&lab, &merchant, 1).await?;
    come(&receiver, 1).await?;
    let second = pay(&lab, &merchant, 2).await?;
    // The second hangs in the wake's second step: the first one was acknowledged.
    come(&receiver, 2).await?;
    let before = traces.read(&first, |trace| turn(trace).map(|_| ())).await?;
    let (attempt, invocation) = turn(&before)?;

    lab.kill("worker").await?;
    receiver.wait_for(2, BACK).await?;
    let replayed = traces.read(&second, |trace| turn(trace).map(|_| ())).await?;
    // It was the same wake: Restate began it again, and had its first step from the journal.
    ensure!(turn(&replayed)?.1 == invocation, "another wake than {invocation}");
    // Spans leave a worker in their order: one of the replay's would be there by now.
    let after = traces.read(&first, |trace| turn(trace).map(|_| ())).await?;
    ensure!(after.spans.len() == before.spans.len(), "{}", after.outline());
    ensure!(traces.find(WORKER, "posthorn.attempt.id", &attempt).await? == [&*first]);
    let mut of_the_wake = traces.find(WORKER, "restate.invocation.id", &invocation).await?;
    of_the_wake.sort();
    let mut both = [first, second];
    both.sort();
    ensure!(of_the_wake == both, "{of_the_wake:?}");
    let amounts = receiver.requests().iter().map(|r| r.json()["data"]["amount"].clone()).collect();
    ensure!(serde_json::Value::Array(amounts) == json!([1, 2, 2]), "the first is sent once");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_made_again_arms_the_timer_for_what_the_lost_one_found() -> anyhow::Result<()>
{
    let lab = crash::lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("made-again");
    let endpoint = api.merchant(&merchant, receiver.url()).await?;
    let policy = json!({
        // A wait that a worker is back in.
        "attempt_timeout_ms": 10_000, "backoff_initial_ms": 20_000,
    });
    set_policy(&lab, &endpoint, policy).await?;
    let seconds = AtomicUsize::new(0);
    receiver.rule(move |amount| match amount {
        1 => Some(Answer::Late(ON_ITS_WAY)),
        _ => (seconds.fetch_add(1, Ordering::SeqCst) == 0).then_some(Answer::Hang),
    });
    pay(&lab, &merchant, 1).await?;
    come(&receiver, 1).await?;
    // Nobody announces the second: a wake of its own would look for it as well.
    signal(&lab, "relay", Signal::SIGSTOP)?;
    let done = loses_a_step(&lab, &merchant, &endpoint, &receiver).await;
    signal(&lab, "relay", Signal::SIGCONT)?;
    done
}

/// The worker dies in the step that finds the endpoint unwell, when that is settled.
async fn loses_a_step(
    lab: &Lab,
    merchant: &str,
    endpoint: &str,
    receiver: &Receiver,
) -> anyhow::Result<()> {
    pay(lab, merchant, 2).await?;
    come(receiver, 2).await?;
    // The second step is under way. What it finds is settled, and its worker dies before it hears so.
    let mut admin = PgConnection::connect(&lab.database_url()?).await?;
    admin.execute("alter system set synchronous_standby_names = 'nobody'").await?;
    admin.execute("select pg_reload_conf()").await?;
    let killed = async {
        commits_wait(&lab.database_url()?).await?;
        until("the settle waits for a standby", SOON, async || {
            // This endpoint's: other tests left some in this stack that are still retried.
            let waits: bool = sqlx::query_scalar(
                "select exists (select from pg_stat_activity a
                 join endpoint_runtime r on r.xmax = a.backend_xid
                 where a.wait_event = 'SyncRep' and a.query like '%from settle(%'
                 and r.endpoint_id = $1)",
            )
            .bind(Uuid::parse_str(endpoint.trim_start_matches("ep_"))?)
            .fetch_one(&mut PgConnection::connect(&lab.database_url()?).await?)
            .await?;
            ensure!(waits, "not yet");
            Ok(())
        })
        .await?;
        signal(lab, "worker", Signal::SIGKILL)
    }
    .await;
    admin.execute("alter system reset synchronous_standby_names").await?;
    admin.execute("select pg_reload_conf()").await?;
    killed?;
    until("it is settled", SOON, async || {
        let story = ["endpoint", "history", endpoint, "--database-url", &lab.database_url()?];
        let told = lab.posthorn(&story)?;
        ensure!(told.contains("no answer in time"), "{told}");
        Ok(())
    })
    .await?;
    let accepted = receiver.wait_for(2, BEFORE_THE_SWEEPER).await?;
    ensure!(accepted.len() == 2 && receiver.requests().len() == 3, "{accepted:?}");
    Ok(())
}
