//! What an operator reads of an endpoint by Restate's own command line tool, as docs/operating.md
//! shows it: one that waits for its merchant, one that is stuck on our fault, one that is paused.

use std::time::Duration;

use anyhow::{Context, ensure};
use posthorn_tests::{Answer, Api, Lab, Receiver, until};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::{merchant, shared_lab};

const SOON: Duration = Duration::from_secs(30);

/// A new endpoint and its merchant.
async fn shop(api: &Api, url: &str) -> anyhow::Result<(String, String)> {
    let merchant = merchant("told-apart");
    Ok((api.merchant(&merchant, url).await?, merchant))
}

/// Its secret can no longer be opened: our fault, whatever the merchant does.
async fn break_secret(lab: &Lab, endpoint: &str) -> anyhow::Result<()> {
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    sqlx::query("update endpoint_secrets set ciphertext = 'broken' where endpoint_id = $1")
        .bind(Uuid::parse_str(endpoint.trim_start_matches("ep_"))?)
        .execute(&mut db)
        .await?;
    Ok(())
}

/// The tool's answers about one endpoint.
struct Seen {
    invocations: String,
    state: String,
    row: String,
}

/// `invocations`: how many there are, once the wakes of what came last are over.
async fn seen(
    lab: &Lab,
    endpoint: &str,
    expected: &str,
    invocations: &str,
) -> anyhow::Result<Seen> {
    until(&format!("the tool shows {expected}"), SOON, async || {
        let state = lab.restate(&["kv", "get", "Endpoint", endpoint])?;
        ensure!(state.contains(expected), "{state}");
        let listed = lab.restate(&["invocations", "list", "--key", endpoint])?;
        ensure!(listed.contains(invocations), "{listed}");
        Ok(())
    })
    .await?;
    let query = format!(
        "select value_utf8 from state
         where service_name = 'Endpoint' and service_key = '{endpoint}' and key = 'state'"
    );
    Ok(Seen {
        invocations: lab.restate(&["invocations", "list", "--key", endpoint])?,
        state: lab.restate(&["kv", "get", "Endpoint", endpoint])?,
        row: lab.restate(&["sql", &query])?,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_the_merchant_stuck_on_our_fault_and_paused_are_told_apart_by_restates_tool()
-> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    receiver.rule(|_| Some(Answer::Status(503)));
    let well = Receiver::start().await?;
    let (waiting, its_merchant) = shop(&api, receiver.url()).await?;
    let (stuck, stuck_merchant) = shop(&api, well.url()).await?;
    let (paused, paused_merchant) = shop(&api, well.url()).await?;
    break_secret(lab, &stuck).await?;
    api.post(&format!("/v1/endpoints/{paused}/pause"), &json!({})).await?;
    for merchant in [&its_merchant, &stuck_merchant, &paused_merchant] {
        api.payment(merchant, 1).await?;
        api.payment(merchant, 2).await?;
    }

    let seen_waiting = seen(lab, &waiting, "answers 503", "1/1 invocations").await?;
    ensure!(seen_waiting.invocations.contains("scheduled"), "{}", seen_waiting.invocations);
    ensure!(seen_waiting.state.contains("\"timer\"") || seen_waiting.state.contains("timer "));
    ensure!(seen_waiting.row.contains("\"status\":\"active\""), "{}", seen_waiting.row);
    ensure!(!seen_waiting.row.contains("our fault"), "{}", seen_waiting.row);

    let seen_stuck = seen(lab, &stuck, "our fault: secret_unavailable", "1/1 invocations").await?;
    ensure!(seen_stuck.row.contains("our fault: secret_unavailable"), "{}", seen_stuck.row);
    ensure!(!seen_stuck.row.contains("answers"), "{}", seen_stuck.row);
    ensure!(well.requests().is_empty(), "nothing may leave unsigned");

    let seen_paused = seen(lab, &paused, "paused", "0/0 invocations").await?;
    ensure!(seen_paused.row.contains("\"trouble\":null"), "{}", seen_paused.row);
    // Of each alone: a list of everybody's has an end.
    let list = |key: &str, more: &[&str]| {
        let arguments = ["invocations", "list", "--service", "Endpoint", "--key", key];
        lab.restate(&[&arguments, more].concat())
    };
    let (of_waiting, of_paused) = (list(&waiting, &[])?, list(&paused, &[])?);
    ensure!(of_waiting.contains(&format!("Endpoint/{waiting}/wake")), "{of_waiting}");
    ensure!(!of_paused.contains(&format!("Endpoint/{paused}/")), "{of_paused}");
    // And none of it is Restate's own pause.
    for id in [&waiting, &stuck, &paused] {
        let held = list(id, &["--status", "paused"])?;
        ensure!(!held.contains(&format!("Endpoint/{id}/")), "{held}");
    }
    let status = api.get(&format!("/v1/endpoints/{paused}/status")).await?;
    ensure!(status["waiting"] == 2, "{status}");
    status["status"].as_str().filter(|status| *status == "paused").context("paused")?;
    Ok(())
}
