//! Restate's settings, of the compose file and of `up`, read back from Restate itself.
//!
//! It ignores without a word what it does not know: a setting is one only if it comes back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use posthorn_tests::Lab;

use crate::file::services;

type Settings = BTreeMap<String, String>;

/// The server that `up` runs, and the file that it gives it.
fn of_up(lab: &Lab) -> anyhow::Result<(PathBuf, PathBuf)> {
    let services = lab.status()?.services;
    let restate = services.iter().find(|service| service.name == "restate");
    let pid = restate.and_then(|restate| restate.pid).context("no Restate runs")?;
    let server = std::fs::read_link(format!("/proc/{pid}/exe"))?;
    Ok((server, lab.dir().join("restate/restate.toml")))
}

/// What Restate would run with.
fn dumped(server: &Path, told: impl Fn(&mut Command)) -> anyhow::Result<Settings> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(server);
    command.arg("--dump-config").env_clear().current_dir(folder.path());
    told(&mut command);
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "--dump-config: {} {said}", output.status);
    Ok(settings(&String::from_utf8(output.stdout)?))
}

/// A TOML file as `section.key` → value: of what there is in it, that is all that there is to know.
fn settings(toml: &str) -> Settings {
    let mut section = String::new();
    let mut settings = Settings::new();
    // A list over several lines becomes one.
    let toml = toml.replace("[\n", "[").replace(",\n]", "]").replace("\",\n", "\",");
    for line in toml.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = format!("{name}.");
        } else if let Some((key, value)) = line.split_once(" = ") {
            settings.insert(format!("{section}{key}"), plain(value));
        }
    }
    settings
}

/// A value without quotes; a size as Restate writes it, a list in order.
fn plain(value: &str) -> String {
    if let Some(list) = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let mut items: Vec<&str> = list.split(',').map(str::trim).collect();
        items.sort_unstable();
        return items.join(", ");
    }
    value.trim_matches('"').replace(".0 MiB", " MiB").replace(".0 KiB", " KiB")
}

fn assert_meant(meant: &Settings, dumped: &Settings) -> anyhow::Result<()> {
    for (key, value) in meant {
        let found = dumped.get(key).with_context(|| format!("Restate has no setting {key}"))?;
        ensure!(found == value, "{key} is {found}, not {value}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_setting_of_restate_is_one_that_restate_took() -> anyhow::Result<()> {
    let lab = Lab::start_parts().await?;
    let (server, config) = of_up(&lab)?;
    // No time at all is not written out: whether the setting is known, a second shows.
    let told = std::fs::read_to_string(config)?.replace("\"0s\"", "\"1s\"");
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("restate.toml");
    std::fs::write(&config, &told)?;
    let by_file = dumped(&server, |command| {
        command.arg("--config-file").arg(&config);
    })?;
    let meant = settings(&told);
    ensure!(meant.len() > 20, "{meant:?}");
    assert_meant(&meant, &by_file).context("restate.toml")?;

    let environment = &services()?["restate"]["environment"];
    let mut environment: Settings = serde_json::from_value(environment.clone())?;
    environment.values_mut().filter(|value| *value == "0s").for_each(|value| *value = "1s".into());
    let by_variables = dumped(&server, |command| {
        command.envs(&environment);
    })?;
    let key = |name: &str| name.to_lowercase().replace("__", ".").replace('_', "-");
    let meant: Settings = environment
        .iter()
        .filter_map(|(name, value)| Some((key(name.strip_prefix("RESTATE_")?), plain(value))))
        .collect();
    ensure!(meant.len() > 10, "{meant:?}");
    assert_meant(&meant, &by_variables).context("docker-compose.yaml")
}
