//! `posthorn parked`: records that could not be understood, from PostgreSQL alone.
//!
//! What somebody wrote into a topic is shown on one line, its control characters escaped: it must
//! not be able to write to an operator's terminal. Read only.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use domain::rfc3339_micros;
use serde_json::{Value, json};
use store::{ShownRecord, Store};
use uuid::Uuid;

use crate::say::say;

/// One read at a time.
const CONNECTIONS: u32 = 1;
/// Characters of a key and of a value in the list; `show` has all that is kept.
const LISTED_CHARS_MAX: usize = 60;

#[derive(Args)]
pub(crate) struct ParkedArgs {
    #[command(subcommand)]
    command: ParkedCommand,
}

#[derive(Subcommand)]
enum ParkedCommand {
    /// Those that were parked last, the newest first.
    List(ListArgs),
    /// One of them, with all of it that is kept.
    Show(ShowArgs),
}

#[derive(Args)]
struct ListArgs {
    /// How many at most, 1 to 10000.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    limit: u16,
    #[command(flatten)]
    from: FromArgs,
}

#[derive(Args)]
struct ShowArgs {
    /// As `list` prints it.
    id: Uuid,
    #[command(flatten)]
    from: FromArgs,
}

#[derive(Args)]
struct FromArgs {
    /// PostgreSQL, as a URL.
    #[arg(long, env = "POSTHORN_DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// For programs: one JSON object for each record, one on a line.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn parked(args: &ParkedArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        ParkedCommand::List(args) => list(args).await,
        ParkedCommand::Show(args) => show(args).await,
    }
}

async fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let records = store(&args.from)?.parked_records(args.limit).await?;
    if args.from.json {
        for record in &records {
            say!("{}", as_json(record));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if records.is_empty() {
        say!("Nothing is parked: every record could be understood.");
    }
    for record in &records {
        say!("{}  {}", record.id, rfc3339_micros(record.parked_at));
        say!("  at      {}", place(record));
        say!("  reason  {}", shown(&record.reason, usize::MAX));
        say!("  key     {}", shown(&record.key, LISTED_CHARS_MAX));
        say!("  value   {}", shown(&value_of(record), LISTED_CHARS_MAX));
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let record = store(&args.from)?.parked_record(args.id).await?;
    let record = record.with_context(|| format!("there is no parked record {}", args.id))?;
    if args.from.json {
        say!("{}", as_json(&record));
        return Ok(ExitCode::SUCCESS);
    }
    say!("parked     {}", rfc3339_micros(record.parked_at));
    say!("topic      {}", shown(&record.topic, usize::MAX));
    say!("partition  {}", record.partition);
    say!("offset     {}", record.offset);
    say!("reason     {}", shown(&record.reason, usize::MAX));
    say!("key        {}", shown(&record.key, usize::MAX));
    say!("value      {}", shown(&value_of(&record), usize::MAX));
    Ok(ExitCode::SUCCESS)
}

fn store(from: &FromArgs) -> anyhow::Result<Store> {
    Ok(Store::new(&from.database_url, "posthorn-parked", CONNECTIONS)?)
}

fn as_json(record: &ShownRecord) -> Value {
    json!({
        "id": record.id,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "key": record.key,
        "excerpt": value_of(record),
        "reason": record.reason,
        "parked_at": rfc3339_micros(record.parked_at),
    })
}

fn place(record: &ShownRecord) -> String {
    let topic = shown(&record.topic, usize::MAX);
    format!("{topic}, partition {}, offset {}", record.partition, record.offset)
}

/// The beginning of the value; bytes that are no text are replaced.
fn value_of(record: &ShownRecord) -> String {
    String::from_utf8_lossy(&record.excerpt).into_owned()
}

/// On one line, and cut where it becomes too long.
fn shown(text: &str, chars_max: usize) -> String {
    let mut line: String = text
        .chars()
        .take(chars_max)
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect();
    if text.chars().nth(chars_max).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_wrote_cannot_write_to_a_terminal() {
        assert_eq!(shown("a\u{1b}[2Jb\n", 10), "a\\u{1b}[2Jb\\n");
        assert_eq!(shown("abcdef", 3), "abc…");
        assert_eq!(shown("abc", 3), "abc");
    }
}
