//! The path of a payment: from the commit to the merchant's 200.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::ensure;
use posthorn_tests::{Answer, Receiver, until};
use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::{merchant, shared_lab};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_designs_commands_work_as_they_are_written() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, ports) = (lab.api()?, lab.ports()?);
    let url = format!("http://127.0.0.1:{}/webhooks/demo", ports.simulator);
    api.merchant("demo", &url).await?;
    let answer = api.post("/payments", &json!({ "amount": 1000, "currency": "USD" })).await?;
    ensure!(answer["status"] == "succeeded" && answer["amount"] == 1000, "{answer}");
    let payment = answer["id"].as_str().unwrap_or_default();

    let data = posthorn_tests::Api::new(&format!("http://127.0.0.1:{}", ports.data_service))?;
    let payload = data.get(&format!("/payload/{payment}")).await?;
    ensure!(payload["id"] == payment && payload["currency"] == "USD", "{payload}");

    let simulator = posthorn_tests::Api::new(&format!("http://127.0.0.1:{}", ports.simulator))?;
    until("the simulator has it", SOON, async || {
        let stats = simulator.get("/stats").await?;
        let demo = &stats["endpoints"]["demo"];
        ensure!(demo["distinct"].as_u64() >= Some(1), "{stats}");
        ensure!(demo["duplicates"] == 0 && demo["out_of_order"] == 0, "{stats}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_carries_the_event_the_payment_and_the_standards_headers() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("webhook");
    api.merchant(&merchant, receiver.url()).await?;
    let payment = api.payment(&merchant, 4_200).await?;
    let webhook = receiver.wait_for(1, SOON).await?.remove(0);
    let body = webhook.json();
    ensure!(body["type"] == "payment.succeeded", "{body}");
    ensure!(body["data"]["id"] == payment.as_str() && body["data"]["amount"] == 4_200, "{body}");
    ensure!(webhook.header("webhook-id").starts_with("evt_"));
    ensure!(webhook.header("webhook-timestamp").parse::<u64>().is_ok());
    ensure!(webhook.header("webhook-signature").starts_with("v1,"));
    ensure!(webhook.header("user-agent").starts_with("Posthorn/"));
    // Minified and exactly one object.
    ensure!(serde_json::to_vec(&body)?.len() == webhook.body.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_is_rolled_back_delivers_nothing() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("rollback");
    api.merchant(&merchant, receiver.url()).await?;
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    let mut tx = db.begin().await?;
    sqlx::query("insert into payments (merchant_id, amount, currency) values ($1, 666, 'USD')")
        .bind(&merchant)
        .execute(&mut *tx)
        .await?;
    tx.rollback().await?;
    let payment = api.payment(&merchant, 1).await?;
    receiver.wait_for(1, SOON).await?;
    let seen: Vec<String> = receiver.requests().iter().map(|r| r.payment()).collect();
    ensure!(seen == [payment], "{seen:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_payments_over_ten_merchants_arrive_once_each_in_order() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let api = lab.api()?;
    let mut merchants = Vec::new();
    for _ in 0..10 {
        let (name, receiver) = (merchant("ten"), Receiver::start().await?);
        api.merchant(&name, receiver.url()).await?;
        merchants.push((name, receiver, Vec::new()));
    }
    for amount in 1..=20 {
        for (name, _, sent) in &mut merchants {
            sent.push(api.payment(name, amount).await?);
        }
    }
    for (name, receiver, sent) in &merchants {
        receiver.wait_for(20, SOON).await?;
        let seen: Vec<String> = receiver.requests().iter().map(|r| r.payment()).collect();
        // Each was answered before the next was sent, so their order is one.
        ensure!(seen == *sent, "{name}: sent {sent:?}, seen {seen:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_changes_many_payments_writes_an_event_for_each() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("many");
    api.merchant(&merchant, receiver.url()).await?;
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    sqlx::query(
        "insert into payments (merchant_id, amount, currency, status)
         select $1, n, 'EUR', 'pending' from generate_series(1, 30) n",
    )
    .bind(&merchant)
    .execute(&mut db)
    .await?;
    sqlx::query("update payments set status = 'succeeded' where merchant_id = $1 and amount > 10")
        .bind(&merchant)
        .execute(&mut db)
        .await?;
    // A change that is none of the state's makes no event.
    sqlx::query("update payments set updated_at = now() where merchant_id = $1")
        .bind(&merchant)
        .execute(&mut db)
        .await?;
    let seen = receiver.wait_for(50, SOON).await?;
    let count = |kind: &str| seen.iter().filter(|r| r.json()["type"] == kind).count();
    ensure!(count("payment.pending") == 30 && count("payment.succeeded") == 20);
    let ids: HashSet<&str> = seen.iter().map(|r| r.header("webhook-id")).collect();
    ensure!(ids.len() == 50);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merchant_that_fails_three_times_gets_it_when_it_recovers() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("recovers");
    let endpoint = api.merchant(&merchant, receiver.url()).await?;
    hasten(&lab.database_url()?, &endpoint).await?;
    try_for_longer(&lab.database_url()?, &endpoint).await?;
    receiver.script([Answer::Status(500), Answer::Status(500), Answer::Status(500)]);
    let first = api.payment(&merchant, 1).await?;
    let second = api.payment(&merchant, 2).await?;
    receiver.wait_for(2, SOON).await?;
    let seen: Vec<_> = receiver.requests().iter().map(|r| (r.payment(), r.answered)).collect();
    let head = |status| (first.clone(), Some(status));
    ensure!(seen == [head(500), head(500), head(500), head(200), (second, Some(200))], "{seen:?}");
    let ids: HashSet<String> =
        receiver.requests()[..4].iter().map(|r| r.header("webhook-id").to_owned()).collect();
    ensure!(ids.len() == 1, "a retry has the same webhook-id");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_steps_aside_and_comes_back_on_its_own_schedule() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("refused");
    let endpoint = api.merchant(&merchant, receiver.url()).await?;
    hasten(&lab.database_url()?, &endpoint).await?;
    receiver.script([Answer::Status(400)]);
    // Both are there before the first is refused: its own time is only a second away.
    api.post(&format!("/v1/endpoints/{endpoint}/pause"), &json!({})).await?;
    let refused = api.payment(&merchant, 1).await?;
    let next = api.payment(&merchant, 2).await?;
    api.post(&format!("/v1/endpoints/{endpoint}/resume"), &json!({})).await?;
    receiver.wait_for(2, SOON).await?;
    let seen: Vec<_> = receiver.requests().iter().map(|r| (r.payment(), r.answered)).collect();
    let expected = [(refused.clone(), Some(400)), (next, Some(200)), (refused, Some(200))];
    ensure!(seen == expected, "{seen:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_between_event_and_delivery_shows_in_the_delivery() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("refund");
    let endpoint = api.merchant(&merchant, receiver.url()).await?;
    hasten(&lab.database_url()?, &endpoint).await?;
    try_for_longer(&lab.database_url()?, &endpoint).await?;
    // Unwell until there is a refund.
    receiver.rule(|_| Some(Answer::Status(500)));
    let payment = api.payment(&merchant, 1).await?;
    until("the first attempt", SOON, async || {
        ensure!(!receiver.requests().is_empty());
        Ok(())
    })
    .await?;
    api.post(&format!("/payments/{payment}/refund"), &json!({})).await?;
    receiver.rule(|_| None);
    let seen: Vec<_> = receiver.wait_for(2, SOON).await?.iter().map(|r| r.json()).collect();
    let kinds: Vec<_> = seen.iter().map(|body| body["type"].as_str().unwrap_or("")).collect();
    ensure!(kinds == ["payment.succeeded", "payment.refunded"], "{kinds:?}");
    ensure!(seen[0]["data"]["status"] == "refunded", "{}", seen[0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merchant_that_hangs_stops_nobody_else() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let api = lab.api()?;
    let (hanging, healthy) = (Receiver::start().await?, Receiver::start().await?);
    let (stuck, well) = (merchant("hangs"), merchant("well"));
    hanging.script([Answer::Hang; 20]);
    api.merchant(&stuck, hanging.url()).await?;
    api.merchant(&well, healthy.url()).await?;
    for amount in 1..=5 {
        api.payment(&stuck, amount).await?;
    }
    until("it hangs", SOON, async || {
        ensure!(!hanging.requests().is_empty());
        Ok(())
    })
    .await?;
    api.payment(&well, 1).await?;
    healthy.wait_for(1, SOON).await?;
    ensure!(hanging.requests().len() == 1, "its deliveries go one at a time");
    Ok(())
}

/// Makes an endpoint's clocks short enough for a test.
pub(crate) async fn hasten(database_url: &str, endpoint: &str) -> anyhow::Result<()> {
    configure(database_url, endpoint, "ordered").await
}

/// Tries what finds the endpoint unwell for longer than a machine may be busy.
pub(crate) async fn try_for_longer(database_url: &str, endpoint: &str) -> anyhow::Result<()> {
    sqlx::query("update endpoints set policy = policy || '{\"schedule_s\": [5, 5]}' where id = $1")
        .bind(uuid::Uuid::parse_str(endpoint.trim_start_matches("ep_"))?)
        .execute(&mut PgConnection::connect(database_url).await?)
        .await?;
    Ok(())
}

/// What `hasten` does, in another order.
pub(crate) async fn configure(
    database_url: &str,
    endpoint: &str,
    ordering: &str,
) -> anyhow::Result<()> {
    let mut db = PgConnection::connect(database_url).await?;
    let policy = json!({ "backoff_initial_ms": 200, "backoff_max_ms": 400, "schedule_s": [1, 1] });
    let changed = sqlx::query(
        "update endpoints set policy = $2, ordering = $3, config_version = config_version + 1
         where id = $1",
    )
    .bind(uuid::Uuid::parse_str(endpoint.trim_start_matches("ep_"))?)
    .bind(policy)
    .bind(ordering)
    .execute(&mut db)
    .await?;
    ensure!(changed.rows_affected() == 1, "no endpoint {endpoint}");
    Ok(())
}
