//! `/readyz` says what is so: who needs PostgreSQL is not ready while it is frozen, the relay while
//! another has its slot; the api needs neither Kafka nor Restate.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use posthorn_tests::{Api, Lab, Receiver, binary, until};
use sqlx::{Connection, Executor, PgConnection};
use tokio::process::{Child, Command};

use crate::replayed::signal;
use crate::{crash, merchant};

/// Longest until a role says that what it needs is away; a statement under way has 12 s.
const SAID: Duration = Duration::from_secs(20);
/// What was away is back, or a server gave up on who is frozen, and a machine that is busy.
const SOON: Duration = Duration::from_secs(60);
/// What need not be waited for, on a machine that is busy.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Waits until the role on `port` answers `status`, and says of `part` what has `why` in it: `ready`,
/// or something else, which no other part's answer stands for.
async fn says(
    port: u16,
    status: u16,
    part: &str,
    why: &str,
    limit: Duration,
) -> anyhow::Result<String> {
    let role = Api::new(&format!("http://127.0.0.1:{port}"))?;
    until(&format!("{part} is {why:?} at {port}, {status}"), limit, async || {
        let (code, told) = role.send("GET", "/readyz", &[], "").await?;
        let reason = told["parts"][part].as_str().context("no such part")?;
        ensure!(code == status && reason.contains(why), "{code} {told}");
        ensure!((reason == "ready") == (why == "ready"), "{told}");
        Ok(reason.to_owned())
    })
    .await
}

/// The process of PostgreSQL's server.
fn server_of(lab: &Lab) -> anyhow::Result<i32> {
    let services = lab.status()?.services;
    let server = services.iter().find(|service| service.name == "postgres").context("postgres")?;
    Ok(server.pid.context("its pid")?.try_into()?)
}

/// Sends `to` to the server and to each of its processes, which have their own connections; to all
/// of them, whatever comes of one. Who has ended meanwhile needs no signal.
fn to_all_of_postgres(server: i32, to: Signal) -> anyhow::Result<()> {
    let send = |pid: i32| match kill(Pid::from_raw(pid), to) {
        Err(Errno::ESRCH) => Ok(()),
        sent => sent,
    };
    // The server first: what it does not start need not be found.
    let mut outcome = send(server);
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // After the name, which may have anything in it: the state, and the parent.
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
        if parent.and_then(|pid| pid.parse().ok()) == Some(server) {
            let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
            outcome = outcome.and(send(pid));
        }
    }
    Ok(outcome?)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_needs_postgresql_is_not_ready_while_it_is_frozen_even_in_the_middle_of_a_round()
-> anyhow::Result<()> {
    let lab = crash::lab().await?;
    let ports = lab.ports()?;
    let roles = [ports.http, ports.data_service, ports.worker_health];
    let url = lab.database_url()?;
    let mut holder = PgConnection::connect(&url).await?;
    let mut held = holder.begin().await?;
    held.execute("lock table endpoint_runtime in access exclusive mode").await?;
    until("the sweeper's round waits for the lock", SOON, async || {
        let waits: bool = sqlx::query_scalar(
            "select exists (select from pg_stat_activity where wait_event_type = 'Lock'
             and application_name = 'posthorn-worker' and query like '%endpoints_left_alone%')",
        )
        .fetch_one(&mut PgConnection::connect(&url).await?)
        .await?;
        ensure!(waits, "not now");
        Ok(())
    })
    .await?;
    let server = server_of(&lab)?;
    let outcome = async {
        to_all_of_postgres(server, Signal::SIGSTOP)?;
        let [of_api, of_data_service] =
            [roles[0], roles[1]].map(|port| says(port, 503, "database", "", SAID));
        let of_worker = says(roles[2], 503, "database", "no answer within 12 s", SAID);
        tokio::try_join!(of_api, of_data_service, of_worker)
    }
    .await;
    let goes_on = to_all_of_postgres(server, Signal::SIGCONT);
    outcome.map(drop).and(goes_on)?;
    held.rollback().await?;
    for port in roles {
        says(port, 200, "database", "ready", SOON).await?;
    }
    Ok(())
}

