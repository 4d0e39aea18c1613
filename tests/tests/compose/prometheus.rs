//! Prometheus's configuration: it starts with it, and with the alerts that are mounted.

use std::process::Command;

use anyhow::{Context, ensure};
use posthorn_tests::Prometheus;

use crate::file::{services, words};
use crate::{folder, text};

#[test]
fn promtool_accepts_it_with_the_alerts_that_are_mounted() -> anyhow::Result<()> {
    if !Prometheus::has("promtool", "Prometheus's configuration") {
        return Ok(());
    }
    let mounts = words(&services()?["prometheus"]["volumes"]);
    let alerts = mounts.iter().find_map(|mount| mount.strip_suffix(":/etc/prometheus/alerts:ro"));
    let alerts = folder().join(alerts.context("no alerts are mounted")?).canonicalize()?;
    let here = text("prometheus/prometheus.yaml")?
        .replace("/etc/prometheus/alerts", &alerts.display().to_string());
    let temporary = tempfile::tempdir()?;
    let config = temporary.path().join("prometheus.yaml");
    std::fs::write(&config, here)?;
    let output = Command::new("promtool").args(["check", "config"]).arg(&config).output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    ensure!(output.status.success() && said.contains("1 rule files found"), "{said}");
    Ok(())
}
