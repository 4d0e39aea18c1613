//! Deliveries put back in line: one, or as many bounded steps as it takes for all of them.
//!
//! Each step is one transaction of the api role. Ctrl-C lets the step that is under way end and
//! prints the command that goes on: what is back already is no longer among those that are over.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::RedeliverArgs;
use super::tell::ask;
use crate::say::say;

/// Between two lines about how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// What a shell says of a program that was interrupted.
const INTERRUPTED: u8 = 130;

pub(super) async fn redeliver(args: &RedeliverArgs) -> anyhow::Result<ExitCode> {
    let path = format!("{}/redeliver", args.id);
    let mut body = body_of(args);
    let mut command_id = args.said.command_id;
    let (mut total, mut told) = (0, Instant::now());
    let interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut interrupted = interrupted;
    loop {
        let step = ask(Method::POST, &path, &args.said, command_id, body.clone());
        let mut step = std::pin::pin!(step);
        let (answer, is_interrupted) = tokio::select! {
            answer = &mut step => (answer, false),
            _ = &mut interrupted => (step.await, true),
        };
        let answer = answer.inspect_err(|_| eprintln!("{total} put back in line before that."))?;
        total += answer["redelivered"].as_u64().unwrap_or(0);
        if answer["more"] != true {
            break;
        }
        // What is given up again from here on is not taken up again by the next step.
        if body.get("until").is_none() {
            body["until"] = answer["at"].clone();
        }
        if is_interrupted {
            eprintln!("{total} put back in line; to go on: {}", again(args, &body));
            return Ok(ExitCode::from(INTERRUPTED));
        }
        if told.elapsed() > PROGRESS_EVERY {
            eprintln!("{total} put back in line so far");
            told = Instant::now();
        }
        command_id = None;
    }
    say!("{total} put back in line.");
    Ok(ExitCode::SUCCESS)
}

fn body_of(args: &RedeliverArgs) -> Value {
    let mut body = json!({});
    if let Some(delivery) = &args.delivery {
        body["delivery_id"] = json!(delivery);
    }
    let filters = [
        ("since", &args.since),
        ("until", &args.until),
        ("event_type", &args.event_type),
        ("ended", &args.ended),
    ];
    for (name, text) in filters {
        if let Some(text) = text {
            body[name] = json!(text);
        }
    }
    body
}

/// The command that puts back the rest, and nothing that was given up since.
fn again(args: &RedeliverArgs, body: &Value) -> String {
    let mut line = format!("posthorn endpoint redeliver {}", args.id);
    for (name, flag) in [
        ("since", "--since"),
        ("until", "--until"),
        ("event_type", "--event-type"),
        ("ended", "--ended"),
    ] {
        if let Some(text) = body[name].as_str() {
            line.push_str(&format!(" {flag} {text}"));
        }
    }
    line
}
