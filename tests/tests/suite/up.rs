//! `posthorn up`: twice, after Ctrl-C, after kill -9, on the data that is there.

use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::signal::Signal;
use posthorn_tests::{Answer, Lab, Receiver, binary, state_dir, until};

use crate::{merchant, shared_lab};

#[tokio::test(flavor = "multi_thread")]
async fn up_goes_on_with_the_data_that_is_there_after_ctrl_c_and_after_kill_9() -> anyhow::Result<()>
{
    let (_temporary, dir) = state_dir()?;
    let receiver = Receiver::start().await?;
    let merchant = merchant("up");
    let mut payments = Vec::new();

    for (round, signal) in
        [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT].into_iter().enumerate()
    {
        let mut lab = Lab::start_in(&dir).await?;
        let api = lab.api()?;
        if round == 0 {
            let endpoint = api.merchant(&merchant, receiver.url()).await?;
            crate::path::hasten(&lab.database_url()?, &endpoint).await?;
        }
        // What the last round left waiting goes out now.
        receiver.wait_for(payments.len(), Duration::from_secs(90)).await?;
        let pids: Vec<u32> = lab.status()?.services.iter().filter_map(|s| s.pid).collect();
        // It fails for as long as this round lasts.
        receiver.script([Answer::Status(500); 10_000]);
        payments.push(api.payment(&merchant, i64::try_from(round)? + 1).await?);
        until("it was tried", Duration::from_secs(30), async || {
            ensure!(receiver.requests().iter().any(|r| Some(&r.payment()) == payments.last()));
            Ok(())
        })
        .await?;
        lab.end(signal).await.with_context(|| format!("after {signal}"))?;
        until("nothing of it runs", Duration::from_secs(10), async || {
            let left: Vec<_> = pids.iter().filter(|pid| runs(**pid)).collect();
            ensure!(left.is_empty(), "still there: {left:?}");
            Ok(())
        })
        .await?;
        receiver.script([]);
    }
    Ok(())
}

fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_that_lost_its_data_costs_no_delivery_and_no_wait_for_the_sweeper()
-> anyhow::Result<()> {
    let (_temporary, dir) = state_dir()?;
    let receiver = Receiver::start().await?;
    let merchant = merchant("wiped");

    let mut lab = Lab::start_in(&dir).await?;
    let api = lab.api()?;
    api.merchant(&merchant, receiver.url()).await?;
    // Enough that every partition's offset is well past what comes after.
    for amount in 1..=20 {
        api.payment(&merchant, amount).await?;
    }
    receiver.wait_for(20, Duration::from_secs(60)).await?;
    lab.end(Signal::SIGTERM).await?;
    std::fs::remove_dir_all(dir.join("kafka/data"))?;

    let lab = Lab::start_in(&dir).await?;
    lab.api()?.payment(&merchant, 21).await?;
    // The sweeper would come after a minute.
    receiver.wait_for(21, Duration::from_secs(40)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_beside_it_tells_commands_where_everything_is() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let receiver = Receiver::start().await?;
    let endpoint = lab.api()?.merchant(&merchant("environment"), receiver.url()).await?;
    // As the runbooks say; this stack is on ports of its own.
    let environment = lab.dir().join("environment");
    for command in [["endpoint", "status"], ["endpoint", "history"], ["endpoint", "pause"]] {
        let output = std::process::Command::new("sh")
            .args(["-c", "set -a; . \"$0\"; set +a; exec \"$@\""])
            .arg(&environment)
            .arg(binary()?)
            .args(command)
            .arg(&endpoint)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?}: {said}");
    }
    Ok(())
}
