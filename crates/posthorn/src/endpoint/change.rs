//! An endpoint changed or deleted, by the api role.

use std::process::ExitCode;

use anyhow::{Context, bail};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::tell::ask;
use super::{PlainArgs, UpdateArgs};
use crate::say::say;

pub(super) async fn update(args: &UpdateArgs) -> anyhow::Result<ExitCode> {
    let body = body_of(args)?;
    if body.as_object().is_none_or(Map::is_empty) {
        bail!("nothing to change: name at least one option, see --help");
    }
    let path = args.id.to_string();
    let answer = ask(Method::PATCH, &path, &args.said, args.said.command_id, body).await?;
    let note = if answer["changed"] == true { "was changed" } else { "is as it was" };
    let status = plain(&answer["status"]);
    let again = if answer["enabled_again"] == true { " again, because of its new URL" } else { "" };
    say!("{} {note}; it is {status}{again}.", args.id);
    for name in ["url", "ordering", "signature_scheme", "send_traceparent"] {
        say!("  {name:17} {}", plain(&answer[name]));
    }
    for name in ["event_types", "header_names", "policy"] {
        say!("  {name:17} {}", answer[name]);
    }
    for name in ["secret", "public_key"] {
        if let Some(text) = answer[name].as_str() {
            say!("  {name:17} {text}  (it is not shown again)");
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn delete(args: &PlainArgs) -> anyhow::Result<ExitCode> {
    let path = args.id.to_string();
    let answer = ask(Method::DELETE, &path, &args.said, args.said.command_id, json!({})).await?;
    if answer["changed"] == true {
        say!("{} is deleted: what waited is cancelled, its history stays.", args.id);
    } else {
        say!("{} was deleted at {}.", args.id, plain(&answer["at"]));
    }
    Ok(ExitCode::SUCCESS)
}

fn body_of(args: &UpdateArgs) -> anyhow::Result<Value> {
    let mut body = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    let is_said = args.all_events || !args.event_types.is_empty();
    put("url", args.url.as_ref().map(|url| json!(url)));
    put("event_types", is_said.then(|| json!(args.event_types)));
    put("ordering", args.ordering.as_ref().map(|ordering| json!(ordering)));
    let policy = args.policy.as_deref().map(serde_json::from_str).transpose();
    put("policy", policy.context("--policy must be a JSON object")?);
    let headers = args.headers.iter().map(|line| header(line)).collect::<Result<Map<_, _>, _>>()?;
    let is_said = args.no_headers || !headers.is_empty();
    put("headers", is_said.then_some(Value::Object(headers)));
    put("signature_scheme", args.signature_scheme.as_ref().map(|scheme| json!(scheme)));
    put("send_traceparent", args.send_traceparent.map(|truth| json!(truth)));
    Ok(Value::Object(body))
}

/// `name: value`; neither is said back, because the value may be a credential.
fn header(line: &str) -> anyhow::Result<(String, Value)> {
    let (name, value) = line.split_once(':').context("--header must be `name: value`")?;
    Ok((name.trim().to_owned(), json!(value.trim())))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
