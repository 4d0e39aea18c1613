//! Installing and running one of the receivers. What it needs comes from its own pinned manifest,
//! through its language's ordinary tools, into a folder of the build.

use std::path::{Path, PathBuf};
use std::process::{Command as Setup, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// A virtual machine that starts on a busy computer.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A receiver that runs; it is killed with this value.
#[derive(Debug)]
pub struct Program {
    /// Where it listens.
    pub url: String,
    _child: Child,
    // Kept open: a receiver that prints must not find its output closed.
    _output: Lines<BufReader<ChildStdout>>,
}

impl Program {
    /// Starts `argv` in `folder` with one more variable, and waits until it listens.
    ///
    /// # Errors
    /// When it does not.
    pub async fn start(
        folder: &Path,
        argv: &[&str],
        (variable, value): (&str, &str),
    ) -> anyhow::Result<Self> {
        let mut child = Command::new(argv[0])
            .args(&argv[1..])
            .current_dir(folder)
            .env(variable, value)
            .env("PORT", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| missing(argv[0]))?;
        let output = child.stdout.take().context("no output")?;
        let mut output = BufReader::new(output).lines();
        let line = tokio::time::timeout(START_LIMIT, output.next_line())
            .await
            .with_context(|| format!("{argv:?} does not say where it listens"))??
            .with_context(|| format!("{argv:?} ended before it listened"))?;
        let url = line.strip_prefix("listening on ").with_context(|| line.clone())?.to_owned();
        Ok(Self { url: format!("{url}/"), _child: child, _output: output })
    }
}

/// A folder of the build for `language`, with copies of `files` of this crate.
///
/// # Errors
/// When they cannot be copied.
pub fn folder(tmp: &str, language: &str, files: &[&str]) -> anyhow::Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(language);
    let target = Path::new(tmp).join("receivers").join(language);
    std::fs::create_dir_all(&target)?;
    for file in files {
        std::fs::copy(source.join(file), target.join(file)).with_context(|| (*file).to_owned())?;
    }
    Ok(target)
}

/// Runs one step of an installation in `folder`.
///
/// # Errors
/// When the tool is missing or fails.
pub fn install(folder: &Path, argv: &[&str]) -> anyhow::Result<()> {
    let output = Setup::new(argv[0])
        .args(&argv[1..])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .with_context(|| missing(argv[0]))?;
    ensure!(
        output.status.success(),
        "{argv:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn missing(tool: &str) -> String {
    let install = match tool {
        "python3" => "Python 3.9 or later with venv",
        "node" | "npm" => "Node.js 18 or later with npm",
        "go" => "Go 1.21 or later",
        "java" | "javac" => "a JDK, 17 or later",
        "mvn" => "Maven 3",
        _ => "it",
    };
    format!("`{tool}` cannot be run: install {install}")
}
