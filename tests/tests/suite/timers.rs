//! The one timer of an endpoint, and the sweeper that makes up for a lost one.

use std::time::Duration;

use anyhow::{Context, ensure};
use posthorn_tests::{Answer, Api, Receiver, invocations_of, until};
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::{merchant, shared_lab};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_waits_has_one_timer_however_many_payments_come() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let restate = Api::new(&format!("http://127.0.0.1:{}", lab.ports()?.restate_admin))?;
    let merchant = merchant("waits");
    let endpoint = api.merchant(&merchant, receiver.url()).await?;
    // A 503 waits for an hour at least: longer than a hundred payments take.
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    sqlx::query(
        "update endpoints set policy = '{\"throttled_wait_min_ms\": 3600000}' where id = $1",
    )
    .bind(Uuid::parse_str(endpoint.trim_start_matches("ep_"))?)
    .execute(&mut db)
    .await?;
    receiver.script([Answer::Status(503); 100]);
    for amount in 1..=100 {
        api.payment(&merchant, amount).await?;
    }
    let timer = until("its only invocation is the timer", SOON, async || {
        let left = invocations_of(&restate, &endpoint).await?;
        ensure!(left.len() == 1 && left[0]["status"] == "scheduled", "{left:?}");
        Ok(left[0].clone())
    })
    .await?;
    ensure!(receiver.requests().len() == 1, "{} requests", receiver.requests().len());

    // What an operator reads: restate kv get Endpoint ep_…
    let state = state_of(&restate, &endpoint).await?;
    ensure!(state["trouble"].as_str().is_some_and(|t| t.starts_with("answers 503")), "{state}");
    ensure!(state["waits_until"].is_string(), "{state}");

    // Whatever comes meanwhile, it stays the only one, and nothing is sent.
    api.payment(&merchant, 101).await?;
    until("the last payment's wake is over", SOON, async || {
        let left = invocations_of(&restate, &endpoint).await?;
        ensure!(left.len() == 1 && left[0]["id"] == timer["id"], "{left:?}");
        Ok(())
    })
    .await?;
    ensure!(receiver.requests().len() == 1, "nothing is sent while it waits");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_that_was_lost_is_made_up_for_by_the_sweeper() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let restate = Api::new(&format!("http://127.0.0.1:{}", lab.ports()?.restate_admin))?;
    let merchant = merchant("swept");
    let endpoint = api.merchant(&merchant, receiver.url()).await?;
    // 500 waits five seconds.
    receiver.script([Answer::Status(500)]);
    api.payment(&merchant, 1).await?;
    let timer = until("its timer", SOON, async || {
        let left = invocations_of(&restate, &endpoint).await?;
        ensure!(left.len() == 1 && left[0]["status"] == "scheduled", "{left:?}");
        Ok(left[0]["id"].as_str().context("an id")?.to_owned())
    })
    .await?;
    restate.send("PATCH", &format!("/invocations/{timer}/kill"), &[], "").await?;
    // Nothing comes any more but the sweeper, a minute later.
    receiver.wait_for(1, Duration::from_secs(150)).await?;
    Ok(())
}

/// The object's copy of where the endpoint stands.
async fn state_of(restate: &Api, endpoint: &str) -> anyhow::Result<Value> {
    let query = format!(
        "select value_utf8 from state where service_name = 'Endpoint'
         and service_key = '{endpoint}' and key = 'state'"
    );
    let body = serde_json::json!({ "query": query }).to_string();
    let (_, answer) =
        restate.send("POST", "/query", &[("accept", "application/json")], body).await?;
    let text = answer["rows"][0]["value_utf8"].as_str().with_context(|| answer.to_string())?;
    Ok(serde_json::from_str(text)?)
}
