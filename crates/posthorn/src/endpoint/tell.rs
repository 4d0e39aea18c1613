//! Commands sent to the api role, and its answers printed.
//!
//! Each has an id, printed when the answer is lost, so that it can be repeated and is done once.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use domain::EndpointId;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ApiArgs, PlainArgs, SaidArgs, SkipArgs, StatusArgs};
use crate::say::say;

/// The api role answers within 10 s, or says that it could not.
const TIMEOUT: Duration = Duration::from_secs(15);

pub(super) async fn plain(args: &PlainArgs, command: &str) -> anyhow::Result<ExitCode> {
    let answer = tell(args.id, command, &args.said, json!({})).await?;
    let status = answer["status"].as_str().unwrap_or_default();
    let note = if answer["changed"] == true { "" } else { " (as it was)" };
    say!("{} is {status}{note}.", args.id);
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn skip(args: &SkipArgs) -> anyhow::Result<ExitCode> {
    let body = json!({ "delivery_id": args.delivery });
    tell(args.id, "skip", &args.said, body).await?;
    say!("{} was skipped.", args.delivery);
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let path = format!("/v1/endpoints/{}/status", args.id);
    let answer = answer_of(client()?.get(format!("{}{path}", base(&args.api)))).await?;
    let text = |name: &str| answer[name].as_str().unwrap_or("-").to_owned();
    let breaker = if answer["breaker_open"] == true { "open" } else { "closed" };
    say!("endpoint       {}", args.id);
    say!("status         {}", text("status"));
    say!("breaker        {breaker}");
    say!("trouble        {}", text("trouble"));
    say!("not before     {}", text("not_before"));
    say!("waiting        {}", answer["waiting"]);
    say!("waiting since  {}", text("waiting_since"));
    for line in answer["last_events"].as_array().into_iter().flatten() {
        say!("  {}", line.as_str().unwrap_or_default());
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn tell(
    id: EndpointId,
    command: &str,
    said: &SaidArgs,
    body: Value,
) -> anyhow::Result<Value> {
    ask(Method::POST, &format!("{id}/{command}"), said, said.command_id, body).await
}

/// Asks the api role for `path` below `/v1/endpoints/`, under `command_id` or a new one.
pub(super) async fn ask(
    method: Method,
    path: &str,
    said: &SaidArgs,
    command_id: Option<Uuid>,
    mut body: Value,
) -> anyhow::Result<Value> {
    let command_id = command_id.unwrap_or_else(Uuid::now_v7);
    body["command_id"] = json!(command_id);
    body["actor"] = json!(said.actor);
    let url = format!("{}/v1/endpoints/{path}", base(&said.api));
    answer_of(client()?.request(method.clone(), url).json(&body))
        .await
        .with_context(|| format!("{method} {path}; to repeat it safely: --command-id {command_id}"))
}

async fn answer_of(request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
    let response = request.send().await.context("the api role does not answer")?;
    let status = response.status();
    let body: Value = response.json().await.context("the api role's answer is no JSON")?;
    if !status.is_success() {
        let message = body["error"]["message"].as_str().unwrap_or("it does not say why");
        bail!("the api role refused it: {message} ({})", status.as_u16());
    }
    Ok(body)
}

fn client() -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?)
}

fn base(api: &ApiArgs) -> &str {
    api.api_url.trim_end_matches('/')
}
