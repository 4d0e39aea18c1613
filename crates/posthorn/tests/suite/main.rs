//! The binary, as people and `up` run it. Nothing that a test starts outlives it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

mod exec;
mod up;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The binary of this build.
fn posthorn() -> Command {
    Command::new(env!("CARGO_BIN_EXE_posthorn"))
}

/// Waits until `condition` gives a value.
fn wait_for<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Is there such a process, other than a dead one that nobody has waited for?
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}
