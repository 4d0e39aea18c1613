//! A planted secret and a planted payload, and where they must not be found afterwards.
//!
//! The secret and the merchant's own headers: nowhere on disk, in any spelling. The payload, and what
//! stands in the path and query of the merchant's URL: in PostgreSQL's data and nowhere else, not in
//! Kafka, Restate, a log or a span. What must be there is looked for
//! too, so that a search which finds nothing because it cannot see is not taken for a good sign.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use posthorn_tests::{Answer, Lab, Receiver};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use standardwebhooks::Webhook;
use uuid::Uuid;

use crate::merchant;
use crate::path::hasten;

const SOON: Duration = Duration::from_secs(30);

/// Read at once; files of Kafka and Restate are large and mostly empty.
const CHUNK: usize = 1 << 20;

/// Restate compresses its log, where no search would find anything.
const RESTATE_IN_THE_CLEAR: &[(&str, &str)] = &[
    ("RESTATE_ROCKSDB_DISABLE_WAL_COMPRESSION", "true"),
    ("RESTATE_LOG_SERVER__ROCKSDB_DISABLE_WAL_COMPRESSION", "true"),
];

/// What is looked for, by name, in every spelling in which it could be written.
struct Canary {
    name: &'static str,
    spellings: Vec<Vec<u8>>,
}

impl Canary {
    /// A header's value, also as JSON and a URL spell its slashes.
    fn of_header(name: &'static str, value: &str) -> Self {
        let spellings = [value.to_owned(), value.replace('/', r"\/"), value.replace('/', r"\\/")];
        Self { name, spellings: spellings.into_iter().map(String::into_bytes).collect() }
    }

    fn of_text(name: &'static str, text: &str) -> Self {
        Self { name, spellings: vec![text.as_bytes().to_vec()] }
    }

