//! The lines that somebody on duty looks for: what became of an endpoint, and by whom.

use std::time::Duration;

use anyhow::ensure;
use posthorn_tests::{Answer, Lab, Receiver, until};
use serde_json::json;

use crate::traces::hasten;
use crate::{merchant, shared_lab};

const SOON: Duration = Duration::from_secs(40);

/// The lines of `role` that have all of `parts`.
pub(crate) fn lines(lab: &Lab, role: &str, parts: &[&str]) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(lab.dir().join(format!("log/{role}.log")))?;
    let all = text.lines().filter(|line| parts.iter().all(|part| line.contains(part)));
    Ok(all.map(str::to_owned).collect())
}

/// Waits until `role` has said all of `parts` in one line, once.
async fn said(lab: &Lab, role: &str, parts: &[&str]) -> anyhow::Result<()> {
    until(&format!("{role} says {parts:?}"), SOON, async || {
        let lines = lines(lab, role, parts)?;
        ensure!(lines.len() == 1, "{} lines: {lines:#?}", lines.len());
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_that_opens_and_closes_is_a_line_each() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (receiver, merchant) = (Receiver::start().await?, merchant("lines-breaker"));
    let endpoint = lab.api()?.merchant(&merchant, receiver.url()).await?;
    hasten(lab, &endpoint).await?;
    receiver.script([Answer::Status(500); 6]);
    lab.api()?.payment(&merchant, 1).await?;
    said(lab, "worker", &["WARN", &endpoint, "the breaker opened", "trace_id"]).await?;
    said(lab, "worker", &["INFO", &endpoint, "the breaker closed"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_that_somebody_closes_is_a_line_with_their_name() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    receiver.rule(|_| Some(Answer::Status(500)));
    let ada = json!({ "actor": "ada" });
    let moved = json!({ "actor": "ada", "url": format!("{}/elsewhere", receiver.url()) });
    for (way, told) in [
        ("enabled", vec![("POST", "/disable", &ada), ("POST", "/enable", &ada)]),
        ("moved", vec![("PATCH", "", &moved)]),
    ] {
        let merchant = merchant(&format!("lines-breaker-{way}"));
        let endpoint = api.merchant(&merchant, receiver.url()).await?;
        hasten(lab, &endpoint).await?;
        api.payment(&merchant, 1).await?;
        said(lab, "worker", &["WARN", &endpoint, "the breaker opened", "trace_id"]).await?;
        for (method, path, body) in told {
            let path = format!("/v1/endpoints/{endpoint}{path}");
            let (status, answer) = api.send(method, &path, &[], body.to_string()).await?;
            ensure!(status == 200, "{status} {answer}");
        }
        said(lab, "api", &["INFO", &endpoint, "the breaker closed", "ada"]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_disabled_and_what_an_operator_tells_it_are_lines() -> anyhow::Result<()>
{
    let lab = shared_lab().await?;
    let (api, receiver, merchant) = (lab.api()?, Receiver::start().await?, merchant("lines-gone"));
    let endpoint = api.merchant(&merchant, receiver.url()).await?;
    receiver.script([Answer::Status(410)]);
    api.payment(&merchant, 1).await?;
    said(lab, "worker", &["WARN", &endpoint, "was disabled", "gone"]).await?;
    let body = json!({ "actor": "ada" });
    for command in ["enable", "pause"] {
        api.post(&format!("/v1/endpoints/{endpoint}/{command}"), &body).await?;
        said(lab, "api", &["INFO", &endpoint, "was told", command, "ada"]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_were_made_just_now_have_no_other_settings() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    ensure!(lines(lab, "relay", &["created the topic"])?.len() == 2, "it began with nothing");
    let complaints = lines(lab, "relay", &["another setting"])?;
    ensure!(complaints.is_empty(), "{complaints:#?}");
    Ok(())
}
