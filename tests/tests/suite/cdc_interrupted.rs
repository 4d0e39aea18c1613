//! A `posthorn cdc switch` that is killed with -9 at each of its steps, and one whose relay does not
//! come: typed again, it ends where it should.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use posthorn_tests::{Api, Lab, Receiver};
use sqlx::{Connection, PgConnection};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::cdc_switch::{Installation, hold_the_relay, sequin_beside, stands};
use crate::merchant;

const SOON: Duration = Duration::from_secs(30);
/// What each switch says before it does it; the last step ends it.
const STEPS: usize = 5;
/// Lines after which a switch has noted that Sequin announces, or what the relay owes.
const SEQUIN_IS_NOTED: usize = 4;
const RELAY_OWES: usize = 1;
const WAYS: [(&str, &str, &str); 2] =
    [("sequin", "sequin_slot", "webhook-events"), ("relay", "posthorn_relay", "webhook-wakes")];

/// Kills a switch as soon as it has said so many lines; they come back.
async fn killed_after(
    installation: &Installation,
    to: &str,
    lines: usize,
) -> anyhow::Result<String> {
    let mut switch = installation.command(&[to])?.stdout(Stdio::piped()).spawn()?;
    let mut output = BufReader::new(switch.stdout.take().context("no output")?).lines();
    let mut said = Vec::new();
    while said.len() < lines {
        said.push(output.next_line().await?.context("it ended before")?);
    }
    switch.kill().await?;
    Ok(said.join("\n"))
}

struct Paid<'a> {
    api: &'a Api,
    receiver: &'a Receiver,
    merchant: &'a str,
    count: i64,
}

impl Paid<'_> {
    async fn once(&mut self) -> anyhow::Result<()> {
        self.count += 1;
        self.api.payment(self.merchant, self.count).await.map(drop)
    }

    /// All that was paid came, each once, in order.
    async fn all_came(&self) -> anyhow::Result<()> {
        self.receiver.wait_for(usize::try_from(self.count)?, SOON).await?;
        let amounts = self.receiver.accepted();
        let amounts: Vec<_> =
            amounts.iter().filter_map(|it| it.json()["data"]["amount"].as_i64()).collect();
        ensure!(amounts == (1..=self.count).collect::<Vec<_>>(), "{amounts:?}");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_is_killed_at_any_step_is_typed_again_and_nothing_is_lost()
-> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let (_shared, url) = sequin_beside(&lab).await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("interrupted");
    api.merchant(&merchant, receiver.url()).await?;
    let installation = Installation { lab, url };
    let mut paid = Paid { api: &api, receiver: &receiver, merchant: &merchant, count: 0 };
    for lines in 1..=STEPS {
        for (to, slot, topic) in WAYS {
            paid.once().await?;
            let first = killed_after(&installation, to, lines).await?;
            paid.once().await?;
            let again = installation.switch(to).await.with_context(|| first.clone())?;
            let found = installation.stands().await?;
            ensure!(found == stands(slot, topic), "{found:?}\n{first}\n(killed)\n{again}");
            paid.once().await?;
            paid.all_came().await.with_context(|| format!("{first}\n(killed)\n{again}"))?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_is_killed_can_be_turned_back_and_leaves_no_debt() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let (_shared, url) = sequin_beside(&lab).await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("turned");
    api.merchant(&merchant, receiver.url()).await?;
    let installation = Installation { lab, url };
    let mut paid = Paid { api: &api, receiver: &receiver, merchant: &merchant, count: 0 };
    let owed = async || -> anyhow::Result<bool> {
        let mut db = PgConnection::connect(&installation.lab.database_url()?).await?;
        let owed = sqlx::query_scalar("select bool_or(owed) from relay_progress");
        Ok(owed.fetch_one(&mut db).await?)
    };

    // Sequin is noted by then, and the relay still streams.
    let first = killed_after(&installation, "sequin", SEQUIN_IS_NOTED).await?;
    paid.once().await?;
    let said = installation.switch("relay").await.with_context(|| first.clone())?;
    let found = installation.stands().await?;
    ensure!(found == stands("posthorn_relay", "webhook-wakes"), "{found:?}\n{first}\n{said}");
    paid.once().await?;
    paid.all_came().await?;

    installation.switch("sequin").await?;
    let first = killed_after(&installation, "relay", RELAY_OWES).await?;
    ensure!(owed().await?, "nothing is owed yet: {first}");
    paid.once().await?;
    installation.switch("sequin").await.with_context(|| first.clone())?;
    ensure!(!owed().await?, "a debt that nobody pays: {first}");
    paid.once().await?;
    paid.all_came().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_does_not_come_leaves_sequin_where_it_was() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let (_shared, url) = sequin_beside(&lab).await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("no-relay");
    api.merchant(&merchant, receiver.url()).await?;
    let installation = Installation { lab, url };
    let mut paid = Paid { api: &api, receiver: &receiver, merchant: &merchant, count: 0 };
    installation.switch("sequin").await?;
    let relay = hold_the_relay(&installation)?;
    paid.once().await?;
    let (is_done, said) = installation.typed(&["relay", "--step-seconds", "2"]).await?;
    ensure!(!is_done && said.contains("everything is as it was"), "{said}");
    ensure!(said.contains("is it running?"), "{said}");
    let found = installation.stands().await?;
    ensure!(found == stands("sequin_slot", "webhook-events"), "{found:?}\n{said}");
    paid.once().await?;
    paid.all_came().await?;
    kill(relay, Signal::SIGCONT)?;
    installation.switch("relay").await?;
    paid.once().await?;
    paid.all_came().await
}
