//! `posthorn cdc switch`, there and back under load.
//!
//! Sequin cannot run here. What stands for it is a server with the shapes of its API, which starts
//! and ends a real reader of the WAL on Sequin's slot: the relay's own code, so the records are the
//! contract's. What is shown is the switch, not Sequin.

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use posthorn_tests::{Lab, Receiver, binary, state_dir};
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tokio::net::TcpListener;

use crate::{foreign_cdc, merchant};

const SOON: Duration = Duration::from_secs(30);
const TOKEN: &str = "a-token";

/// What the fake was asked, and the reader that it runs.
#[derive(Default)]
pub(crate) struct Sequin {
    pub(crate) asked: Vec<String>,
    reader: Option<Child>,
    /// It makes its slot, and never streams.
    pub(crate) is_mute: bool,
    /// It streams from its slot, and announces nothing of it.
    pub(crate) is_silent: bool,
    database_url: String,
    kafka: String,
}

pub(crate) type Shared = Arc<Mutex<Sequin>>;

pub(crate) fn lock(sequin: &Shared) -> std::sync::MutexGuard<'_, Sequin> {
    sequin.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sequin {
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        if self.is_silent {
            return self.start_silent();
        }
        let child = Command::new(binary()?)
            .args(["relay", "--slot", "sequin_slot", "--listen", "127.0.0.1:0"])
            .args(["--database-url", &self.database_url, "--kafka", &self.kafka])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.reader = Some(child);
        Ok(())
    }

    fn start_silent(&mut self) -> anyhow::Result<()> {
        let child = Command::new("pg_recvlogical")
            .args(["--slot", "sequin_slot", "--create-slot", "--if-not-exists", "--start"])
            .args(["--plugin", "pgoutput", "--option", "proto_version=1"])
            .args(["--option", "publication_names=posthorn_deliveries", "--file", "/dev/null"])
            .args(["--dbname", &self.database_url])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.reader = Some(child);
        Ok(())
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut reader) = self.reader.take() {
            let _ = reader.kill();
            let _ = reader.wait();
        }
    }
}

impl Drop for Sequin {
    fn drop(&mut self) {
        self.stop();
    }
}

fn is_allowed(headers: &HeaderMap) -> bool {
    headers.get("authorization").is_some_and(|value| value == &format!("Bearer {TOKEN}"))
}

async fn serve(sequin: Shared) -> anyhow::Result<String> {
    let routes = Router::new()
        .route("/api/sinks", get(sinks))
        .route("/api/config/apply", post(apply))
        .route("/api/sinks/{name}", put(update_sink))
        .route("/api/sinks/{name}", delete(remove))
        .route("/api/postgres_databases/{name}", delete(remove))
        .with_state(sequin);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(url)
}

