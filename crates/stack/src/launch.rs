//! Starting a child so that it dies with us.
//!
//! Every child goes through the hidden subcommand `exec` of our own binary (see [`crate::exec`]),
//! gets a process group of its own (a Ctrl-C in the terminal is ours to pass on, in order), an
//! empty standard input, and a log file. The kernel ties a death signal to the *thread* that
//! spawned: so one thread spawns them all, and lives as long as the process.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc;

use nix::sys::signal::Signal;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::StackError;
use crate::log_file::{self, LOG_BYTES_MAX, tail};

/// Our own binary, as the kernel holds it: a build that replaces the file changes nothing for an
/// `up` that runs, and what it starts again is what it started first.
pub(crate) const SELF: &str = "/proc/self/exe";

/// A program to run: what, as whom, where, and where its output goes.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program and its arguments.
    pub argv: Vec<OsString>,
    /// Variables, besides those that we have ourselves.
    pub env: Vec<(String, OsString)>,
    /// Its working directory, which no other service shares.
    pub cwd: PathBuf,
    /// The user to become; none: ours.
    pub user: Option<String>,
    /// Standard output and error, appended.
    pub log: PathBuf,
    /// What it gets when we die.
    pub death: Signal,
}

impl Launch {
    /// `argv` in `cwd`, as ourselves, killed when we die.
    pub fn new<I, S>(argv: I, cwd: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<OsString>,
    {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            cwd: cwd.into(),
            user: None,
            log: log.into(),
            death: Signal::SIGKILL,
        }
    }

    /// Our own binary with these arguments.
    pub fn own(argument: &str, cwd: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self::new([SELF, argument], cwd, log)
    }

    /// With one more variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the log cannot be opened, or the process not be made.
    pub async fn spawn(&self) -> std::io::Result<Child> {
        log_file::bound(&self.log, LOG_BYTES_MAX)?;
        let log = log_file::open(&self.log)?;
        let mut command = Command::new(SELF);
        command.arg0("posthorn").args(["exec", "--parent", &std::process::id().to_string()]);
        command.args(["--signal", self.death.as_str()]);
        if let Some(user) = &self.user {
            command.args(["--user", user]);
        }
        command
            .arg("--")
            .args(&self.argv)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.cwd)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true);
        in_nursery(command).await
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When it cannot be started, or ends with another status than 0: with the log's last lines.
    pub async fn run(&self, what: &str) -> Result<(), StackError> {
        let failed = |status: String| StackError::Command {
            what: what.to_owned(),
            status,
            log: self.log.clone(),
            tail: tail(&self.log),
        };
        let spawn = |source| StackError::Spawn { name: what.to_owned(), source };
        let status: ExitStatus = self.spawn().await.map_err(spawn)?.wait().await.map_err(spawn)?;
        if status.success() { Ok(()) } else { Err(failed(status.to_string())) }
    }
}

struct Order {
    command: Command,
    runtime: Handle,
    reply: oneshot::Sender<std::io::Result<Child>>,
}

async fn in_nursery(command: Command) -> std::io::Result<Child> {
    static NURSERY: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let nursery = NURSERY.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        // It ends with the process: the sender is static.
        std::thread::spawn(move || {
            for mut order in inbox {
                let _runtime = order.runtime.enter();
                // Nobody waits for the reply any more: the child is dropped, which kills it.
                let _ = order.reply.send(order.command.spawn());
            }
        });
        orders
    });
    let (reply, answer) = oneshot::channel();
    let gone = || std::io::Error::other("the thread that starts processes is gone");
    nursery.send(Order { command, runtime: Handle::current(), reply }).map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}
