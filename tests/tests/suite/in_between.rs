//! What comes in between while a slice is under way, and what stands in the way of one on our side.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use posthorn_tests::{Answer, Api, Receiver, until};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::{merchant, shared_lab};

const SOON: Duration = Duration::from_secs(45);

fn amounts(requests: &[posthorn_tests::Request]) -> Vec<i64> {
    requests.iter().filter_map(|request| request.json()["data"]["amount"].as_i64()).collect()
}

async fn waiting(database: &str, endpoint: &str) -> anyhow::Result<Vec<Uuid>> {
    let mut db = PgConnection::connect(database).await?;
    Ok(sqlx::query_scalar("select id from deliveries where endpoint_id = $1 order by sequence")
        .bind(Uuid::parse_str(endpoint.trim_start_matches("ep_"))?)
        .fetch_all(&mut db)
        .await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_is_skipped_while_another_is_under_way_is_not_sent() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, receiver, database) = (lab.api()?, Receiver::start().await?, lab.database_url()?);
    let merchant = merchant("between");
    let endpoint = api.merchant(&merchant, receiver.url()).await?;
    let tell = async |command: &str, body: Value| {
        api.post(&format!("/v1/endpoints/{endpoint}/{command}"), &body).await
    };
    // One look sees all three.
    tell("pause", json!({})).await?;
    for amount in 1..=3 {
        api.payment(&merchant, amount).await?;
    }
    receiver.rule(|amount| (amount == 1).then_some(Answer::Late(Duration::from_secs(4))));
    let second = waiting(&database, &endpoint).await?[1];
    tell("resume", json!({})).await?;
    until("the first one is under way", SOON, async || {
        ensure!(!receiver.requests().is_empty(), "nothing came");
        Ok(())
    })
    .await?;
    tell("skip", json!({ "delivery_id": format!("dlv_{second}") })).await?;
    receiver.wait_for(2, SOON).await?;
    let seen = amounts(&receiver.requests());
    ensure!(seen == [1, 3], "{seen:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_succeed_is_stuck_at_once_and_goes_on_when_it_is_mended()
-> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, receiver, database) = (lab.api()?, Receiver::start().await?, lab.database_url()?);
    let restate = Api::new(&format!("http://127.0.0.1:{}", lab.ports()?.restate_admin))?;
    let merchant = merchant("stuck");
    let endpoint = api.merchant(&merchant, receiver.url()).await?;
    let mut db = PgConnection::connect(&database).await?;
    let mut set_policy = async |policy: Value| {
        sqlx::query("update endpoints set policy = $2 where id = $1")
            .bind(Uuid::parse_str(endpoint.trim_start_matches("ep_"))?)
            .bind(policy)
            .execute(&mut db)
            .await?;
        anyhow::Ok(())
    };
    // No version of ours writes this, and none can read it.
    set_policy(json!({ "retries": 3 })).await?;
    api.payment(&merchant, 1).await?;
    let began = Instant::now();
    let stuck = until("it says that it is stuck", SOON, async || {
        let query = format!(
            "select value_utf8 from state where service_name = 'Endpoint'
             and service_key = '{endpoint}' and key = 'stuck'"
        );
        let accept = [("accept", "application/json")];
        let body = json!({ "query": query }).to_string();
        let (_, answer) = restate.send("POST", "/query", &accept, body).await?;
        Ok(answer["rows"][0]["value_utf8"].as_str().context("not stuck")?.to_owned())
    })
    .await?;
    // What may pass is tried for eight seconds.
    ensure!(began.elapsed() < Duration::from_secs(7), "it took {:?}", began.elapsed());
    ensure!(stuck.contains("retries"), "it does not say why: {stuck}");
    set_policy(json!({})).await?;
    receiver.wait_for(1, SOON).await?;
    Ok(())
}
