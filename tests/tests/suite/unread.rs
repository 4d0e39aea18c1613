//! A subscription that stands and that nobody reads: it is made anew, by whoever types `register`, by
//! `up`, and by a `register` that stays.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use posthorn_tests::{Api, Lab, Receiver, binary, until};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::turn::bench;
use crate::{crash, merchant, moved_worker};

/// A minute before the sweeper would come, it is read again.
const BEFORE_THE_SWEEPER: Duration = Duration::from_secs(50);
/// Kafka holds the place of a consumer that went without a word for 6 s.
const GIVEN_UP: Duration = Duration::from_secs(30);
const ANEW: &str = "the subscription of webhook-wakes anew, since nobody read it";

fn restate(lab: &Lab) -> anyhow::Result<Api> {
    Api::new(&format!("http://127.0.0.1:{}", lab.ports()?.restate_admin))
}

/// The only one.
async fn subscription(lab: &Lab) -> anyhow::Result<Value> {
    let known = restate(lab)?.get("/subscriptions").await?;
    let all = known["subscriptions"].as_array().context("subscriptions")?;
    ensure!(all.len() == 1, "{known}");
    Ok(all[0].clone())
}

/// The subscription as it is, but for one setting with which its consumer gets nowhere, and says
/// nothing.
async fn nobody_reads(lab: &Lab) -> anyhow::Result<()> {
    let restate = restate(lab)?;
    let subscription = subscription(lab).await?;
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

/// Waits until the group of Restate's subscription has no member.
async fn nobody_is_there(lab: &Lab) -> anyhow::Result<()> {
    let kafka = format!("127.0.0.1:{}", lab.ports()?.kafka);
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", kafka).create()?;
    let group = subscription(lab).await?["options"]["group.id"].clone();
    let group = group.as_str().context("its group")?;
    until("nobody is in the group", GIVEN_UP, async || {
        let found = client.fetch_group_list(Some(group), Duration::from_secs(5))?;
        let count: usize = found.groups().iter().map(|one| one.members().len()).sum();
        ensure!(count == 0, "{count} are");
        Ok(())
    })
    .await
}

/// What comes of it while `up` stands still.
async fn without_up<T>(
    lab: &Lab,
    todo: impl AsyncFnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let up = Pid::from_raw(i32::try_from(lab.status()?.pid)?);
    kill(up, Signal::SIGSTOP)?;
    let outcome = todo().await;
    kill(up, Signal::SIGCONT)?;
    outcome
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
    let said = without_up(&lab, async || {
        nobody_is_there(&lab).await?;
        moved_worker::register(&lab, &here)
    })
    .await?;
    ensure!(said.contains(ANEW) && said.contains("; Restate reads webhook-wakes"), "{said}");
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

/// A `register` that stays, and the lines that it says.
struct Stays {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Stays {
    fn beside(lab: &Lab, database_url: &str) -> anyhow::Result<Self> {
        let ports = lab.ports()?;
        let mut child = Command::new(binary()?)
            .args(["register", "--every", "5", "--restate-is-one-node"])
            .args(["--restate-admin-url", &format!("http://127.0.0.1:{}", ports.restate_admin)])
            .args(["--kafka", &format!("127.0.0.1:{}", ports.kafka)])
            // Nobody listens there: which worker gets the work is not this one's decision.
            .args(["--worker-url", "http://127.0.0.1:1"])
            .env("POSTHORN_DATABASE_URL", database_url)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        Ok(Self { child, lines })
    }

    async fn says(&mut self, begins: &str) -> anyhow::Result<()> {
        let line = tokio::time::timeout(BEFORE_THE_SWEEPER, self.lines.next_line()).await??;
        let line = line.context("nothing was said")?;
        ensure!(line.starts_with(begins), "{line}");
        Ok(())
    }

    async fn says_no_more(&mut self) -> anyhow::Result<()> {
        let more = tokio::time::timeout(Duration::from_secs(7), self.lines.next_line()).await;
        ensure!(more.is_err(), "{more:?}");
        Ok(())
    }

    async fn ends_in_order(mut self) -> anyhow::Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id().context("its id")?)?), Signal::SIGTERM)?;
        let ended = tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await??;
        ensure!(ended.success(), "{ended}");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_stays_makes_it_anew_and_leaves_the_workers_as_they_are()
-> anyhow::Result<()> {
    let lab = crash::lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("stays");
    api.merchant(&merchant, receiver.url()).await?;
    moved_worker::register(&lab, &format!("http://127.0.0.1:{}", lab.ports()?.worker))?;
    let restate = restate(&lab)?;
    let before = restate.get("/deployments").await?;
    without_up(&lab, async || {
        let mut stays = Stays::beside(&lab, &lab.database_url()?)?;
        stays.says("everything was registered before; Restate reads webhook-wakes").await?;
        stays.says_no_more().await?;
        nobody_reads(&lab).await?;
        api.payment(&merchant, 1).await?;
        stays.says(ANEW).await?;
        receiver.wait_for(1, BEFORE_THE_SWEEPER).await?;
        stays.ends_in_order().await
    })
    .await?;
    ensure!(restate.get("/deployments").await? == before, "{before}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_stays_does_not_decide_who_announces() -> anyhow::Result<()> {
    let lab = crash::lab().await?;
    let fresh = bench("registers", 1).await?;
    let mut stays = Stays::beside(&lab, &fresh.url)?;
    stays.says("not now: nobody is noted as announcing: type `posthorn register` once").await?;
    stays.says_no_more().await?;
    stays.ends_in_order().await?;
    let url = lab.database_url()?;
    let topic = ["register", "--every", "5", "--topic", "webhook-wakes", "--database-url", &url];
    let refusal = lab.posthorn(&topic).err().context("it was taken")?.to_string();
    ensure!(refusal.contains("leave --topic (POSTHORN_WAKE_TOPIC) out"), "{refusal}");
    Ok(())
}
