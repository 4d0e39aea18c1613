//! The reference design's crash test, for every part: a hundred payments, the part killed with -9
//! in the middle, a hundred delivered.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context, ensure};
use posthorn_tests::{Api, Lab, Receiver, until};
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::merchant;

const PAYMENTS: usize = 100;
/// Between two payments: 50 a second.
const PACE: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(90);

/// The stack in which things are killed; one test at a time.
pub(crate) async fn lab() -> anyhow::Result<MutexGuard<'static, Lab>> {
    static LAB: OnceCell<Mutex<Lab>> = OnceCell::const_new();
    let lab = LAB.get_or_try_init(async || anyhow::Ok(Mutex::new(Lab::start().await?))).await?;
    Ok(lab.lock().await)
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

async fn crash(part: &'static str) -> anyhow::Result<()> {
    let lab = lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant(part);
    api.merchant(&merchant, receiver.url()).await?;
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
        lab.kill(part).await
    };
    let (payments, struck) = tokio::join!(pay, strike);
    let payments = payments?;
    struck?;
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
