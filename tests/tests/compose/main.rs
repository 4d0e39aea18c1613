//! Checks of `compose/`, of what can be checked without a container engine.
//!
//! The files are read as data and held against what we do have: the loader of Docker Compose, the
//! real binary's options, the fixtures of the topic's contract, Elixir where it is there. At last
//! every role is started with exactly the environment that the compose file gives it.

mod dockerfile;
mod file;
mod prometheus;
mod restate;
mod roles;
mod sequin;

use std::path::{Path, PathBuf};

/// The folder `compose`.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../compose")
}

/// The text of a file in it.
fn text(name: &str) -> anyhow::Result<String> {
    let path = folder().join(name);
    std::fs::read_to_string(&path)
        .map_err(|error| anyhow::anyhow!("cannot read {}: {error}", path.display()))
}

/// A YAML file in it, its merges done.
fn yaml(name: &str) -> anyhow::Result<serde_json::Value> {
    let mut value: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text(name)?)?;
    // Twice: what is merged may itself be merged from something.
    value.apply_merge()?;
    value.apply_merge()?;
    Ok(serde_json::to_value(value)?)
}
