//! `status.json`: what runs, for people, tests and `posthorn status`.
//!
//! It is replaced as a whole at every change, so a reader never sees half of it. No secret is in it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::StackError;

/// A part is somebody else's; a role is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// PostgreSQL, Kafka, Restate.
    Part,
    /// A process of our own binary.
    Role,
}

/// Where a service stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It runs and has not been ready yet.
    Starting,
    /// It answers.
    Ready,
    /// It runs, and says that it cannot do its work now; only `posthorn status` asks.
    NotReady,
    /// It died and is being started again.
    Restarting,
    /// It was told to stop, or never started.
    Stopped,
}

/// One service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name, unique in a stack.
    pub name: String,
    /// Part or role.
    pub kind: Kind,
    /// Its process, while there is one.
    pub pid: Option<u32>,
    /// Where it listens.
    pub ports: Vec<u16>,
    /// Where it stands.
    pub state: State,
    /// How often it was started again since `up` began.
    pub restarts: u32,
    /// Where its output goes.
    pub log: PathBuf,
    /// Since when it stands there.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// Why it is not ready though it runs; only `posthorn status` asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A whole stack.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Everything is started, registered and ready for payments.
    pub ready: bool,
    /// The `up` that runs it.
    pub pid: u32,
    /// Its state directory.
    pub dir: PathBuf,
    /// When that `up` began.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// Parts first, in the order in which they were started.
    pub services: Vec<ServiceStatus>,
}

impl Status {
    /// What the file in `dir` says.
    ///
    /// # Errors
    /// When there is none, or it cannot be understood.
    pub fn read(dir: &Path) -> Result<Self, StackError> {
        let path = dir.join("status.json");
        let text =
            std::fs::read_to_string(&path).map_err(StackError::file("cannot read", &path))?;
        serde_json::from_str(&text).map_err(|source| StackError::Json { path, source })
    }
}

/// The status while it changes. Clones share it; every change is written out.
#[derive(Debug, Clone)]
pub struct Board {
    status: Arc<Mutex<Status>>,
}

impl Board {
    /// A board for a stack in `dir` of which nothing runs yet.
    pub fn new(dir: &Path) -> Self {
        let status = Status {
            ready: false,
            pid: std::process::id(),
            dir: dir.to_owned(),
            since: OffsetDateTime::now_utc(),
            services: Vec::new(),
        };
        let board = Self { status: Arc::new(Mutex::new(status)) };
        board.change(|_| {});
        board
    }

    /// Everything is there, or not any more.
    pub fn set_ready(&self, ready: bool) {
        self.change(|status| status.ready = ready);
    }

    /// The status now.
    pub fn status(&self) -> Status {
        match self.status.lock() {
            Ok(status) => status.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }

    pub(crate) fn add(&self, service: ServiceStatus) {
        self.change(|status| {
            status.services.retain(|known| known.name != service.name);
            status.services.push(service);
        });
    }

    pub(crate) fn set(&self, name: &str, state: State, pid: Option<u32>) {
        self.change(|status| {
            let service = status.services.iter_mut().find(|service| service.name == name);
            if let Some(service) = service {
                if state == State::Restarting {
                    service.restarts += 1;
                }
                service.state = state;
                service.pid = pid;
                service.since = OffsetDateTime::now_utc();
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Status)) {
        let mut status = match self.status.lock() {
            Ok(status) => status,
            Err(poisoned) => poisoned.into_inner(),
        };
        change(&mut status);
        // Under the lock, so that an older status never replaces a newer one. A full disk must not
        // end what runs: who reads the file sees that it is old by its pids.
        let _ = write(&status);
    }
}

fn write(status: &Status) -> std::io::Result<()> {
    let path = status.dir.join("status.json");
    let partial = status.dir.join("status.json.partial");
    std::fs::write(&partial, serde_json::to_string_pretty(status)?)?;
    std::fs::rename(&partial, &path)
}
