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
/// What Sequin's loader knows, and the type that it takes there; `*` is any item of a list. What it
/// does not know of a sink it refuses, and of the rest it says nothing.
const KNOWN: [(&str, &str); 37] = [
    ("/account/name", "text"),
    ("/users/*/email", "text"),
    ("/users/*/password", "text"),
    ("/api_tokens/*/name", "text"),
    ("/api_tokens/*/token", "text"),
    ("/databases/*/name", "text"),
    ("/databases/*/hostname", "text"),
    ("/databases/*/port", "number"),
    ("/databases/*/database", "text"),
    ("/databases/*/username", "text"),
    ("/databases/*/password", "text"),
    ("/databases/*/pool_size", "number"),
    ("/databases/*/slot/name", "text"),
    ("/databases/*/slot/create_if_not_exists", "yes or no"),
    ("/databases/*/publication/name", "text"),
    ("/databases/*/publication/create_if_not_exists", "yes or no"),
    ("/databases/*/await_database/timeout_ms", "number"),
    ("/databases/*/await_database/interval_ms", "number"),
    ("/functions/*/name", "text"),
    ("/functions/*/type", "text"),
    ("/functions/*/sink_type", "text"),
    ("/functions/*/code", "text"),
    ("/sinks/*/name", "text"),
    ("/sinks/*/database", "text"),
    ("/sinks/*/source/include_tables/*", "text"),
    ("/sinks/*/tables/*/name", "text"),
    ("/sinks/*/tables/*/group_column_names/*", "text"),
    ("/sinks/*/actions/*", "text"),
    ("/sinks/*/batch_size", "number"),
    ("/sinks/*/transform", "text"),
    ("/sinks/*/routing", "text"),
    ("/sinks/*/load_shedding_policy", "text"),
    ("/sinks/*/destination/tls", "yes or no"),
    ("/sinks/*/destination/compression", "text"),
    ("/sinks/*/destination/type", "text"),
    ("/sinks/*/destination/hosts", "text"),
    ("/sinks/*/destination/topic", "text"),
];

/// Every value of the file with its place and its type, as in `KNOWN`.
fn leaves(place: &str, value: &Value) -> Vec<(String, &'static str)> {
    let below = |name: &str, value: &Value| leaves(&format!("{place}/{name}"), value);
    match value {
        Value::Object(fields) => {
            fields.iter().flat_map(|(name, value)| below(name, value)).collect()
        }
        Value::Array(items) => items.iter().flat_map(|item| below("*", item)).collect(),
        Value::String(_) => vec![(place.to_owned(), "text")],
        Value::Number(_) => vec![(place.to_owned(), "number")],
        Value::Bool(_) => vec![(place.to_owned(), "yes or no")],
        Value::Null => vec![(place.to_owned(), "nothing")],
    }
}

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
    let leaves = leaves("", &file);
    for (place, kind) in &leaves {
        ensure!(KNOWN.contains(&(place.as_str(), *kind)), "{place}, {kind}: not what it knows");
    }
    for (place, _) in KNOWN {
        ensure!(leaves.iter().any(|(there, _)| there == place), "{place} is not said");
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
fn what_the_sink_names_is_there_and_one_endpoint_is_one_group() -> anyhow::Result<()> {
    let file = yaml("sequin/sequin.yaml")?;
    let sink = &file["sinks"][0];
    let named = |list: &str, name: &Value| {
        let items = file[list].as_array().into_iter().flatten();
        items.into_iter().find(|item| item["name"] == *name).cloned().unwrap_or_default()
    };
    ensure!(named("databases", &sink["database"]).is_object(), "no database {}", sink["database"]);
    let (transform, routing) = (&sink["transform"], &sink["routing"]);
    ensure!(named("functions", transform)["type"] == "transform", "no transform {transform}");
    let routing = named("functions", routing);
    ensure!(routing["type"] == "routing" && routing["sink_type"] == "kafka", "{routing}");
    // The order: what has one group is sent one after the other, and the key is that group's.
    let tables = sink["tables"].as_array().context("no tables")?;
    ensure!(tables.len() == 1 && sink["source"]["include_tables"][0] == tables[0]["name"]);
    let groups = &tables[0]["group_column_names"];
    ensure!(*groups == serde_json::json!(["endpoint_id"]), "{groups}");
    let route = function("by-endpoint")?;
    ensure!(route.contains(r#"message_key: "ep_" <> record["endpoint_id"]"#), "{route}");
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