/// Another relay on the same slot; where it tells its health.
fn other_relay(lab: &Lab) -> anyhow::Result<(Child, u16)> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let child = Command::new(binary()?)
        .args(["exec", "--signal", "SIGKILL", "--parent", &std::process::id().to_string(), "--"])
        .arg(binary()?)
        .args(["relay", "--listen", &format!("127.0.0.1:{port}")])
        .args(["--kafka", &format!("127.0.0.1:{}", lab.ports()?.kafka)])
        .env("POSTHORN_DATABASE_URL", lab.database_url()?)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    Ok((child, port))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_is_not_ready_while_another_has_its_slot() -> anyhow::Result<()> {
    let lab = crash::lab().await?;
    let relay = lab.ports()?.relay_health;
    says(relay, 200, "slot", "ready", SOON).await?;
    let (mut other, of_other) = other_relay(&lab)?;
    let held = says(of_other, 503, "slot", "the slot", SOON).await?;
    ensure!(held.contains("posthorn_relay"), "{held}");
    // The server gives up on who does not answer; the other one is there.
    signal(&lab, "relay", Signal::SIGSTOP)?;
    let taken = says(of_other, 200, "slot", "ready", SOON).await;
    taken.map(drop).and(signal(&lab, "relay", Signal::SIGCONT))?;
    says(relay, 503, "slot", "the slot", SOON).await?;
    other.kill().await?;
    says(relay, 200, "slot", "ready", SOON).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_ready_and_takes_payments_while_kafka_and_restate_are_frozen()
-> anyhow::Result<()> {
    let lab = crash::lab().await?;
    let (ports, api, receiver) = (lab.ports()?, lab.api()?, Receiver::start().await?);
    let merchant = merchant("ready");
    api.merchant(&merchant, receiver.url()).await?;
    let parts = ["kafka", "restate"];
    let outcome = async {
        parts.iter().try_for_each(|part| signal(&lab, part, Signal::SIGSTOP))?;
        // Who needs them says so: they are away.
        says(ports.relay_health, 503, "kafka", "", SOON).await?;
        says(ports.worker_health, 503, "restate", "", SOON).await?;
        says(ports.http, 200, "database", "ready", AT_ONCE).await?;
        api.payment(&merchant, 1).await
    }
    .await;
    // Both go on, whatever comes of one.
    let [kafka, restate] = parts.map(|part| signal(&lab, part, Signal::SIGCONT));
    outcome.map(drop).and(kafka).and(restate)?;
    says(ports.relay_health, 200, "kafka", "ready", SOON).await?;
    says(ports.worker_health, 200, "restate", "ready", SOON).await?;
    receiver.wait_for(1, SOON).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_shows_a_part_that_is_frozen_and_says_so_soon() -> anyhow::Result<()> {
    let lab = crash::lab().await?;
    let dir = lab.dir().display().to_string();
    let shown = async || -> anyhow::Result<(bool, String)> {
        let asked = Command::new(binary()?).args(["status", "--dir", &dir]).output();
        let output = tokio::time::timeout(Duration::from_secs(10), asked).await??;
        Ok((output.status.success(), String::from_utf8(output.stdout)?))
    };
    let all_is_well = async || {
        until("everything is ready", SOON, async || {
            let (is_well, told) = shown().await?;
            ensure!(is_well && told.contains("Everything is ready."), "{told}");
            Ok(())
        })
        .await
    };
    all_is_well().await?;
    for part in ["postgres", "kafka", "restate"] {
        signal(&lab, part, Signal::SIGSTOP)?;
        let told = shown().await;
        signal(&lab, part, Signal::SIGCONT)?;
        let (is_well, told) = told?;
        let line = told.lines().find(|line| line.starts_with(&format!("{part} ")));
        ensure!(!is_well && line.is_some_and(|line| line.contains("not ready")), "{told}");
        let why = format!("{part}, which was ready ");
        let why = told.lines().find(|line| line.starts_with(&why)).context(told.clone())?;
        ensure!(why.contains("does not answer within 2 s"), "{told}");
    }
    all_is_well().await
}
