//! The dashboards and the alerts as files: what Grafana's form asks for, rules that Prometheus' own
//! tool accepts, runbooks that are there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use posthorn_tests::Prometheus;
use serde_json::Value;

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A query of a panel.
pub(crate) struct Target {
    pub(crate) board: String,
    pub(crate) panel: String,
    pub(crate) expression: String,
}

/// A dashboard and its queries.
pub(crate) struct Board {
    pub(crate) file: PathBuf,
    pub(crate) json: Value,
    pub(crate) targets: Vec<Target>,
}

pub(crate) fn dashboards() -> anyhow::Result<Vec<Board>> {
    let mut boards = Vec::new();
    for entry in std::fs::read_dir(root().join("observability/dashboards"))? {
        let file = entry?.path();
        let json: Value = serde_json::from_str(&std::fs::read_to_string(&file)?)
            .with_context(|| file.display().to_string())?;
        let board = text(&json, "title");
        let targets = items(&json, "panels")
            .flat_map(|panel| {
                let (board, title) = (board.clone(), text(panel, "title"));
                items(panel, "targets").map(move |target| Target {
                    board: board.clone(),
                    panel: title.clone(),
                    expression: text(target, "expr"),
                })
            })
            .collect();
        boards.push(Board { file, json, targets });
    }
    ensure!(boards.len() == 3, "{} dashboards", boards.len());
    Ok(boards)
}

#[test]
fn dashboards_have_the_form_that_grafana_asks_for() -> anyhow::Result<()> {
    let mut uids = BTreeSet::new();
    for board in dashboards()? {
        let (file, json) = (board.file.display(), &board.json);
        ensure!(uids.insert(text(json, "uid")), "{file}: its uid is another's");
        ensure!(json["schemaVersion"] == 39 && json.get("id").is_none(), "{file}");
        let variables: Vec<String> =
            items(&json["templating"], "list").map(|variable| text(variable, "name")).collect();
        ensure!(variables.contains(&"datasource".to_owned()), "{file}: no datasource to choose");
        let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
        for panel in items(json, "panels") {
            let title = text(panel, "title");
            ensure!(ids.insert(panel["id"].as_u64().context("no id")?), "{file}: {title}: its id");
            let place = |name: &str| panel["gridPos"][name].as_u64().context("no place");
            let (x, y, w, h) = (place("x")?, place("y")?, place("w")?, place("h")?);
            ensure!(x + w <= 24, "{file}: {title} is wider than the board");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                ensure!(taken.insert(cell), "{file}: {title} lies on another panel");
            }
            let is_asked = !matches!(&*text(panel, "type"), "row" | "text");
            ensure!(is_asked == (items(panel, "targets").count() > 0), "{file}: {title}: queries");
            let refs: BTreeSet<String> =
                items(panel, "targets").map(|target| text(target, "refId")).collect();
            ensure!(refs.len() == items(panel, "targets").count(), "{file}: {title}: refId");
            for target in items(panel, "targets") {
                ensure!(target["datasource"]["uid"] == "${datasource}", "{file}: {title}");
                ensure!(!text(target, "expr").is_empty(), "{file}: {title}");
            }
        }
    }
    Ok(())
}

/// How npm says that the network ends before its registry; whatever a registry answers is a failure.
const NO_WAY_OUT: [&str; 5] =
    ["ENOTFOUND", "EAI_AGAIN", "ENETUNREACH", "ECONNREFUSED", "ETIMEDOUT"];

