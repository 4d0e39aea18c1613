//! A delivery that stepped aside on a fault of ours: it shows wherever somebody looks at its endpoint,
//! and no longer than it is so.

use std::time::Duration;

use anyhow::{Context, ensure};
use posthorn_tests::{Api, Lab, Receiver, Scraped, until};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::{merchant, shared_lab};

/// The gauges are looked up every 15 s.
const SOON: Duration = Duration::from_secs(60);

/// What is told of an endpoint: by its status, by Restate's copy, and by `posthorn why`.
async fn told(lab: &Lab, endpoint: &str) -> anyhow::Result<[Value; 3]> {
    let status = lab.api()?.get(&format!("/v1/endpoints/{endpoint}/status")).await?;
    let why = lab.api()?.get(&format!("/v1/why/{endpoint}")).await?;
    let query = format!(
        "select value_utf8 from state
         where service_name = 'Endpoint' and service_key = '{endpoint}' and key = 'state'"
    );
    let restate = Api::new(&format!("http://127.0.0.1:{}", lab.ports()?.restate_admin))?;
    let body = json!({ "query": query }).to_string();
    let accept = [("accept", "application/json")];
    let (_, answer) = restate.send("POST", "/query", &accept, body).await?;
    let view = answer["rows"][0]["value_utf8"].as_str().with_context(|| answer.to_string())?;
    let view: Value = serde_json::from_str(view)?;
    Ok([status["trouble"].clone(), view["trouble"].clone(), why["answers"][0]["is"].clone()])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_is_missing_shows_at_its_endpoint_until_it_is_there_again()
-> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, receiver, merchant) = (lab.api()?, Receiver::start().await?, merchant("our-fault"));
    let endpoint = api.merchant(&merchant, receiver.url()).await?;
    let path = format!("/v1/endpoints/{endpoint}");
    api.post(&format!("{path}/pause"), &json!({})).await?;
    let mut lost = Vec::new();
    for amount in 1..=3 {
        lost.push(api.payment(&merchant, amount).await?);
    }
    let there = lost.pop().context("three payments")?;
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    let ids = lost.iter().map(|id| id.trim_start_matches("pay_").parse());
    let ids = ids.collect::<Result<Vec<Uuid>, _>>()?;
    sqlx::query("create temporary table payments_lost as select * from payments limit 0")
        .execute(&mut db)
        .await?;
    sqlx::query(
        "with lost as (delete from payments where id = any ($1) returning *)
         insert into payments_lost select * from lost",
    )
    .bind(&ids)
    .execute(&mut db)
    .await?;
    api.post(&format!("{path}/resume"), &json!({})).await?;

    let first: Uuid = sqlx::query_scalar("select id from deliveries where object_id = $1")
        .bind(&lost[0])
        .fetch_one(&mut db)
        .await?;
    let line = format!("our fault: payload_missing, delivery dlv_{first} since ");
    until("it shows in the status, in Restate and in why", SOON, async || {
        let [status, view, why] = told(lab, &endpoint).await?;
        ensure!(status.as_str().is_some_and(|told| told.starts_with(&line)), "{status}");
        ensure!(status.as_str().is_some_and(|told| told.ends_with(", and 1 more")), "{status}");
        ensure!(view == status && why == "stuck", "{view} {why}");
        Ok(())
    })
    .await?;
    let accepted = receiver.wait_for(1, SOON).await?;
    ensure!(accepted[0].payment() == there, "the others go on");
    until("it is counted", SOON, async || {
        let counted = Scraped::of(lab.ports()?.worker_health).await?;
        let stuck = counted.value("posthorn_endpoints_stuck{fault=\"payload_missing\"}")?;
        ensure!(stuck >= 1.0, "{stuck}");
        Ok(())
    })
    .await?;

    sqlx::query("insert into payments select * from payments_lost where id = any ($1)")
        .bind(&ids)
        .execute(&mut db)
        .await?;
    sqlx::query("update deliveries set next_attempt_at = now() where object_id = any ($1)")
        .bind(&lost)
        .execute(&mut db)
        .await?;
    api.post(&format!("{path}/resume"), &json!({})).await?;
    until("nothing is the matter any more", SOON, async || {
        let [status, view, why] = told(lab, &endpoint).await?;
        ensure!(status.is_null() && view.is_null() && why == "well", "{status} {view} {why}");
        Ok(())
    })
    .await
}
