//! A subscription that stands and that nobody reads: it is made anew, by whoever types `register`, by
//! `up`, and by a `register` that stays.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use posthorn_tests::{Api, Lab, Receiver, binary, until};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::turn::bench;
use crate::{crash, merchant, moved_worker};

/// A minute before the sweeper would come, it is read again.
const BEFORE_THE_SWEEPER: Duration = Duration::from_secs(50);
/// Kafka holds the place of a consumer that went without a word for 6 s.
const GIVEN_UP: Duration = Duration::from_secs(8);
const ANEW: &str = "the subscription of webhook-wakes anew, since nobody read it";

/// The subscription as it is, but for one setting with which its consumer gets nowhere, and says
/// nothing.
async fn nobody_reads(lab: &Lab) -> anyhow::Result<()> {
    let restate = Api::new(&format!("http://127.0.0.1:{}", lab.ports()?.restate_admin))?;
    let known = restate.get("/subscriptions").await?;
    let [subscription] = known["subscriptions"].as_array().context("subscriptions")?.as_slice()
    else {
        anyhow::bail!("not one: {known}");
    };
    let id = subscription["id"].as_str().context("its id")?;
    let mut options = subscription["options"].clone();
    options["security.protocol"] = json!("ssl");
    let (status, said) = restate.send("DELETE", &format!("/subscriptions/{id}"), &[], "").await?;
    ensure!(status == 202, "{status} {said}");
    let body = json!({
        "source": subscription["source"], "sink": subscription["sink"], "options": options,
    });
    restate.post("/subscriptions", &body).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_nobody_reads_is_made_anew_before_the_sweeper_comes()
-> anyhow::Result<()> {
    let lab = crash::lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("unread");
    api.merchant(&merchant, receiver.url()).await?;

    // By hand; `up` would do it, too.
    nobody_reads(&lab).await?;
    let here = format!("http://127.0.0.1:{}", lab.ports()?.worker);
    tokio::time::sleep(GIVEN_UP).await;
    let up = Pid::from_raw(i32::try_from(lab.status()?.pid)?);
    kill(up, Signal::SIGSTOP)?;
    let said = moved_worker::register(&lab, &here);
    kill(up, Signal::SIGCONT)?;
    let said = said?;
    ensure!(said.contains(ANEW) && said.contains("Restate reads webhook-wakes after"), "{said}");
    api.payment(&merchant, 1).await?;
    receiver.wait_for(1, BEFORE_THE_SWEEPER).await?;

    // By `up`.
    let from = lab.output()?.len();
    nobody_reads(&lab).await?;
    api.payment(&merchant, 2).await?;
    receiver.wait_for(2, BEFORE_THE_SWEEPER).await?;
    until("`up` says so", BEFORE_THE_SWEEPER, async || {
        let output = lab.output()?;
        let said = output.get(from..).unwrap_or_default();
        ensure!(said.contains(ANEW), "{said}");
        Ok(())
    })
    .await?;

    let said = moved_worker::register(&lab, &here)?;
    ensure!(said.starts_with("everything was registered before; Restate reads"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_stays_decides_nothing_and_ends_in_order() -> anyhow::Result<()> {
    let lab = crash::lab().await?;
    let (ports, fresh) = (lab.ports()?, bench("registers", 1).await?);
    moved_worker::register(&lab, &format!("http://127.0.0.1:{}", ports.worker))?;
    for (url, begins) in [
        (lab.database_url()?, "everything was registered before; Restate reads webhook-wakes"),
        (fresh.url.clone(), "not now: nothing was registered yet: `posthorn register` does so"),
    ] {
        let mut child = Command::new(binary()?)
            .args(["register", "--every", "5", "--restate-is-one-node"])
            .args(["--restate-admin-url", &format!("http://127.0.0.1:{}", ports.restate_admin)])
            .args(["--kafka", &format!("127.0.0.1:{}", ports.kafka)])
            .args(["--worker-url", &format!("http://127.0.0.1:{}", ports.worker)])
            .env("POSTHORN_DATABASE_URL", url)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        let said = tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await??;
        let said = said.context("nothing was said")?;
        ensure!(said.starts_with(begins), "{said}");
        // Where nothing changes nothing more is said.
        let more = tokio::time::timeout(Duration::from_secs(7), lines.next_line()).await;
        ensure!(more.is_err(), "{more:?}");
        kill(Pid::from_raw(i32::try_from(child.id().context("its id")?)?), Signal::SIGTERM)?;
        let ended = tokio::time::timeout(Duration::from_secs(5), child.wait()).await??;
        ensure!(ended.success(), "{ended}");
    }
    let with_topic = lab.posthorn(&["register", "--every", "5", "--topic", "webhook-wakes"]).err();
    let refusal = with_topic.context("it was taken")?.to_string();
    ensure!(refusal.contains("cannot be used with"), "{refusal}");
    Ok(())
}
