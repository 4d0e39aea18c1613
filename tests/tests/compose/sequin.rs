//! Sequin's configuration: keys that it knows, and the same records as our relay's.
//!
//! The transform and the routing are taken from the file itself and tried on the fixtures of the
//! contract, which the relay is tested against too. They are re-stated here from their text, which
//! needs nothing; where Elixir is installed, Elixir runs them as well.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use serde_json::{Map, Value};

use crate::yaml;

const FIXTURES: &str = include_str!("../../../crates/relay/tests/fixtures/records.jsonl");
/// What Sequin's loader knows; what it does not know of a sink it refuses.
const KEYS: [(&str, &[&str]); 5] = [
    ("/", &["account", "users", "api_tokens", "databases", "functions", "sinks"]),
    (
        "/databases/0",
        &[
            "name",
            "hostname",
            "port",
            "database",
            "username",
            "password",
            "pool_size",
            "slot",
            "publication",
            "await_database",
        ],
    ),
    ("/databases/0/slot", &["name", "create_if_not_exists"]),
    (
        "/sinks/0",
        &[
            "name",
            "database",
            "source",
            "tables",
            "actions",
            "batch_size",
            "transform",
            "routing",
            "load_shedding_policy",
            "destination",
        ],
    ),
    ("/sinks/0/destination", &["type", "hosts", "topic", "tls", "compression"]),
];

fn function(name: &str) -> anyhow::Result<String> {
    let file = yaml("sequin/sequin.yaml")?;
    let functions = file["functions"].as_array().context("no functions")?;
    let found = functions.iter().find(|function| function["name"] == name);
    Ok(found.and_then(|it| it["code"].as_str()).with_context(|| format!("no {name}"))?.to_owned())
}

fn fixtures() -> anyhow::Result<Vec<Value>> {
    FIXTURES.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// A row as Sequin has it: PostgreSQL's text, but for the time, of which it makes a point in time,
/// and which its JSON shows in UTC with six digits.
fn row_of(fixture: &Value) -> anyhow::Result<Map<String, Value>> {
    let mut row = fixture["row"].as_object().context("no row")?.clone();
    let time = row["occurred_at"].as_str().context("no time")?.trim_end_matches("+00");
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, ""));
    row.insert(
        "occurred_at".to_owned(),
        format!("{}.{fraction:0<6}Z", seconds.replace(' ', "T")).into(),
    );
    Ok(row)
}

/// The value of `"prefix" <> record["column"]`, or of `record["column"]`.
fn value_of(expression: &str, row: &Map<String, Value>) -> anyhow::Result<Value> {
    let (prefix, column) = match expression.split_once(" <> ") {
        Some((prefix, rest)) => (prefix.trim_matches('"'), rest),
        None => ("", expression),
    };
    let column = column.strip_prefix("record[\"").and_then(|rest| rest.strip_suffix("\"]"));
    let column = column.with_context(|| format!("not understood: {expression}"))?;
    let value = row.get(column).with_context(|| format!("no column {column}"))?;
    match (prefix, value) {
        ("", value) => Ok(value.clone()),
        (prefix, Value::String(text)) => Ok(format!("{prefix}{text}").into()),
        (_, value) => bail!("{expression}: {value} is no text"),
    }
}

#[test]
fn the_file_has_keys_that_sequin_knows_and_one_sink_that_drops_nothing() -> anyhow::Result<()> {
    let file = yaml("sequin/sequin.yaml")?;
    for (place, known) in KEYS {
        let object = if place == "/" { Some(&file) } else { file.pointer(place) };
        let object = object.and_then(Value::as_object).with_context(|| format!("no {place}"))?;
        let unknown: Vec<&String> =
            object.keys().filter(|key| !known.contains(&key.as_str())).collect();
        ensure!(unknown.is_empty(), "{place}: {unknown:?}");
    }
    ensure!(file["sinks"].as_array().is_some_and(|sinks| sinks.len() == 1), "one sink a slot");
    let sink = &file["sinks"][0];
    ensure!(sink["load_shedding_policy"] == "pause_on_full" && sink["max_retry_count"].is_null());
    ensure!(sink["actions"] == serde_json::json!(["insert"]), "{}", sink["actions"]);
    ensure!(sink["batch_size"].as_u64().is_some_and(|size| (1..=1000).contains(&size)));
    // The tables, the topic and the publication are those of the migrations and of the relay.
    ensure!(sink["tables"][0]["name"] == "public.deliveries");
    ensure!(sink["destination"]["topic"] == "webhook-events");
    let migrations = crate::text("../migrations/0003_outbox.sql")?;
    let publication = file["databases"][0]["publication"]["name"].as_str().context("no name")?;
    ensure!(migrations.contains(&format!("create publication {publication} for table deliveries")));
    Ok(())
}

