//! Why the stack could not do what it was told. Each message names the thing and says what to do.

use std::path::PathBuf;
use std::time::Duration;

use crate::ports::PortsError;

/// An error of the stack; the source is kept.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// A file or a folder could not be used.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// What was tried, as a phrase: "cannot write".
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Another `up` holds the state directory.
    #[error(
        "another `posthorn up` (pid {pid}) uses {}; stop it first, or give this one a --dir of its own",
        dir.display()
    )]
    Locked {
        /// The state directory.
        dir: PathBuf,
        /// Who holds it, as it wrote itself down.
        pid: String,
    },
    /// A port is taken, or the ports cannot be used.
    #[error(transparent)]
    Ports(#[from] PortsError),
    /// Too little room on the disk.
    #[error(
        "only {free_mib} MiB are free where {} lies, {needed_mib} MiB are needed; make room, or choose another --dir",
        dir.display()
    )]
    DiskFull {
        /// The state directory.
        dir: PathBuf,
        /// Free for this user.
        free_mib: u64,
        /// Needed to start.
        needed_mib: u64,
    },
    /// Something that must be on the machine is not.
    #[error("{what} is missing: {hint}")]
    Missing {
        /// What.
        what: String,
        /// How to get it.
        hint: String,
    },
    /// A data folder that this version cannot use.
    #[error("{} was made by {found}, but this is {expected}: {hint}", path.display())]
    ForeignData {
        /// The folder.
        path: PathBuf,
        /// Who made it.
        found: String,
        /// What would have to use it.
        expected: String,
        /// What to do.
        hint: String,
    },
    /// A helper command failed: fetching, or preparing a data folder.
    #[error("{what} failed ({status}); log: {}\n{tail}", log.display())]
    Command {
        /// What it was to do.
        what: String,
        /// How it ended.
        status: String,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// A process could not be started.
    #[error("cannot start {name}: {source}")]
    Spawn {
        /// The process.
        name: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A process ended before it was ready.
    #[error("{name} ended before it was ready ({status}); log: {}\n{tail}", log.display())]
    Died {
        /// The process.
        name: String,
        /// How it ended.
        status: String,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// A process could not listen: somebody was quicker.
    #[error(
        "{name} ended before it was ready ({status}): port {port} was free a moment ago and is taken now{by}; stop what listens there and start again, or choose others with --port or --ports auto; log: {}",
        log.display()
    )]
    PortLost {
        /// The process.
        name: String,
        /// How it ended.
        status: String,
        /// Its port.
        port: u16,
        /// Who has it, if that can be seen.
        by: String,
        /// Its log.
        log: PathBuf,
    },
    /// A process runs and does not get ready.
    #[error("{name} is not ready after {} s: {why}; log: {}\n{tail}", after.as_secs(), log.display())]
    NotReady {
        /// The process.
        name: String,
        /// How long it was given.
        after: Duration,
        /// What the last look said.
        why: String,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// A process of an earlier run does not go away.
    #[error("a process of an earlier run still uses {}: pid {pid}; end it and try again", cwd.display())]
    StillThere {
        /// Its working directory.
        cwd: PathBuf,
        /// Its process id.
        pid: i32,
    },
    /// A configuration template and its values do not fit each other.
    #[error("the template {template} names {{{{{name}}}}}, which nobody fills in")]
    Template {
        /// The template.
        template: &'static str,
        /// The name without a value.
        name: String,
    },
    /// A file of ours cannot be read.
    #[error("cannot understand {}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
    /// The system has no random bytes.
    #[error("no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// The supervision of a service ended without an answer.
    #[error("the supervision of {0} ended")]
    Unsupervised(String),
}

impl StackError {
    /// Turns an IO error into one that says what was tried, and where.
    pub(crate) fn file(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }
}