/// Runs `argv` in `folder`; did it succeed, and what it said.
fn run(folder: &Path, argv: &[&str]) -> anyhow::Result<(bool, String)> {
    let output = Command::new(argv[0]).args(&argv[1..]).current_dir(folder).output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

#[test]
fn dashboards_have_the_types_that_grafana_publishes() -> anyhow::Result<()> {
    if !run(root(), &["npm", "--version"]).is_ok_and(|(there, _)| there) {
        eprintln!("SKIPPED: the dashboards by Grafana's types: no npm; scripts/prerequisites test");
        return Ok(());
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schema");
    std::fs::create_dir_all(&folder)?;
    // Boards of another revision must not be read again; what npm has fetched may stay.
    for entry in std::fs::read_dir(&folder)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "ts") {
            std::fs::remove_file(file)?;
        }
    }
    for file in [".npmrc", "package.json", "package-lock.json", "tsconfig.json", "dashboard.ts"] {
        std::fs::copy(root().join("observability/schema").join(file), folder.join(file))?;
    }
    let install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    let (installed, said) = run(&folder, &install)?;
    if !installed && NO_WAY_OUT.iter().any(|code| said.contains(code)) {
        eprintln!("SKIPPED: the dashboards by Grafana's types: npm reaches no registry: {said}");
        return Ok(());
    }
    ensure!(installed, "{install:?}: {said}");
    let write = |name: &str, json: &Value| {
        let text = format!(
            "import type {{ DashboardFile }} from \"./dashboard\";\n\
             export const board: DashboardFile = {json:#};\n"
        );
        std::fs::write(folder.join(name).with_extension("ts"), text)
    };
    let mut wrong = Value::Null;
    for board in dashboards()? {
        let name = board.file.file_stem().and_then(|name| name.to_str()).context("no name")?;
        write(name, &board.json)?;
        wrong = board.json;
    }
    // One that must be refused: else nothing was compared with anything.
    wrong["panels"][0]["gridPos"]["x"] = "left".into();
    write("wrong", &wrong)?;
    let (_, said) = run(&folder, &["node_modules/.bin/tsc", "--pretty", "false"])?;
    let (of_wrong, others): (Vec<_>, Vec<_>) =
        said.lines().partition(|line| line.starts_with("wrong.ts("));
    ensure!(others.is_empty(), "{said}");
    ensure!(of_wrong.len() == 1 && of_wrong[0].contains("'number'"), "{said}");
    Ok(())
}

#[test]
fn the_alerts_pass_their_own_tests() -> anyhow::Result<()> {
    if !Prometheus::has("promtool", "the tests of the alerts") {
        return Ok(());
    }
    let folder = root().join("observability");
    for arguments in [
        ["check", "rules", "alerts/posthorn.rules.yaml"],
        ["test", "rules", "alerts/posthorn.test.yaml"],
        ["test", "rules", "alerts/promise.test.yaml"],
        ["check", "config", "prometheus.yaml"],
    ] {
        let output = Command::new("promtool").args(arguments).current_dir(&folder).output()?;
        ensure!(
            output.status.success(),
            "promtool {arguments:?}:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

#[test]
fn every_alert_is_tested_and_names_a_runbook_that_is_there() -> anyhow::Result<()> {
    let folder = root().join("observability/alerts");
    let rules = std::fs::read_to_string(folder.join("posthorn.rules.yaml"))?;
    let mut tests = std::fs::read_to_string(folder.join("posthorn.test.yaml"))?;
    tests += &std::fs::read_to_string(folder.join("promise.test.yaml"))?;
    let values = |name: &str| -> Vec<String> {
        let value = |line: &str| Some(line.trim().split_once(&format!("{name}: "))?.1.to_owned());
        rules.lines().filter_map(value).collect()
    };
    let (alerts, runbooks) = (values("alert"), values("runbook"));
    ensure!(alerts.len() >= 14 && alerts.len() == runbooks.len(), "{alerts:?} {runbooks:?}");
    for (alert, runbook) in alerts.iter().zip(&runbooks) {
        ensure!(tests.contains(&format!("alertname: {alert}\n")), "{alert} has no test");
        let page = std::fs::read_to_string(root().join(runbook))
            .with_context(|| format!("{alert}: {runbook}"))?;
        ensure!(page.contains(alert), "{runbook} does not say {alert}");
    }
    Ok(())
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

fn items<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value[name].as_array().into_iter().flatten()
}
