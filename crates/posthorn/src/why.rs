//! `posthorn why`: what became of a payment, an event, a delivery, or how an endpoint stands, and
//! what happens next, in sentences.
//!
//! What is known comes from PostgreSQL, so it works while everything else is down; Restate is asked
//! which invocations there are for the endpoint and what is stuck, and may be away. Nothing is
//! decided here, and nothing changed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use domain::endpoint::{Asked, Subject, Why};
use domain::{EndpointId, rfc3339_micros};
use observability::traceparent::kept_trace_id;
use serde_json::{Value, json};
use store::Store;

use crate::say::{self, say};

/// One read at a time.
const CONNECTIONS: u32 = 1;
/// Restate is asked for a detail: who waits for an answer must not wait for it.
const RESTATE_ANSWERS_WITHIN: Duration = Duration::from_secs(3);
/// Invocations that are named of one endpoint.
const INVOCATIONS_MAX: usize = 5;

#[derive(Args)]
pub(crate) struct WhyArgs {
    /// pay_…, evt_…, dlv_… or ep_….
    id: Asked,
    /// PostgreSQL, as a URL.
    #[arg(long, env = "POSTHORN_DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// Restate's admin API.
    #[arg(long, env = "POSTHORN_RESTATE_ADMIN_URL", default_value = "http://127.0.0.1:9070")]
    restate_admin_url: String,
    /// For programs: one JSON object.
    #[arg(long)]
    json: bool,
}

/// What Restate has of an endpoint.
#[derive(Debug, Clone, Default)]
struct AtRestate {
    /// `wake inv_…, scheduled`, or why it could not be asked.
    lines: Vec<String>,
    /// What stops the endpoint's slices, and how that ends.
    stuck: Option<String>,
}

impl AtRestate {
    fn away(error: &anyhow::Error) -> Self {
        Self { lines: vec![format!("could not be asked: {error:#}")], stuck: None }
    }
}

