//! The Dockerfile: pinned, small, nobody's root.

use anyhow::{Context, ensure};

use crate::text;

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
    let toolchain = std::fs::read_to_string(crate::folder().join("../rust-toolchain.toml"))?;
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
