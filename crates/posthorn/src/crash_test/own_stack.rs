//! A stack of the test's own: `posthorn up` in another process, which ends with the test.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stack::{Launch, StateDir, Status};
use tokio::process::Child;

/// A first start fetches the parts.
const READY_WITHIN: Duration = Duration::from_secs(900);
/// `up` stops everything within 15 s.
const STOP_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(200);

/// The `up` that was started for the test.
pub(super) struct OwnStack {
    child: Child,
}

impl OwnStack {
    /// Starts it in `dir`, on free ports.
    pub(super) async fn start(dir: &Path) -> anyhow::Result<Self> {
        if StateDir::is_in_use(dir) {
            bail!("{} has an `up` that runs: leave out --start to test that one", dir.display());
        }
        std::fs::create_dir_all(dir).with_context(|| format!("--dir {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let log = dir.join("up.log");
        let mut launch = Launch::own("up", std::env::current_dir()?, &log);
        launch.argv.extend(["--no-demo", "--ports", "auto", "--dir"].map(Into::into));
        launch.argv.push(dir.clone().into());
        // Told to stop should we die, so that it stops its own children in order.
        launch.death = Signal::SIGTERM;
        eprintln!("starting a stack in {} (log: {})", dir.display(), log.display());
        let begun = Instant::now();
        let mut child = launch.spawn().await.context("`posthorn up` did not start")?;
        loop {
            let is_ready = |status: &Status| status.ready && Some(status.pid) == child.id();
            if Status::read(&dir).is_ok_and(|status| is_ready(&status)) {
                eprintln!("ready after {:.1} s", begun.elapsed().as_secs_f64());
                return Ok(Self { child });
            }
            if let Some(status) = child.try_wait()? {
                bail!("`posthorn up` ended with {status}; see {}", log.display());
            }
            if begun.elapsed() > READY_WITHIN {
                bail!("`posthorn up` is not ready; see {}", log.display());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Stops it and waits until it is gone.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(pid) = self.child.id() {
            kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
        }
        tokio::time::timeout(STOP_WITHIN, self.child.wait())
            .await
            .context("`posthorn up` did not stop in time; it was killed")??;
        Ok(())
    }
}