pub(crate) async fn why(args: &WhyArgs) -> anyhow::Result<ExitCode> {
    let store = Store::new(&args.database_url, "posthorn-why", CONNECTIONS)?;
    let (subjects, now) = store.why(args.id).await?;
    if subjects.is_empty() {
        bail!("there is no such event, delivery or endpoint");
    }
    let mut at_restate: BTreeMap<EndpointId, AtRestate> = BTreeMap::new();
    let mut away: Option<AtRestate> = None;
    for endpoint in subjects.iter().filter_map(Subject::endpoint_that_matters) {
        if let Entry::Vacant(place) = at_restate.entry(endpoint) {
            // It is waited for once, not for each endpoint.
            place.insert(match &away {
                Some(away) => away.clone(),
                None => try_restate(&args.restate_admin_url, endpoint)
                    .await
                    .unwrap_or_else(|error| away.insert(AtRestate::away(&error)).clone()),
            });
        }
    }
    let nothing = AtRestate::default();
    let answers = subjects.iter().map(|subject| {
        let endpoint = subject.endpoint_that_matters();
        let restate = endpoint.and_then(|endpoint| at_restate.get(&endpoint)).unwrap_or(&nothing);
        (subject, subject.why(restate.stuck.as_deref(), now), restate)
    });
    if args.json {
        let answers: Vec<Value> =
            answers.map(|(subject, why, restate)| as_json(subject, &why, restate)).collect();
        say!("{}", json!({ "at": rfc3339_micros(now), "answers": answers }));
    } else {
        for (subject, why, restate) in answers {
            say::text(as_text(subject, &why, restate)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn try_restate(admin_url: &str, endpoint: EndpointId) -> anyhow::Result<AtRestate> {
    // To our own part alone: no proxy, and nobody there redirects.
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(RESTATE_ANSWERS_WITHIN)
        .build()?;
    let url = format!("{}/query", admin_url.trim_end_matches('/'));
    let ask = async |sql: String| -> anyhow::Result<Vec<Value>> {
        let request = client.post(&url).header("accept", "application/json");
        let answer = request.json(&json!({ "query": sql })).send().await?.error_for_status()?;
        let mut answer: Value = answer.json().await?;
        Ok(match answer["rows"].take() {
            Value::Array(rows) => rows,
            _ => Vec::new(),
        })
    };
    let invocations = ask(format!(
        "select id, status, target_handler_name as handler, scheduled_start_at
         from sys_invocation where target_service_name = 'Endpoint'
         and target_service_key = '{endpoint}' and status <> 'completed' order by created_at"
    ))
    .await?;
    let stuck = ask(format!(
        "select value_utf8 from state where service_name = 'Endpoint'
         and service_key = '{endpoint}' and key = 'stuck'"
    ))
    .await?;
    let lines = invocations.iter().take(INVOCATIONS_MAX).map(invocation).collect();
    let stuck = stuck.first().and_then(|row| {
        let value: Value = serde_json::from_str(row["value_utf8"].as_str()?).ok()?;
        let reason = value["reason"].as_str()?;
        Some(format!("{reason}; it is tried again at least once a minute by itself"))
    });
    Ok(AtRestate { lines, stuck: invocations.iter().find_map(paused).or(stuck) })
}

/// Restate itself pauses none of ours; an operator can, and then nothing of the endpoint goes on.
fn paused(row: &Value) -> Option<String> {
    let holds_its_key = row["status"] == "paused" && row["handler"] == "wake";
    let id = row["id"].as_str().filter(|_| holds_its_key)?;
    Some(format!(
        "{id} was paused at Restate and keeps all others of its endpoint waiting: it goes on when \
         somebody types: restate invocations resume {id} --yes"
    ))
}

fn invocation(row: &Value) -> String {
    let text = |name: &str| row[name].as_str().unwrap_or("?");
    let at = row["scheduled_start_at"].as_str().filter(|_| text("status") == "scheduled");
    let at = at.map_or(String::new(), |at| format!(" for {at}"));
    format!("{} {}, {}{at}", text("handler"), text("id"), text("status"))
}

fn as_text(subject: &Subject, why: &Why, restate: &AtRestate) -> anyhow::Result<String> {
    let mut text = String::new();
    match subject {
        Subject::Delivery(story) => writeln!(
            text,
            "{}  {} of {}, to {}",
            story.delivery, story.event_type, story.object_id, story.endpoint
        )?,
        other => writeln!(text, "{}", other.id())?,
    }
    for sentence in &why.sentences {
        writeln!(text, "  {}", printable(sentence))?;
    }
    if let Subject::Delivery(story) = subject {
        writeln!(text, "  event {}", story.event)?;
    }
    if let Some(trace) = subject.traceparent().and_then(kept_trace_id) {
        writeln!(text, "  trace {trace}")?;
    }
    for line in &restate.lines {
        writeln!(text, "  Restate: {line}")?;
    }
    Ok(text)
}

fn as_json(subject: &Subject, why: &Why, restate: &AtRestate) -> Value {
    json!({
        "id": subject.id(),
        "is": why.is,
        "sentences": why.sentences,
        "next_at": why.next_at.map(rfc3339_micros),
        "endpoint_id": subject.endpoint().map(|endpoint| endpoint.to_string()),
        "event_id": subject.event().map(|event| event.to_string()),
        "trace_id": subject.traceparent().and_then(kept_trace_id),
        "restate": restate.lines,
    })
}

/// One line without control characters: a sentence may quote what a receiver sent.
fn printable(sentence: &str) -> String {
    sentence.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_id_is_told_what_an_id_looks_like() {
        let error = "pay_1".parse::<Asked>().expect_err("no id");
        assert!(error.to_string().contains("pay_, evt_, dlv_ or ep_ followed by a UUID"));
    }

    #[test]
    fn a_receivers_words_cannot_write_to_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb\u{fffd}c");
    }
}
