//! All of Restate's data is gone: every delivery still goes out, and nobody does anything: `up`
//! registers again.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use posthorn_tests::{Answer, Api, Lab, Receiver, invocations_of, state_dir, until};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::merchant;

const SOON: Duration = Duration::from_secs(60);
/// A wait of some seconds, the sweeper's minute and its round; and the machine may be busy.
const SWEPT: Duration = Duration::from_secs(240);

/// A merchant whose deliveries wait for a timer that only Restate has.
pub(crate) struct Waiting {
    receiver: Receiver,
    merchant: String,
    pub(crate) endpoint: String,
    // The invocation that is its timer.
    timer: Value,
}

impl Waiting {
    /// One that answers `status` once, and then waits for some seconds.
    pub(crate) async fn of(lab: &Lab, name: &str, status: u16) -> anyhow::Result<Self> {
        let (api, receiver, merchant) = (lab.api()?, Receiver::start().await?, merchant(name));
        let endpoint = api.merchant(&merchant, receiver.url()).await?;
        let policy = json!({ "backoff_initial_ms": 10_000, "schedule_s": [10, 3600] });
        sqlx::query("update endpoints set policy = $2 where id = $1")
            .bind(Uuid::parse_str(endpoint.trim_start_matches("ep_"))?)
            .bind(policy)
            .execute(&mut PgConnection::connect(&lab.database_url()?).await?)
            .await?;
        receiver.script([Answer::Status(status)]);
        for amount in 1..=3 {
            api.payment(&merchant, amount).await?;
        }
        let restate = restate(lab)?;
        let timer = until("its timer is armed", SOON, async || {
            let left = invocations_of(&restate, &endpoint).await?;
            ensure!(left.len() == 1 && left[0]["status"] == "scheduled", "{left:?}");
            Ok(left[0]["id"].clone())
        })
        .await?;
        Ok(Self { receiver, merchant, endpoint, timer })
    }

    pub(crate) async fn has_all(&self, count: usize) -> anyhow::Result<()> {
        self.receiver.wait_for(count, SWEPT).await.with_context(|| self.merchant.clone())?;
        Ok(())
    }
}

fn restate(lab: &Lab) -> anyhow::Result<Api> {
    Api::new(&format!("http://127.0.0.1:{}", lab.ports()?.restate_admin))
}

fn wipe(dir: &Path) -> anyhow::Result<()> {
    let data = dir.join("restate/data");
    std::fs::remove_dir_all(&data).with_context(|| format!("{} is not there", data.display()))
}

/// A process that was killed still writes for a moment; then it is gone, or waits for its parent.
fn has_ended(pid: u32) -> anyhow::Result<()> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // After the name, which may have anything in it.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    ensure!(matches!(state, None | Some('Z' | 'X')), "{pid} is {state:?}");
    Ok(())
}

/// Kills Restate and takes its data away, while `up` cannot start it again yet.
pub(crate) async fn wipe_while_it_runs(lab: &Lab) -> anyhow::Result<()> {
    let status = lab.status()?;
    let up = Pid::from_raw(i32::try_from(status.pid)?);
    let service = status.services.iter().find(|service| service.name == "restate");
    let pid = service.and_then(|service| service.pid).context("Restate does not run")?;
    kill(up, Signal::SIGSTOP)?;
    let wiped = async {
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL)?;
        until("Restate writes no more", SOON, async || has_ended(pid)).await?;
        wipe(lab.dir())
    }
    .await;
    kill(up, Signal::SIGCONT)?;
    wiped?;
    until("Restate is back, with nothing in it", SOON, async || {
        let status = lab.status()?;
        let service = status.services.iter().find(|service| service.name == "restate");
        let now = service.filter(|service| service.state == stack::State::Ready);
        ensure!(now.and_then(|service| service.pid).is_some_and(|now| now != pid), "not yet");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_delivery_goes_out_though_all_of_restates_data_is_gone() -> anyhow::Result<()> {
    let (_temporary, dir) = state_dir()?;

    let mut lab = Lab::start_in(&dir).await?;
    let unwell = Waiting::of(&lab, "unwell", 500).await?;
    let refusing = Waiting::of(&lab, "refusing", 422).await?;
    lab.end(Signal::SIGTERM).await?;
    drop(lab);
    wipe(&dir)?;
    // `up` registers.
    let lab = Lab::start_in(&dir).await?;
    let left = invocations_of(&restate(&lab)?, &unwell.endpoint).await?;
    ensure!(left.iter().all(|invocation| invocation["id"] != unwell.timer), "not wiped");
    unwell.has_all(3).await?;
    refusing.has_all(3).await?;

    // The same, while everything else runs.
    let unwell = Waiting::of(&lab, "unwell", 500).await?;
    let refusing = Waiting::of(&lab, "refusing", 422).await?;
    wipe_while_it_runs(&lab).await?;
    unwell.has_all(3).await?;
    refusing.has_all(3).await?;
    // And it goes on: new ones do not wait for the sweeper.
    lab.api()?.payment(&unwell.merchant, 4).await?;
    unwell.receiver.wait_for(4, SOON).await?;
    Ok(())
}
