//! `posthorn cdc switch` while another one runs, or after one that was killed: whoever announces at
//! the end has its slot and its subscription, and nobody is told otherwise.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use posthorn_tests::{Lab, Receiver, state_dir, until};

use crate::cdc_switch::{Installation, hold_the_relay, lock, sequin_beside, stands};
use crate::merchant;

const SOON: Duration = Duration::from_secs(30);
/// By then the first of two switches is at work.
const A_MOMENT: Duration = Duration::from_millis(1_200);

/// A switch to Sequin that waits for the relay: both topics are read.
pub(crate) async fn half_way(installation: &Installation) -> anyhow::Result<tokio::process::Child> {
    let switch = installation.command(&["sequin"])?.stdout(Stdio::piped()).spawn()?;
    until("both topics are read", SOON, async || {
        let (_, topics) = installation.stands().await?;
        ensure!(topics.len() == 2, "{topics:?}");
        Ok(())
    })
    .await?;
    Ok(switch)
}

/// Whether a registration was made, and what was said.
async fn register(installation: &Installation) -> anyhow::Result<(bool, String)> {
    let output = installation.registration(&[])?.output().await?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_switches_at_once_end_as_if_one_was_typed_after_the_other() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let (_shared, url) = sequin_beside(&lab).await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("at-once");
    api.merchant(&merchant, receiver.url()).await?;
    let installation = Installation { lab, url };

    let relay = hold_the_relay(&installation)?;
    api.payment(&merchant, 1).await?;
    let first = half_way(&installation).await?;
    let (second, registration) =
        tokio::try_join!(installation.typed(&["sequin"]), register(&installation))?;
    for (is_done, said) in [&second, &registration] {
        ensure!(!is_done && said.contains("a switch of producers, runs"), "{said}");
    }
    kill(relay, Signal::SIGCONT)?;
    let first = first.wait_with_output().await?;
    let said = String::from_utf8_lossy(&first.stdout).into_owned();
    ensure!(first.status.success(), "{said}");
    let found = installation.stands().await?;
    ensure!(found == stands("sequin_slot", "webhook-events"), "{found:?}\n{said}");
    receiver.wait_for(1, SOON).await.with_context(|| said)?;

    // Back, and there again before that has ended.
    let relay = installation.typed(&["relay"]);
    let sequin = async {
        tokio::time::sleep(A_MOMENT).await;
        installation.typed(&["sequin"]).await
    };
    let both = tokio::try_join!(relay, sequin)?;
    let ((is_done, _), (is_done_too, said_too)) = &both;
    ensure!(*is_done, "{both:?}");
    // One that is slow is not waited for without end: then the second one says so.
    let found = installation.stands().await?;
    if *is_done_too {
        ensure!(found == stands("sequin_slot", "webhook-events"), "{found:?}\n{both:?}");
    } else {
        ensure!(said_too.contains("a switch of producers, runs"), "{both:?}");
        ensure!(found == stands("posthorn_relay", "webhook-wakes"), "{found:?}\n{both:?}");
    }
    api.payment(&merchant, 2).await?;
    receiver.wait_for(2, SOON).await.with_context(|| format!("{both:?}"))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_starts_after_a_switch_that_was_killed_half_way() -> anyhow::Result<()> {
    let (_temporary, dir) = state_dir()?;
    let lab = Lab::start_in(&dir).await?;
    let (shared, url) = sequin_beside(&lab).await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("half-way");
    api.merchant(&merchant, receiver.url()).await?;
    let mut installation = Installation { lab, url };

    let relay = hold_the_relay(&installation)?;
    api.payment(&merchant, 1).await?;
    half_way(&installation).await?.kill().await?;
    kill(relay, Signal::SIGCONT)?;
    receiver.wait_for(1, SOON).await?;

    installation.lab.end(Signal::SIGTERM).await?;
    lock(&shared).stop();
    installation.lab = Lab::start_in(&dir).await?;
    let said = installation.lab.output()?;
    ensure!(said.contains("a switch of producers did not end"), "it is not said: {said}");
    let api = installation.lab.api()?;
    api.payment(&merchant, 2).await?;
    receiver.wait_for(2, SOON).await?;

    let said = installation.switch("sequin").await?;
    let found = installation.stands().await?;
    ensure!(found == stands("sequin_slot", "webhook-events"), "{found:?}\n{said}");
    api.payment(&merchant, 3).await?;
    receiver.wait_for(3, SOON).await.with_context(|| said)?;
    Ok(())
}
