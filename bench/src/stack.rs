//! What runs here: parts and roles by name and process, from the `status.json` of `up`.
//!
//! Read for two things: to kill one in the middle of a run, and to see what each one costs.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;

/// One part or role.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Service {
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
pub(crate) struct Stack {
    file: PathBuf,
}

impl Stack {
    /// The stack whose state directory this is.
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self { file: state_dir.join("status.json") }
    }

    /// What it says that it runs, at this moment.
    pub(crate) fn services(&self) -> anyhow::Result<Vec<Service>> {
        let text = std::fs::read_to_string(&self.file)
            .with_context(|| format!("{}: is `posthorn up` running?", self.file.display()))?;
        let status: Status = serde_json::from_str(&text)
            .with_context(|| format!("{} cannot be understood", self.file.display()))?;
        Ok(status.services)
    }

    /// The process of the service with this name.
    pub(crate) fn pid(&self, name: &str) -> anyhow::Result<u32> {
        let services = self.services()?;
        let Some(service) = services.iter().find(|service| service.name == name) else {
            let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
            bail!("--kill: no {name} in {}; there are {}", self.file.display(), names.join(", "));
        };
        service.pid.with_context(|| format!("--kill: {name} has no process now"))
    }

    /// Kills the service with -9.
    pub(crate) fn kill(&self, name: &str) -> anyhow::Result<u32> {
        let pid = self.pid(name)?;
        let target = Pid::from_raw(i32::try_from(pid)?);
        kill(target, Signal::SIGKILL).with_context(|| format!("--kill: {name}, pid {pid}"))?;
        Ok(pid)
    }
}