    /// A secret: its bytes, and as text, hexadecimal and JSON's list of numbers.
    fn of_secret(name: &'static str, text: &str, bytes: &[u8]) -> Self {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let list: Vec<String> = bytes.iter().map(u8::to_string).collect();
        let spellings = [text.to_owned(), hex.to_uppercase(), hex, list.join(","), list.join(", ")];
        let mut spellings: Vec<Vec<u8>> = spellings.into_iter().map(String::into_bytes).collect();
        spellings.push(bytes.to_vec());
        Self { name, spellings }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_nowhere_and_a_payload_or_a_url_only_in_the_database() -> anyhow::Result<()> {
    let lab = Lab::start_with(RESTATE_IN_THE_CLEAR).await?;
    let lab = &lab;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("canary");
    api.post("/v1/merchants", &json!({ "merchant_id": merchant, "name": "canary" })).await?;
    // Both random: no earlier run can have left them anywhere.
    let key: Vec<u8> = [*Uuid::new_v4().as_bytes(), *Uuid::new_v4().as_bytes()].concat();
    let encoded = base64(&key);
    let secret = format!("whsec_{encoded}");
    let credential = format!("hunter2/{}/=", Uuid::new_v4());
    let payload = format!("payload-{}", Uuid::new_v4());
    let token = format!("token-{}", Uuid::new_v4());
    let endpoint = json!({
        "merchant_id": merchant, "url": format!("{}/{token}?key={token}", receiver.url()),
        "secret": secret,
        "headers": { "authorization": credential },
    });
    let (endpoint, shown) = api.endpoint(&endpoint).await?;
    ensure!(shown == secret);
    hasten(&lab.database_url()?, &endpoint).await?;

    // Every way an attempt can end that writes a line: unwell, refused, delivered; and a body that is
    // kept of each.
    receiver.script([Answer::Echo, Answer::Status(400), Answer::Status(302)]);
    let event = write_event(&lab.database_url()?, &merchant, &payload).await?;
    let rotate = format!("/v1/endpoints/{endpoint}/rotate-secret");
    let rotated = api.post(&rotate, &json!({})).await?;
    let refused = refused_event(&lab.database_url()?, &merchant, &payload).await?;
    let webhook = receiver.wait_for(1, SOON).await?.remove(0);
    ensure!(webhook.json()["data"]["note"] == payload.as_str(), "{}", webhook.json());
    ensure!(webhook.header("authorization") == credential);
    Webhook::new(&secret)?.verify(&webhook.body, &webhook.headers)?;
    // A refusal that is logged with its reason.
    let bad = json!({ "secret": format!("{secret}{encoded}{encoded}") });
    ensure!(api.send("POST", &rotate, &[], bad.to_string()).await?.0 == 400);

    let new = rotated["secret"].as_str().context("a secret")?;
    let secrets = [
        Canary::of_secret("the imported secret", &encoded, &key),
        Canary::of_text("the new secret", new.trim_start_matches("whsec_")),
        Canary::of_header("the merchant's header", &credential),
    ];
    let ours =
        [Canary::of_text("the payload", &payload), Canary::of_text("the URL's token", &token)];
    let all = found(lab, &["."], &secrets)?;
    ensure!(all.is_empty(), "{all:#?}");
    let outside_the_database = found(lab, &["log", "run", "kafka", "restate"], &ours)?;
    ensure!(outside_the_database.is_empty(), "{outside_the_database:#?}");

    let spans = lab.traces()?.everything(&endpoint).await?;
    for canary in secrets.iter().chain(&ours) {
        let is_there = canary.spellings.iter().any(|spelling| contains(spans.as_bytes(), spelling));
        ensure!(!is_there, "{} is in a span", canary.name);
    }

    // The search sees what is there.
    let seen = |part: &str, text: &str| {
        found(lab, &[part], &[Canary::of_text("what must be there", text)])
    };
    ensure!(!seen("postgres", &payload)?.is_empty(), "the payload is not even in PostgreSQL");
    ensure!(!seen("postgres", &token)?.is_empty(), "the URL is not even in PostgreSQL");
    ensure!(!seen("postgres", "[redacted]")?.is_empty(), "what the merchant sent back is not kept");
    ensure!(!seen("kafka", &event)?.is_empty(), "the event is not on Kafka");
    ensure!(!seen("restate", &endpoint)?.is_empty(), "the endpoint is not in Restate");
    ensure!(!seen("log", &refused)?.is_empty(), "PostgreSQL's refusal is not in its log");
    ensure!(!seen("log", &endpoint)?.is_empty(), "the refusals are not in a log");
    Ok(())
}

/// An event without a payment behind it, which carries its payload; its id.
async fn write_event(url: &str, merchant: &str, payload: &str) -> anyhow::Result<String> {
    let mut db = PgConnection::connect(url).await?;
    let id: Uuid = sqlx::query_scalar(
        "insert into domain_events (event_type, object_id, merchant_id, payload)
         values ('note.written', 'note', $1, $2) returning id",
    )
    .bind(merchant)
    .bind(json!({ "note": payload }))
    .fetch_one(&mut db)
    .await?;
    Ok(format!("evt_{id}"))
}

/// An event with the payload that PostgreSQL refuses, in the statement's text and as its value;
/// the constraint's name.
async fn refused_event(url: &str, merchant: &str, payload: &str) -> anyhow::Result<String> {
    let mut db = PgConnection::connect(url).await?;
    let note = json!({ "note": payload, "rest": "x".repeat(300_000) });
    let insert = "insert into domain_events (event_type, object_id, merchant_id, payload)";
    let bound = sqlx::query(sqlx::AssertSqlSafe(format!("{insert} values ('n', 'n', $1, $2)")))
        .bind(merchant)
        .bind(&note);
    let written = sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "{insert} values ('n', 'n', '{merchant}', '{note}')"
    )));
    let refusals = [bound.execute(&mut db).await.err(), written.execute(&mut db).await.err()];
    let mut name = None;
    for refused in refusals {
        let refused = refused.context("an event that is too large was accepted")?;
        name = refused.as_database_error().and_then(|e| e.constraint()).map(str::to_owned);
    }
    name.context("no constraint refused it")
}

/// Which canaries are in which files under `parts` of the state directory.
fn found(lab: &Lab, parts: &[&str], canaries: &[Canary]) -> anyhow::Result<Vec<String>> {
    let mut hits = Vec::new();
    for part in parts {
        let mut files = Vec::new();
        list(&lab.dir().join(part), &mut files)?;
        ensure!(!files.is_empty(), "there is nothing in {part}");
        for file in files {
            for canary in canaries {
                if holds(&file, &canary.spellings)? {
                    hits.push(format!("{} is in {}", canary.name, file.display()));
                }
            }
        }
    }
    Ok(hits)
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    // The parts run: files come and go meanwhile.
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let Ok(entry) = entry else { continue };
        let Ok(kind) = entry.file_type() else { continue };
        // Downloads, which no event ever reaches.
        if kind.is_dir() && entry.file_name() != "parts" {
            list(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// Does the file hold one of `spellings`? Read in chunks that overlap by the longest of them.
fn holds(file: &Path, spellings: &[Vec<u8>]) -> anyhow::Result<bool> {
    let Ok(mut file) = File::open(file) else { return Ok(false) };
    let overlap = spellings.iter().map(Vec::len).max().unwrap_or(0);
    let mut window: Vec<u8> = Vec::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(false);
        }
        window.extend_from_slice(&chunk[..read]);
        if spellings.iter().any(|spelling| contains(&window, spelling)) {
            return Ok(true);
        }
        window.drain(..window.len().saturating_sub(overlap));
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    let Some((&first, rest)) = wanted.split_first() else { return false };
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == first) {
        from += at + 1;
        if bytes[from..].starts_with(rest) {
            return true;
        }
    }
    false
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