async fn sinks(headers: HeaderMap) -> (StatusCode, Json<Value>) {
    let status = if is_allowed(&headers) { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
    (status, Json(json!({ "data": [] })))
}

async fn apply(State(sequin): State<Shared>, Json(body): Json<Value>) -> Json<Value> {
    let yaml = body["yaml"].as_str().unwrap_or_default();
    // Every variable has its value: Sequin reads the text as it comes.
    let is_whole = yaml.contains("sequin_slot") && !yaml.contains("${");
    let (is_mute, database_url) = {
        let mut sequin = lock(&sequin);
        sequin.asked.push(format!("apply {is_whole}"));
        if is_whole && !sequin.is_mute && sequin.reader.is_none() {
            sequin.start().expect("the reader starts");
        }
        (sequin.is_mute, sequin.database_url.clone())
    };
    if is_mute {
        let mut db = PgConnection::connect(&database_url).await.expect("a connection");
        db.execute("select pg_create_logical_replication_slot('sequin_slot', 'pgoutput')")
            .await
            .expect("a slot");
    }
    Json(json!({ "resources": [] }))
}

async fn update_sink(
    State(sequin): State<Shared>,
    Path(name): Path<String>,
    Json(body): Json<Value>,
) -> Json<Value> {
    lock(&sequin).asked.push(format!("put {name} {}", body["status"]));
    Json(json!({ "name": name }))
}

async fn remove(State(sequin): State<Shared>, Path(name): Path<String>) -> Json<Value> {
    let mut sequin = lock(&sequin);
    sequin.asked.push(format!("delete {name}"));
    // With its database Sequin ends what reads from it.
    if name == "posthorn" {
        sequin.stop();
    }
    Json(json!({ "id": name, "deleted": true }))
}

pub(crate) async fn sequin_beside(lab: &Lab) -> anyhow::Result<(Shared, String)> {
    let shared = Shared::default();
    {
        let mut sequin = lock(&shared);
        sequin.database_url = lab.database_url()?;
        sequin.kafka = format!("127.0.0.1:{}", lab.ports()?.kafka);
    }
    let url = serve(Arc::clone(&shared)).await?;
    Ok((shared, url))
}

/// What [`Installation::stands`] says when one producer is left.
pub(crate) fn stands(slot: &str, topic: &str) -> (Vec<String>, Vec<String>) {
    (vec![slot.to_owned()], vec![format!("kafka://posthorn/{topic}")])
}

/// A relay that is held still announces nothing: a switch to Sequin waits for it.
pub(crate) fn hold_the_relay(installation: &Installation) -> anyhow::Result<Pid> {
    let relay = installation.lab.status()?.services.into_iter().find(|it| it.name == "relay");
    let relay = relay.and_then(|it| it.pid).context("no relay")?;
    let relay = Pid::from_raw(i32::try_from(relay)?);
    kill(relay, Signal::SIGSTOP)?;
    Ok(relay)
}

pub(crate) struct Installation {
    pub(crate) lab: Lab,
    pub(crate) url: String,
}

impl Installation {
    pub(crate) async fn switch(&self, to: &str) -> anyhow::Result<String> {
        let (is_done, said) = self.typed(&[to]).await?;
        ensure!(is_done, "switch {to}: {said}");
        Ok(said)
    }

    /// Whether the switch was made, and what was said.
    pub(crate) async fn typed(&self, words: &[&str]) -> anyhow::Result<(bool, String)> {
        let output = self.command(words)?.output().await?;
        let text = String::from_utf8_lossy(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        Ok((output.status.success(), format!("{text}{said}")))
    }

    pub(crate) fn command(&self, words: &[&str]) -> anyhow::Result<tokio::process::Command> {
        let ports = self.lab.ports()?;
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../compose/sequin/sequin.yaml");
        let at = |port: u16| format!("http://127.0.0.1:{port}");
        let mut command = tokio::process::Command::new(binary()?);
        command
            .args(["cdc", "switch", "--sequin-url", &self.url, "--sequin-token", TOKEN])
            .args(words)
            .args(["--sequin-config", config, "--kafka", &format!("127.0.0.1:{}", ports.kafka)])
            .args(["--restate-admin-url", &at(ports.restate_admin)])
            .args(["--restate-ingress-url", &at(ports.restate_ingress)])
            .args(["--database-url", &self.lab.database_url()?])
            // As `.posthorn/environment` says it: another choice would be registered anew by `up`.
            .arg("--restate-is-one-node")
            .envs(
                ["ADMIN_PASSWORD", "API_TOKEN", "SOURCE_PASSWORD"]
                    .map(|n| (format!("SEQUIN_{n}"), "x")),
            );
        Ok(command)
    }

    /// `posthorn register`, with more words.
    pub(crate) fn registration(&self, words: &[&str]) -> anyhow::Result<tokio::process::Command> {
        let ports = self.lab.ports()?;
        let at = |port: u16| format!("http://127.0.0.1:{port}");
        let mut command = tokio::process::Command::new(binary()?);
        command
            .args(["register", "--restate-is-one-node"])
            .args(words)
            .args(["--restate-admin-url", &at(ports.restate_admin)])
            .args(["--worker-url", &at(ports.worker)])
            .args(["--kafka", &format!("127.0.0.1:{}", ports.kafka)])
            .args(["--database-url", &self.lab.database_url()?]);
        Ok(command)
    }

    /// Registers Sequin's topic, as the profile `sequin` of compose does.
    pub(crate) async fn register_behind_sequin(&self) -> anyhow::Result<()> {
        let output = self.registration(&["--topic", "webhook-events"])?.output().await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// The slots that stand, and the topics that Restate reads.
    pub(crate) async fn stands(&self) -> anyhow::Result<(Vec<String>, Vec<String>)> {
        let mut db = PgConnection::connect(&self.lab.database_url()?).await?;
        let slots =
            sqlx::query_scalar("select slot_name::text from pg_replication_slots order by 1")
                .fetch_all(&mut db)
                .await?;
        let admin = format!("http://127.0.0.1:{}", self.lab.ports()?.restate_admin);
        let known = posthorn_tests::Api::new(&admin)?.get("/subscriptions").await?;
        let known = known["subscriptions"].as_array().context("no subscriptions")?.clone();
        let source = |it: &Value| it["source"].as_str().map(str::to_owned);
        Ok((slots, known.iter().filter_map(source).collect()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_there_and_back_under_load_loses_nothing_and_leaves_one_standing()
-> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let (shared, url) = sequin_beside(&lab).await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("switched");
    api.merchant(&merchant, receiver.url()).await?;
    let installation = Installation { lab, url };
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let load = async {
        let mut tick = tokio::time::interval(Duration::from_millis(40));
        let mut made = 0;
        while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
            tick.tick().await;
            made += 1;
            api.payment(&merchant, made).await?;
        }
        anyhow::Ok(made)
    };
    let switches = async {
        let switched = there_and_back(&installation, &receiver).await;
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        switched
    };
    let (made, switched) = tokio::join!(load, switches);
    switched?;
    let made = made?;
    // Before the sweeper would come.
    receiver.wait_for(usize::try_from(made)?, SOON).await?;
    all_came_in_order(&receiver, made)?;
    let asked = lock(&shared).asked.clone();
    let apply = ["apply true", "put webhook-events \"active\""];
    ensure!(
        asked == [&apply[..], &["delete webhook-events", "delete posthorn"]].concat(),
        "{asked:?}"
    );
    Ok(())
}

async fn there_and_back(installation: &Installation, receiver: &Receiver) -> anyhow::Result<()> {
    receiver.wait_for(20, SOON).await?;
    for (to, slot, topic) in [
        ("sequin", "sequin_slot", "webhook-events"),
        // Typed again: nothing is left to do.
        ("sequin", "sequin_slot", "webhook-events"),
        ("relay", "posthorn_relay", "webhook-wakes"),
    ] {
        let said = installation.switch(to).await?;
        let (slots, topics) = installation.stands().await?;
        ensure!(slots == [slot], "{to}: {slots:?}\n{said}");
        ensure!(topics == [format!("kafka://posthorn/{topic}")], "{to}: {topics:?}\n{said}");
        // It goes on behind the new one.
        let count = receiver.accepted().len() + 40;
        receiver.wait_for(count, SOON).await.with_context(|| said)?;
    }
    Ok(())
}

fn all_came_in_order(receiver: &Receiver, made: i64) -> anyhow::Result<()> {
    let amount = |body: Value| body["data"]["amount"].as_i64();
    let seen: Vec<i64> = receiver.accepted().iter().filter_map(|it| amount(it.json())).collect();
    ensure!(seen == (1..=made).collect::<Vec<i64>>(), "of {made}: {seen:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_that_is_stopped_after_a_switch_goes_on_behind_sequin_when_it_is_started_again()
-> anyhow::Result<()> {
    let (_temporary, dir) = state_dir()?;
    let lab = Lab::start_in(&dir).await?;
    let (shared, url) = sequin_beside(&lab).await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("outlives");
    api.merchant(&merchant, receiver.url()).await?;
    api.payment(&merchant, 1).await?;
    let mut installation = Installation { lab, url };
    installation.switch("sequin").await?;
    api.payment(&merchant, 2).await?;
    receiver.wait_for(2, SOON).await?;

    installation.lab.end(Signal::SIGTERM).await?;
    lock(&shared).stop();
    installation.lab = Lab::start_in(&dir).await?;
    let said = installation.lab.output()?;
    ensure!(said.contains("Sequin announces"), "who announces is not said: {said}");
    // Sequin is not `up`'s to start: it comes back by itself, and what was paid before goes out.
    let api = installation.lab.api()?;
    for amount in 3..=5 {
        api.payment(&merchant, amount).await?;
    }
    let behind_sequin =
        (vec!["sequin_slot".to_owned()], vec!["kafka://posthorn/webhook-events".to_owned()]);
    let stands = installation.stands().await?;
    ensure!(stands == behind_sequin, "{stands:?}");
    ensure!(receiver.accepted().len() == 2, "nobody announces yet");
    // The fake's reader is our relay's code, which stands by: what Sequin would send is made here.
    let kafka = format!("127.0.0.1:{}", installation.lab.ports()?.kafka);
    let producer = rdkafka::ClientConfig::new().set("bootstrap.servers", kafka).create()?;
    let mut db = PgConnection::connect(&installation.lab.database_url()?).await?;
    foreign_cdc::send(&producer, &foreign_cdc::records(&mut db, &merchant).await?).await?;
    receiver.wait_for(5, SOON).await?;

    installation.switch("relay").await?;
    api.payment(&merchant, 6).await?;
    receiver.wait_for(6, SOON).await?;
    let (slots, topics) = installation.stands().await?;
    ensure!(slots == ["posthorn_relay"], "{slots:?}");
    ensure!(topics == ["kafka://posthorn/webhook-wakes"], "{topics:?}");
    all_came_in_order(&receiver, 6)
}
