//! A disk that fills up while everything runs. Parts may die of it, as they are built to do; what was
//! acknowledged is delivered once there is room again, and nobody types anything but what makes it.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use posthorn_tests::{Api, Lab, Receiver, until};
use serde_json::json;

use crate::merchant;

/// A little more than a start asks for.
const SIZE: &str = "size=2300m,mode=755";
/// So long there is no room at all.
const FULL_FOR: Duration = Duration::from_secs(15);
/// Whoever died starts again at most ten seconds after there is room, and then has to get ready.
const PATIENCE: Duration = Duration::from_secs(120);

struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // Lazily: whatever else went wrong, nothing of it stays.
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

/// Writes until not a byte more goes in.
fn fill(path: &Path) -> anyhow::Result<()> {
    let mut file = File::create(path)?;
    for size in [1 << 20, 4096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
    Ok(())
}

/// The payment's id, if it was acknowledged; else it was told to come again.
async fn pay(api: &Api, merchant: &str, amount: usize) -> anyhow::Result<Option<String>> {
    let body = json!({ "merchant_id": merchant, "amount": amount, "currency": "USD" });
    let (status, answer) = api.send("POST", "/payments", &[], body.to_string()).await?;
    ensure!(status == 201 || status == 503, "{status} {answer}");
    Ok((status == 201).then(|| answer["id"].as_str().unwrap_or_default().to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_for_a_while_loses_nothing_that_was_acknowledged() -> anyhow::Result<()>
{
    let temporary = tempfile::Builder::new().prefix("posthorn-full-").tempdir()?;
    let disk = temporary.path();
    let tmpfs = ["-t", "tmpfs", "-o", SIZE, "posthorn-test"];
    if !Command::new("mount").args(tmpfs).arg(disk).output()?.status.success() {
        eprintln!("NOT RUN: only who may mount a small file system can fill it");
        return Ok(());
    }
    let mounted = Mounted(disk);
    std::os::unix::fs::chown(disk, Some(0), Some(0))?;
    let mut lab = Lab::start_in(&disk.join("state")).await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("full");
    api.merchant(&merchant, receiver.url()).await?;
    let mut acknowledged: Vec<String> = Vec::new();
    for amount in 1..=20 {
        acknowledged.extend(pay(&api, &merchant, amount).await?);
    }
    receiver.wait_for(20, PATIENCE).await?;

    let filler = disk.join("filler");
    fill(&filler)?;
    let began = Instant::now();
    let mut amount = 20;
    while began.elapsed() < FULL_FOR {
        amount += 1;
        acknowledged.extend(pay(&api, &merchant, amount).await?);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let while_full = acknowledged.len() - 20;
    std::fs::remove_file(&filler)?;

    until("payments are taken again", PATIENCE, async || {
        pay(&api, &merchant, 1_000_000).await?.context("not yet")
    })
    .await?;
    until("everything that was acknowledged is delivered", PATIENCE, async || {
        let arrived: Vec<String> = receiver.accepted().iter().map(|r| r.payment()).collect();
        let missing = acknowledged.iter().filter(|id| !arrived.contains(id)).count();
        ensure!(missing == 0, "{missing} of {} are missing", acknowledged.len());
        Ok(())
    })
    .await
    .with_context(|| lab.output().unwrap_or_default())?;
    let said = lab.output()?;
    ensure!(
        said.contains("MiB are free at") && said.contains("make room, and it goes on"),
        "{said}"
    );
    ensure!(while_full < amount - 20, "the disk was never full");
    eprintln!("{while_full} of {} payments were acknowledged while the disk was full", amount - 20);
    lab.end(nix::sys::signal::Signal::SIGTERM).await?;
    drop(mounted);
    Ok(())
}
