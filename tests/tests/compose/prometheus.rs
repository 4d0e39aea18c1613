//! Prometheus's configuration: it starts with it, and with the alerts that are mounted.

use std::process::Command;

use anyhow::{Context, ensure};
use posthorn_tests::Prometheus;
use serde_json::Value;

use crate::file::{services, words};
use crate::{folder, text, yaml};

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

#[test]
fn what_it_always_asks_always_runs_and_what_has_a_profile_is_asked_where_it_runs()
-> anyhow::Result<()> {
    // A target that is never there would be missed for ever: PosthornRoleDown.
    let services = services()?;
    let config = yaml("prometheus/prometheus.yaml")?;
    let items = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    let (mut always, mut where_it_runs) = (Vec::new(), Vec::new());
    for job in items(&config, "scrape_configs") {
        always.extend(items(&job, "static_configs").iter().flat_map(|one| words(&one["targets"])));
        let by_name = items(&job, "dns_sd_configs");
        where_it_runs.extend(by_name.iter().flat_map(|one| words(&one["names"])));
    }
    for target in &always {
        let name = target.split(':').next().unwrap_or_default();
        let service = services.get(name).with_context(|| format!("no service {name}"))?;
        ensure!(service["profiles"].is_null(), "{name} does not run in every profile");
    }
    ensure!(always.len() == 5 && where_it_runs == ["relay", "sequin"], "{always:?}");
    Ok(())
}
