//! `posthorn delivery show`: one delivery and its attempts as a timeline, from PostgreSQL alone.
//!
//! It works while everything else is down. What a receiver wrote is shown on one line, its control
//! characters escaped: it must not be able to write to an operator's terminal.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use domain::{DeliveryId, rfc3339_micros};
use serde_json::{Value, json};
use store::{ShownAttempt, ShownDelivery, Store};
use time::OffsetDateTime;

use crate::say::{self, say};

/// One read at a time.
const CONNECTIONS: u32 = 1;
/// Attempts that are shown: an endpoint that is away for the whole schedule makes about a hundred.
const ATTEMPTS_MAX: i64 = 1_000;
/// Characters of a receiver's answer that are shown; `--json` has all that was kept.
const EXCERPT_CHARS_MAX: usize = 200;

#[derive(Args)]
pub(crate) struct DeliveryArgs {
    #[command(subcommand)]
    command: DeliveryCommand,
}

#[derive(Subcommand)]
enum DeliveryCommand {
    /// One delivery and its attempts, as a timeline.
    Show(ShowArgs),
}

#[derive(Args)]
struct ShowArgs {
    /// `dlv_` and a UUID.
    id: DeliveryId,
    /// PostgreSQL, as a URL.
    #[arg(long, env = "POSTHORN_DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// For programs: one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn delivery(args: &DeliveryArgs) -> anyhow::Result<ExitCode> {
    let DeliveryCommand::Show(args) = &args.command;
    let store = Store::new(&args.database_url, "posthorn-delivery", CONNECTIONS)?;
    let delivery =
        store.shown_delivery(args.id).await?.with_context(|| format!("there is no {}", args.id))?;
    let attempts = store.shown_attempts(args.id, ATTEMPTS_MAX).await?;
    if args.json {
        say!("{}", as_json(&delivery, &attempts));
    } else {
        say::text(timeline(&delivery, &attempts)?);
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(delivery: &ShownDelivery, attempts: &[ShownAttempt]) -> Value {
    let at = |time: Option<OffsetDateTime>| time.map(rfc3339_micros);
    let attempts: Vec<Value> = attempts
        .iter()
        .map(|attempt| {
            json!({
                "number": attempt.number,
                "id": attempt.id.to_string(),
                "started_at": rfc3339_micros(attempt.started_at),
                "duration_us": u64::try_from(attempt.duration.as_micros()).unwrap_or(u64::MAX),
                "class": attempt.class,
                "code": attempt.code,
                "status": attempt.status,
                "detail": attempt.detail,
                "fence_lost": attempt.fence_lost,
            })
        })
        .collect();
    json!({
        "id": delivery.id.to_string(),
        "event_id": delivery.event_id.to_string(),
        "endpoint_id": delivery.endpoint_id.to_string(),
        "merchant_id": delivery.merchant_id,
        "event_type": delivery.event_type,
        "object_id": delivery.object_id,
        "occurred_at": rfc3339_micros(delivery.occurred_at),
        "created_at": rfc3339_micros(delivery.created_at),
        "state": delivery.state,
        "reason": delivery.reason,
        "finished_at": at(delivery.finished_at),
        "next_attempt_at": at(delivery.next_attempt_at),
        "endpoint_waits_until": at(delivery.endpoint_waits_until),
        "attempts": attempts,
    })
}

/// How a delivery went, for people.
pub(crate) fn timeline(
    delivery: &ShownDelivery,
    attempts: &[ShownAttempt],
) -> Result<String, std::fmt::Error> {
    let zero = delivery.created_at;
    let mut text = String::new();
    writeln!(
        text,
        "{}  {} of {}\nevent {}, to {} of merchant {}\n",
        delivery.id,
        delivery.event_type,
        delivery.object_id,
        delivery.event_id,
        delivery.endpoint_id,
        delivery.merchant_id
    )?;
    writeln!(text, "{}  {:>10}  written", rfc3339_micros(zero), "0")?;
    for attempt in attempts {
        write_attempt(&mut text, zero, attempt)?;
    }
    let (at, end) = end_of(delivery);
    match at {
        Some(at) => writeln!(text, "{}  {:>10}  {end}", rfc3339_micros(at), since(zero, at))?,
        None => writeln!(text, "{:27}  {:>10}  {end}", "", "")?,
    }
    Ok(text)
}

fn write_attempt(
    text: &mut String,
    zero: OffsetDateTime,
    attempt: &ShownAttempt,
) -> std::fmt::Result {
    let detail = |name: &str| attempt.detail.get(name).filter(|value| !value.is_null());
    let words = |name: &str| detail(name).and_then(Value::as_str);
    let mut what = format!("attempt {}: {}", attempt.number, attempt.class);
    if let Some(status) = attempt.status {
        write!(what, " {status}")?;
    }
    // The client's code is finer than the outcome's.
    if let Some(code) = words("code").or(attempt.code.as_deref()) {
        write!(what, " ({code})")?;
    }
    if attempt.fence_lost {
        what.push_str(", by a run that had lost its turn: it decided nothing");
    }
    let at = attempt.started_at;
    writeln!(text, "{}  {:>10}  {what}", rfc3339_micros(at), since(zero, at))?;
    let mut note = |line: String| writeln!(text, "{:27}  {:>10}  {line}", "", "");
    if let Some(sentence) = words("sentence") {
        note(printable(sentence))?;
    }
    note(took(attempt))?;
    if let Some(excerpt) = words("excerpt") {
        note(format!("answer: {}", printable(excerpt)))?;
    }
    Ok(())
}

/// Where the time of an attempt went, and where it was made to.
fn took(attempt: &ShownAttempt) -> String {
    let mut line = format!("took {}", millis(attempt.duration.as_secs_f64() * 1e6));
    let split = attempt.detail.get("split");
    let parts = [
        (attempt.detail.get("payload_us"), "payload"),
        (split.and_then(|split| split.get("wait_us")), "wait"),
        (split.and_then(|split| split.get("dns_us")), "DNS"),
        (split.and_then(|split| split.get("connect_us")), "connect"),
        (split.and_then(|split| split.get("tls_us")), "TLS"),
        (split.and_then(|split| split.get("first_byte_us")), "first byte"),
        (split.and_then(|split| split.get("body_us")), "body"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter_map(|(value, name)| Some(format!("{name} {}", millis(value?.as_f64()?))))
        .collect();
    if !parts.is_empty() {
        line.push_str(&format!(": {}", parts.join(", ")));
    }
    if let Some(address) = attempt.detail.get("address").and_then(Value::as_str) {
        let reused = attempt.detail.get("reused_connection") == Some(&Value::Bool(true));
        let how = if reused { " over a connection that was open" } else { "" };
        line.push_str(&format!("; to {address}{how}"));
    }
    line
}

fn end_of(delivery: &ShownDelivery) -> (Option<OffsetDateTime>, String) {
    let tries = format!("after {} attempt{}", delivery.attempts, plural(delivery.attempts));
    if delivery.finished_at.is_some() {
        let reason = delivery.reason.as_deref().unwrap_or_default();
        let reason =
            if delivery.state == "delivered" { String::new() } else { format!(" ({reason})") };
        return (delivery.finished_at, format!("{}{reason} {tries}", delivery.state));
    }
    match (delivery.next_attempt_at, delivery.endpoint_waits_until) {
        (Some(at), _) => (Some(at), format!("waiting {tries}: it comes back then")),
        (None, Some(at)) => {
            (Some(at), format!("waiting {tries}: the whole endpoint waits until then"))
        }
        (None, None) => (None, format!("waiting {tries}: it is in line")),
    }
}

fn plural(count: i32) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn since(zero: OffsetDateTime, at: OffsetDateTime) -> String {
    let seconds = (at - zero).as_seconds_f64();
    match seconds {
        ..60.0 => format!("+{seconds:.3} s"),
        ..7_200.0 => format!("+{:.1} min", seconds / 60.0),
        _ => format!("+{:.1} h", seconds / 3_600.0),
    }
}

fn millis(micros: f64) -> String {
    format!("{:.1} ms", micros / 1_000.0)
}

fn printable(text: &str) -> String {
    let mut shown: String = text.chars().take(EXCERPT_CHARS_MAX).flat_map(escaped).collect();
    if text.chars().nth(EXCERPT_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

fn escaped(char: char) -> impl Iterator<Item = char> {
    let (plain, escape) = if char == '"' || char == '\'' {
        (Some(char), None)
    } else {
        (None, Some(char.escape_debug()))
    };
    plain.into_iter().chain(escape.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time::macros::datetime;

    use super::*;

    fn delivery() -> ShownDelivery {
        ShownDelivery {
            id: uuid::Uuid::nil().into(),
            event_id: uuid::Uuid::nil().into(),
            endpoint_id: uuid::Uuid::nil().into(),
            merchant_id: "demo".to_owned(),
            event_type: "payment.succeeded".to_owned(),
            object_id: "pay_1".to_owned(),
            occurred_at: datetime!(2026-01-01 00:00 UTC),
            created_at: datetime!(2026-01-01 00:00 UTC),
            attempts: 1,
            state: "waiting".to_owned(),
            reason: None,
            finished_at: None,
            next_attempt_at: None,
            endpoint_waits_until: None,
        }
    }

    fn attempt(detail: Value) -> ShownAttempt {
        ShownAttempt {
            number: 1,
            id: uuid::Uuid::nil().into(),
            started_at: datetime!(2026-01-01 00:00:00.012 UTC),
            duration: Duration::from_micros(31_400),
            class: "unwell".to_owned(),
            code: Some("status".to_owned()),
            status: Some(503),
            detail,
            fence_lost: false,
        }
    }

    #[test]
    fn a_timeline_says_when_how_long_where_to_and_how_it_stands() {
        let detail = json!({
            "sentence": "The answer was 503; only 2xx is a success.", "code": "status",
            "address": "127.0.0.1:4001", "reused_connection": true, "payload_us": 900,
            "split": { "wait_us": null, "connect_us": 250, "first_byte_us": 29_000 },
            "excerpt": "busy",
        });
        let waits = ShownDelivery {
            endpoint_waits_until: Some(datetime!(2026-01-01 00:01:00 UTC)),
            ..delivery()
        };
        let text = timeline(&waits, &[attempt(detail)]).expect("rendered");
        for line in [
            "2026-01-01T00:00:00.012000Z    +0.012 s  attempt 1: unwell 503 (status)",
            "The answer was 503; only 2xx is a success.",
            "took 31.4 ms: payload 0.9 ms, connect 0.2 ms, first byte 29.0 ms; to 127.0.0.1:4001 \
             over a connection that was open",
            "answer: busy",
            "2026-01-01T00:01:00.000000Z    +1.0 min  waiting after 1 attempt: the whole endpoint \
             waits until then",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_finished_one_says_how_it_ended() {
        let done = |state: &str, reason: &str| {
            let finished = ShownDelivery {
                state: state.to_owned(),
                reason: Some(reason.to_owned()),
                finished_at: Some(datetime!(2026-01-01 03:00:00 UTC)),
                ..delivery()
            };
            timeline(&finished, &[]).expect("rendered").lines().last().expect("rendered").to_owned()
        };
        assert!(done("delivered", "accepted").ends_with("+3.0 h  delivered after 1 attempt"));
        assert!(done("exhausted", "expired").ends_with("exhausted (expired) after 1 attempt"));
    }

    #[test]
    fn what_a_receiver_wrote_cannot_write_to_the_terminal() {
        let detail = json!({ "excerpt": format!("a\u{1b}[2J\r\n\"b\"{}", "x".repeat(300)) });
        let text = timeline(&delivery(), &[attempt(detail)]).expect("rendered");
        assert!(text.contains("answer: a\\u{1b}[2J\\r\\n\"b\"xxx"), "{text}");
        assert!(text.contains('…') && !text.contains('\u{1b}'));
    }
}
