//! `posthorn crash-test`, as people run it: its table, and that it fails when something is missing.

use anyhow::{Context, ensure};
use posthorn_tests::{Api, Lab, binary};
use serde_json::{Value, json};

use crate::crash;

/// Runs it; whether it succeeded, its standard output, and what it said meanwhile.
async fn crash_test(lab: &Lab, more: &[&str]) -> anyhow::Result<(bool, String, String)> {
    let output = tokio::process::Command::new(binary()?)
        .args(["crash-test", "--payments", "60", "--merchants", "4", "--dir"])
        .arg(lab.dir())
        .args(more)
        .output()
        .await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.success(), text(&output.stdout), text(&output.stderr)))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_design_loses_what_it_had_in_memory_and_posthorn_loses_nothing()
-> anyhow::Result<()> {
    let lab = crash::lab().await?;
    let (succeeded, text, said) = crash_test(&lab, &["--seed", "3", "--json"]).await?;
    ensure!(succeeded, "{text}{said}");
    let shown: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    ensure!(shown["killed"] == "worker" && shown["complaints"] == json!([]), "{shown}");
    let posthorn = &shown["posthorn"];
    ensure!(posthorn["created"] == 60 && posthorn["delivered"] == 60, "{shown}");
    ensure!(posthorn["lost"] == 0 && posthorn["out_of_order"] == 0, "{shown}");
    ensure!(posthorn["first_delivery_seconds"].as_f64() > Some(0.0), "{shown}");
    // The webhook that was waiting to be sent again died with its process.
    ensure!(shown["old"]["created"] == 60, "{shown}");
    ensure!(shown["old"]["lost"].as_u64() >= Some(1), "{shown}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_seed_kills_at_the_same_payment() -> anyhow::Result<()> {
    let lab = crash::lab().await?;
    let mut moments = Vec::new();
    for _ in 0..2 {
        let more = ["--seed", "11", "--kill", "data-service", "--rate", "200", "--json"];
        let (succeeded, text, said) = crash_test(&lab, &more).await?;
        ensure!(succeeded, "{text}{said}");
        let shown: Value = serde_json::from_str(&text)?;
        moments.push(shown["killed_after"].clone());
    }
    ensure!(moments[0].is_u64() && moments[0] == moments[1], "{moments:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_arrive_is_named_with_its_rows_and_the_test_fails() -> anyhow::Result<()> {
    let lab = crash::lab().await?;
    let simulator = Api::new(&format!("http://127.0.0.1:{}", lab.ports()?.simulator))?;
    let fails = json!({ "status": 500 }).to_string();
    let (told, answer) = simulator.send("PUT", "/behaviours/*", &[], fails).await?;
    ensure!(told == 200, "{told} {answer}");
    let tested = crash_test(&lab, &["--quiet-seconds", "1", "--failing-ms", "0"]).await;
    simulator.send("DELETE", "/behaviours/*", &[], "").await?;
    let (succeeded, text, said) = tested?;
    ensure!(!succeeded, "it must fail: {text}{said}");
    for part in ["60 lost: payment.succeeded of pay_", "unwell 500", "and 50 more", "Posthorn  "] {
        ensure!(text.contains(part), "no `{part}` in\n{text}{said}");
    }
    Ok(())
}
