//! The reference design's crash test, for every part: a hundred payments, the part killed with -9
//! in the middle, a hundred delivered.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use posthorn_tests::{Api, Lab, Receiver, invocations_of, until};
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::merchant;

const PAYMENTS: usize = 100;
/// Between two payments: 50 a second.
const PACE: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two payments of another merchant: each needs a record and a wake of its own. (A wake that
/// was under way when its part died takes care of a busy endpoint by itself.)
const CALM: Duration = Duration::from_millis(250);
/// Longest time without a delivery, while there are payments to deliver.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// A JVM starts in three seconds on a machine that has time, and was seen to take 25: this much is
/// added for each process that runs or waits for a core, by the load average.
const SLACK: Duration = Duration::from_secs(1);
/// From the moment at which the part answers again; that is nobody's fault but ours.
const AFTER_IT_IS_BACK_MAX: Duration = Duration::from_secs(4);
/// An attempt that found no payload has its endpoint wait: 5 s, and a fifth more.
const NO_PAYLOAD_WAIT: Duration = Duration::from_secs(6);

/// Everything that the test before has frozen, killed or sent elsewhere is back.
const WELL: Duration = Duration::from_secs(90);

/// The stack in which things are killed; one test at a time, and each begins with a stack that is
/// well.
pub(crate) async fn lab() -> anyhow::Result<MutexGuard<'static, Lab>> {
    static LAB: OnceCell<Mutex<Lab>> = OnceCell::const_new();
    let lab = LAB.get_or_try_init(async || anyhow::Ok(Mutex::new(Lab::start().await?))).await?;
    let lab = lab.lock().await;
    is_well(&lab).await.with_context(|| {
        format!(
            "the stack is not well after the test before; its output ends with:\n{}",
            lab.output_tail()
        )
    })?;
    Ok(lab)
}