#[test]
fn restated_the_transform_and_the_routing_make_the_contracts_records() -> anyhow::Result<()> {
    let (transform, route) = (function("announcement")?, function("by-endpoint")?);
    let topic = route.lines().find_map(|line| line.trim().strip_prefix("topic: \""));
    ensure!(topic == Some("webhook-events\","), "{topic:?}");
    let key = route.lines().find_map(|line| line.trim().strip_prefix("message_key: "));
    let key = key.context("no message_key")?;
    for fixture in fixtures()? {
        let row = row_of(&fixture)?;
        let fields = transform.lines().filter_map(|line| line.trim().split_once(" => "));
        let made: Map<String, Value> = fields
            .map(|(name, expression)| {
                let value = value_of(expression.trim_end_matches(','), &row)?;
                Ok((name.trim_matches('"').to_owned(), value))
            })
            .collect::<anyhow::Result<_>>()?;
        ensure!(Value::Object(made.clone()) == fixture["value"], "{}: {made:?}", fixture["what"]);
        ensure!(value_of(key, &row)? == fixture["key"], "{}", fixture["what"]);
    }
    Ok(())
}

#[test]
fn run_by_elixir_they_make_the_contracts_records() -> anyhow::Result<()> {
    if Command::new("elixir").arg("--version").output().is_err() {
        eprintln!("SKIPPED: no Elixir is installed; the functions were only re-stated");
        return Ok(());
    }
    let fixtures = fixtures()?;
    let script = script(&fixtures)?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("contract.exs");
    std::fs::write(&path, script)?;
    let ran = Command::new("elixir").arg(&path).output()?;
    ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let output = String::from_utf8(ran.stdout)?;
    let mut made: BTreeMap<usize, (String, Map<String, Value>)> = BTreeMap::new();
    for line in output.lines() {
        let parts: Vec<&str> = line.split(' ').collect();
        let [number, field, value] = parts[..] else { bail!("not understood: {line}") };
        let (key, fields) = made.entry(number.parse()?).or_default();
        let value = if value == "nil" { Value::Null } else { text_of(value)?.into() };
        match field {
            "key" => *key = value.as_str().unwrap_or_default().to_owned(),
            field => _ = fields.insert(text_of(field)?, value),
        }
    }
    ensure!(made.len() == fixtures.len(), "{output}");
    for (fixture, (key, value)) in fixtures.iter().zip(made.into_values()) {
        ensure!(fixture["key"] == key.as_str(), "{}: {key}", fixture["what"]);
        ensure!(fixture["value"] == Value::Object(value.clone()), "{}: {value:?}", fixture["what"]);
    }
    Ok(())
}

/// A program that runs the two functions on every row, and prints what they made in hexadecimal.
fn script(fixtures: &[Value]) -> anyhow::Result<String> {
    let mut script = format!(
        "defmodule Functions do\n{}\n{}\nend\n",
        function("announcement")?,
        function("by-endpoint")?
    );
    script.push_str(
        "hex = fn nil -> \"nil\"\n  %DateTime{} = at -> Base.encode16(DateTime.to_iso8601(at))\n  \
         text -> Base.encode16(text) end\nun = &Base.decode16!/1\nshow = fn number, record ->\n  \
         value = Functions.transform(\"insert\", record, nil, %{})\n  \
         %{topic: \"webhook-events\", message_key: key} = \
         Functions.route(\"insert\", record, nil, %{})\n  \
         IO.puts(\"#{number} key #{hex.(key)}\")\n  \
         for {name, it} <- value, do: IO.puts(\"#{number} #{hex.(name)} #{hex.(it)}\")\nend\n",
    );
    for (number, fixture) in fixtures.iter().enumerate() {
        write!(script, "show.({number}, %{{")?;
        for (name, value) in row_of(fixture)? {
            let term = match value.as_str() {
                None => "nil".to_owned(),
                // A point in time, with six digits, as Sequin casts it.
                Some(at) if name == "occurred_at" => {
                    format!("(fn {{:ok, at, 0}} -> at end).(DateTime.from_iso8601(\"{at}\"))")
                }
                Some(text) => format!("un.(\"{}\")", hex_of(text)),
            };
            write!(script, "\"{name}\" => {term}, ")?;
        }
        script.push_str("\"xid\" => 7})\n");
    }
    Ok(script)
}

fn hex_of(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02X}")).collect()
}

fn text_of(hex: &str) -> anyhow::Result<String> {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16);
    let bytes: Result<Vec<u8>, _> = (0..hex.len()).step_by(2).map(byte).collect();
    Ok(String::from_utf8(bytes?)?)
}
