//! `posthorn up` as a person meets it: what it prints, what it refuses, how it ends.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::{posthorn, runs, wait_for};

/// A cold machine fetches the parts first.
const START_LIMIT: Duration = Duration::from_secs(600);
/// What is promised, for everything together.
const STOP_LIMIT: Duration = Duration::from_secs(15);

#[test]
fn a_payment_travels_and_nothing_is_left_when_it_is_told_to_stop() {
    let temporary = tempfile::Builder::new().prefix("posthorn-up-").tempdir().unwrap();
    // As root, PostgreSQL runs as somebody else, who must get in.
    std::fs::set_permissions(temporary.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let dir = temporary.path().join("state");
    let output = temporary.path().join("output");
    let mut up = start(&dir, &output);

    let text = || std::fs::read_to_string(&output).unwrap_or_default();
    wait_for("it says what to try next", START_LIMIT, || {
        if let Some(status) = up.try_wait().unwrap() {
            panic!("it ended ({status}):\n{}", text());
        }
        text().contains("Try next:").then_some(())
    });
    let printed = text();
    for step in ["committed", "captured", "on Kafka", "invoked", "POSTed", "answered   200"] {
        let line = printed.lines().find(|line| line.contains(step));
        let line = line.unwrap_or_else(|| panic!("no {step:?} in\n{printed}"));
        assert!(!line.contains('?'), "{line}");
    }

    let status = status(&dir);
    assert_eq!(status["ready"], true, "{status}");
    let services = status["services"].as_array().unwrap();
    let pids: Vec<u32> =
        services.iter().filter_map(|s| s["pid"].as_u64()?.try_into().ok()).collect();
    assert_eq!(pids.len(), 9, "{status}");

    let second = posthorn().args(["up", "--ports", "auto", "--dir"]).arg(&dir).output().unwrap();
    assert!(!second.status.success());
    let refusal = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(refusal.contains(&format!("(pid {})", up.id())), "{refusal}");

    let begun = Instant::now();
    kill(Pid::from_raw(i32::try_from(up.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert!(up.wait().unwrap().success(), "{}", text());
    assert!(begun.elapsed() < STOP_LIMIT, "{:?}\n{}", begun.elapsed(), text());
    let left: Vec<&u32> = pids.iter().filter(|pid| runs(**pid)).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(self::status(&dir)["ready"], false);
}

/// Starts it so that it dies with this process: through the hidden helper, from the test's thread,
/// which waits for it.
fn start(dir: &Path, output: &Path) -> Child {
    let output = File::create(output).expect("a file for its output");
    posthorn()
        .args(["exec", "--signal", "KILL", "--", env!("CARGO_BIN_EXE_posthorn")])
        .args(["up", "--ports", "auto", "--dir"])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a second handle"))
        .stderr(output)
        .spawn()
        .expect("the binary runs")
}

fn status(dir: &Path) -> Value {
    let output =
        posthorn().args(["status", "--json", "--dir"]).arg(dir).output().expect("the binary runs");
    serde_json::from_slice(&output.stdout).expect("status as JSON")
}