/// Waits until the roles that deliver are ready and a payment has come through them, to its end:
/// nothing of it is left for the test that follows.
async fn is_well(lab: &Lab) -> anyhow::Result<()> {
    let began = Instant::now();
    let left = || WELL.saturating_sub(began.elapsed());
    let (ports, api, receiver) = (lab.ports()?, lab.api()?, Receiver::start().await?);
    until("the worker and the relay are ready", left(), async || {
        for port in [ports.worker_health, ports.relay_health] {
            let role = Api::new(&format!("http://127.0.0.1:{port}"))?;
            let (status, said) = role.send("GET", "/readyz", &[], "").await?;
            ensure!(status == 200, "{status} {said}");
        }
        Ok(())
    })
    .await?;
    let merchant = merchant("well");
    let endpoint = until("an endpoint is made", left(), async || {
        api.merchant(&merchant, receiver.url()).await
    })
    .await?;
    acknowledged(&api, &merchant, 1).await?;
    receiver.wait_for(1, left()).await?;
    let restate = Api::new(&format!("http://127.0.0.1:{}", ports.restate_admin))?;
    until("it is settled, and its wake is over", left(), async || {
        let status = api.get(&format!("/v1/endpoints/{endpoint}/status")).await?;
        ensure!(status["waiting"] == 0, "{status}");
        let left = invocations_of(&restate, &endpoint).await?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await
}

/// What a machine that is busy may take longer: `each`, for every process that runs or waits for a
/// core.
pub(crate) fn slack(each: Duration) -> anyhow::Result<Duration> {
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let load: f64 = load.split(' ').next().context("no load average")?.parse()?;
    Ok(each.mul_f64(load))
}

/// Makes a payment that must be acknowledged: a caller that gets no answer asks again with its key.
async fn acknowledged(api: &Api, merchant: &str, amount: usize) -> anyhow::Result<String> {
    let body = json!({ "merchant_id": merchant, "amount": amount, "currency": "USD" });
    let key = format!("{merchant}-{amount}");
    until("the payment is acknowledged", PATIENCE, async || {
        let headers = [("idempotency-key", key.as_str())];
        let (status, answer) = api.send("POST", "/payments", &headers, body.to_string()).await?;
        ensure!(status == 201, "{status} {answer}");
        Ok(answer["id"].as_str().context("no id")?.to_owned())
    })
    .await
}

/// Pays calmly until a payment is delivered that was made when the part was back.
async fn stand_by(
    api: &Api,
    merchant: &str,
    receiver: &Receiver,
    is_back: &AtomicBool,
) -> anyhow::Result<()> {
    let mut amount = 0;
    let mut last: Option<String> = None;
    loop {
        amount += 1;
        let counts = is_back.load(Ordering::Relaxed);
        let payment = acknowledged(api, merchant, amount).await?;
        if counts {
            last.get_or_insert(payment);
        }
        tokio::time::sleep(CALM).await;
        let is_delivered = |payment: &String| {
            receiver.accepted().iter().any(|request| request.payment() == *payment)
        };
        if last.as_ref().is_some_and(is_delivered) {
            return Ok(());
        }
    }
}

async fn crash(part: &'static str) -> anyhow::Result<()> {
    let lab = lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant(part);
    api.merchant(&merchant, receiver.url()).await?;
    let (bystander, calm) = (crate::merchant(&format!("beside-{part}")), Receiver::start().await?);
    api.merchant(&bystander, calm.url()).await?;
    let is_back = AtomicBool::new(false);
    let pay = async {
        let mut payments = Vec::new();
        let mut tick = tokio::time::interval(PACE);
        for amount in 1..=PAYMENTS {
            tick.tick().await;
            payments.push(acknowledged(&api, &merchant, amount).await?);
        }
        anyhow::Ok(payments)
    };
    let strike = async {
        until("half of them are on their way", PATIENCE, async || {
            ensure!(receiver.requests().len() >= PAYMENTS / 3);
            Ok(())
        })
        .await?;
        let killed = Instant::now();
        lab.kill(part).await?;
        is_back.store(true, Ordering::Relaxed);
        anyhow::Ok((killed, Instant::now()))
    };
    let stand_by = stand_by(&api, &bystander, &calm, &is_back);
    let (payments, (killed, back), ()) =
        tokio::time::timeout(PATIENCE * 2, async { tokio::try_join!(pay, strike, stand_by) })
            .await??;
    until("all of them are delivered", PATIENCE, async || {
        let accepted = receiver.accepted();
        let seen: HashSet<String> = accepted.iter().map(|r| r.payment()).collect();
        let lost = payments.iter().filter(|payment| !seen.contains(*payment)).count();
        ensure!(lost == 0, "{lost} of {PAYMENTS} are missing");
        Ok(())
    })
    .await?;
    in_order(&receiver, &payments)?;
    // One endpoint sends one request at a time: a crash repeats at most that one.
    let extra = receiver.accepted().len() - PAYMENTS;
    ensure!(extra <= 1, "{extra} duplicates");
    in_time(part, &calm, killed, back)
}

/// The silence that the merchant hears is short. What was on its way comes first; then payments wait
/// until the part is back.
fn in_time(part: &str, receiver: &Receiver, killed: Instant, back: Instant) -> anyhow::Result<()> {
    let accepted = receiver.accepted();
    let later = accepted.iter().map(|request| request.at).filter(|at| *at > killed);
    let moments: Vec<Instant> = std::iter::once(killed).chain(later).collect();
    let silence = moments.windows(2).max_by_key(|pair| pair[1] - pair[0]).context("no delivery")?;
    let (took, first) = (silence[1] - silence[0], silence[1]);
    eprintln!("{part}: back after {:.1?}, a silence of {took:.1?}", back - killed);
    let slack = slack(SLACK)?;
    let longest = SILENCE_MAX + slack;
    ensure!(took <= longest, "a silence of {took:.1?}, allowed are {longest:.1?}");
    let since_back = first.saturating_duration_since(back);
    // What took long to start takes as long to go on: the machine is busy.
    let allowed = AFTER_IT_IS_BACK_MAX.max((back - killed) / 2) + slack;
    let wait = if part == "data-service" { NO_PAYLOAD_WAIT } else { Duration::ZERO };
    ensure!(since_back <= allowed + wait, "{since_back:.1?} from its return to a delivery");
    Ok(())
}

/// First arrivals are in the order of the payments: each was acknowledged before the next began.
fn in_order(receiver: &Receiver, payments: &[String]) -> anyhow::Result<()> {
    let mut seen = HashSet::new();
    let first: Vec<String> = receiver
        .accepted()
        .iter()
        .map(|request| request.payment())
        .filter(|payment| seen.insert(payment.clone()))
        .collect();
    ensure!(first == payments, "out of order");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_of_a_hundred_when_the_worker_is_killed() -> anyhow::Result<()> {
    crash("worker").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_of_a_hundred_when_the_relay_is_killed() -> anyhow::Result<()> {
    crash("relay").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_of_a_hundred_when_the_api_is_killed() -> anyhow::Result<()> {
    crash("api").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_of_a_hundred_when_the_data_service_is_killed() -> anyhow::Result<()> {
    crash("data-service").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_of_a_hundred_when_kafka_is_killed() -> anyhow::Result<()> {
    crash("kafka").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_of_a_hundred_when_restate_is_killed() -> anyhow::Result<()> {
    crash("restate").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_of_a_hundred_when_postgresql_is_killed() -> anyhow::Result<()> {
    crash("postgres").await
}
