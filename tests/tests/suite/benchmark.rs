//! The benchmark as people run it, for a moment: its report adds up. What it measures is not looked at.

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::shared_lab;

async fn bench(options: &[&str]) -> anyhow::Result<Value> {
    let lab = shared_lab().await?;
    let dir = lab.dir().display().to_string();
    let always = ["bench", "--dir", &dir, "--endpoints", "3", "--refund-percent", "50", "--json"];
    let report = lab.posthorn(&[&always[..], options].concat())?;
    serde_json::from_str(&report).context(report)
}

fn number(report: &Value, name: &str) -> anyhow::Result<u64> {
    report.pointer(name).and_then(Value::as_u64).with_context(|| format!("no {name} in {report:#}"))
}

/// 40 payments and 20 refunds are made, received and judged.
fn adds_up(report: &Value) -> anyhow::Result<()> {
    let (created, delivered) =
        (number(report, "/created/events")?, number(report, "/delivered/events")?);
    // The pace is the clock's: one more or less may fit in.
    ensure!((55..=65).contains(&created) && delivered == created, "{report:#}");
    ensure!(report["complaints"].as_array().is_some_and(Vec::is_empty), "{report:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_by_sql_is_refunded_received_and_judged() -> anyhow::Result<()> {
    adds_up(&bench(&["--via", "sql", "--rate", "20", "--seconds", "2"]).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_by_grpc_is_broken_down_into_its_steps() -> anyhow::Result<()> {
    let report = bench(&["--rate", "20", "--seconds", "2", "--breakdown"]).await?;
    adds_up(&report)?;
    let steps = report["breakdown"]["steps"].as_array().with_context(|| format!("{report:#}"))?;
    ensure!(steps.len() == 7, "{report:#}");
    Ok(())
}
