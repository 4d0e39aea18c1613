//! `posthorn delivery show`: what became of one delivery, attempt by attempt.

use std::time::Duration;

use anyhow::{Context, ensure};
use posthorn_tests::{Answer, Receiver, until};
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::path::hasten;
use crate::{merchant, shared_lab};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_shown_attempt_by_attempt_while_it_waits_and_when_it_is_done()
-> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("shown");
    let endpoint = api.merchant(&merchant, receiver.url()).await?;
    hasten(&lab.database_url()?, &endpoint).await?;
    receiver.script([Answer::Status(500), Answer::Status(400)]);
    let payment = api.payment(&merchant, 1).await?;
    receiver.wait_for(1, SOON).await?;
    let url = lab.database_url()?;
    let mut db = PgConnection::connect(&url).await?;
    let id: Uuid = sqlx::query_scalar(
        "select id from deliveries where object_id = $1
         union all select id from finished_deliveries where object_id = $1",
    )
    .bind(&payment)
    .fetch_one(&mut db)
    .await?;
    let id = format!("dlv_{id}");
    let show = ["delivery", "show", &id, "--database-url", &url];
    let json = [&show[..], &["--json"]].concat();
    let shown: Value = until("the delivery is finished", SOON, async || {
        let shown: Value = serde_json::from_str(&lab.posthorn(&json)?)?;
        ensure!(shown["state"] == "delivered", "{shown}");
        Ok(shown)
    })
    .await?;
    let attempts = shown["attempts"].as_array().context("attempts")?;
    let classes: Vec<_> = attempts.iter().map(|attempt| &attempt["class"]).collect();
    ensure!(classes == ["unwell", "refused", "delivered"], "{classes:?}");
    for attempt in attempts {
        ensure!(attempt["detail"]["address"].is_string(), "{attempt}");
        ensure!(attempt["detail"]["split"]["total_us"].as_u64() > Some(0), "{attempt}");
    }
    let text = lab.posthorn(&show)?;
    for line in [
        "attempt 1: unwell 500 (status)",
        "attempt 2: refused 400",
        "attempt 3: delivered 200",
        "delivered after 3 attempts",
    ] {
        ensure!(text.contains(line), "no `{line}` in\n{text}");
    }
    let nobody = format!("dlv_{}", Uuid::now_v7());
    ensure!(lab.posthorn(&["delivery", "show", &nobody, "--database-url", &url]).is_err());
    Ok(())
}
