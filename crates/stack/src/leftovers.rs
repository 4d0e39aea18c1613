//! Is anything of an earlier run still there?
//!
//! A service's working directory is its own, so as long as any process is in it, the old one is not
//! gone: not a PostgreSQL backend that outlived its killed postmaster, and not a service whose `up`
//! was killed. Two of a kind on one data folder must never be.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::StackError;

/// How long what is left of an earlier run may take to go away: a killed process is gone at once, a
/// backend of a killed postmaster when it notices.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// Waits until no process has `cwd` as its working directory.
///
/// # Errors
/// When one stays: its process id.
pub async fn wait_until_gone(cwd: &Path) -> Result<(), StackError> {
    let Ok(cwd) = cwd.canonicalize() else { return Ok(()) };
    let deadline = Instant::now() + PATIENCE;
    loop {
        match process_in(&cwd) {
            None => return Ok(()),
            Some(pid) if Instant::now() > deadline => {
                return Err(StackError::StillThere { cwd, pid });
            }
            Some(_) => sleep(POLL).await,
        }
    }
}

fn process_in(cwd: &Path) -> Option<i32> {
    let own = std::process::id().to_string();
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let name = entry.file_name();
        let name = name.to_str()?;
        let pid: i32 = name.parse().ok()?;
        (name != own && is_in(&entry.path(), cwd)).then_some(pid)
    })
}

/// Is the process, or a thread of it, in `cwd`? Of a process that dies the first thread has no
/// working directory any more, while others may still hold its sockets and its locks.
fn is_in(process: &Path, cwd: &Path) -> bool {
    if let Ok(theirs) = std::fs::read_link(process.join("cwd")) {
        return theirs == cwd;
    }
    let Ok(threads) = std::fs::read_dir(process.join("task")) else { return false };
    threads
        .flatten()
        .any(|thread| std::fs::read_link(thread.path().join("cwd")).is_ok_and(|its| its == cwd))
}
