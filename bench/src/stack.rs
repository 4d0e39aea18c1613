//! The stack of an `up`: its parts and roles by name and process, and where they listen.
//!
//! `up` writes both into its state directory (`status.json`, `environment`). Nothing is written
//! here. A stack that is started otherwise is named by flags, and its processes are not measured.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;

/// One part or role.
#[derive(Debug, Clone, Deserialize)]
pub struct Service {
    pub name: String,
    pub pid: Option<u32>,
    #[serde(default)]
    pub ports: Vec<u16>,
}

#[derive(Debug, Deserialize)]
struct Status {
    services: Vec<Service>,
}

/// The stack of an `up`.
#[derive(Debug, Clone)]
pub struct Stack {
    file: PathBuf,
    environment: PathBuf,
}

impl Stack {
    /// The stack whose state directory this is.
    pub fn new(dir: &Path) -> Self {
        Self { file: dir.join("status.json"), environment: dir.join("environment") }
    }

    /// What every role of the stack is told under this name.
    pub fn variable(&self, name: &str) -> Option<String> {
        variable(&std::fs::read_to_string(&self.environment).ok()?, name)
    }

    /// What it says that it runs, at this moment.
    pub fn services(&self) -> anyhow::Result<Vec<Service>> {
        let text = std::fs::read_to_string(&self.file)
            .with_context(|| format!("{}: is `posthorn up` running?", self.file.display()))?;
        let status: Status = serde_json::from_str(&text)
            .with_context(|| format!("{} cannot be understood", self.file.display()))?;
        Ok(status.services)
    }

    /// The process of the service with this name.
    pub fn pid(&self, name: &str) -> anyhow::Result<u32> {
        let services = self.services()?;
        let Some(service) = services.iter().find(|service| service.name == name) else {
            let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
            bail!("no {name} in {}; there are {}", self.file.display(), names.join(", "));
        };
        service.pid.with_context(|| format!("{name} has no process now"))
    }

    /// Kills the service with -9.
    pub fn kill(&self, name: &str) -> anyhow::Result<u32> {
        let pid = self.pid(name)?;
        let target = Pid::from_raw(i32::try_from(pid)?);
        kill(target, Signal::SIGKILL).with_context(|| format!("{name}, pid {pid}"))?;
        Ok(pid)
    }
}

/// Lines of a shell: `NAME='value'`.
fn variable(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches('\'').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_found_by_its_whole_name() {
        let text = "POSTHORN_A_LISTEN='127.0.0.1:1'\nPOSTHORN_A='x=y'\n";
        assert_eq!(variable(text, "POSTHORN_A").as_deref(), Some("x=y"));
        assert_eq!(variable(text, "POSTHORN_A_LISTEN").as_deref(), Some("127.0.0.1:1"));
        assert_eq!(variable(text, "POSTHORN"), None);
    }
}
