//! `posthorn exec`: a child that dies with its parent, or never begins.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use crate::{posthorn, runs, wait_for};

#[test]
fn a_child_dies_with_its_parent() {
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("pid");
    // A shell that starts the child, notes its pid, and waits.
    let script = r#""$0" exec --signal KILL -- sleep 600 & echo $! > "$1"; wait"#;
    let mut parent = std::process::Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_posthorn")])
        .arg(&pid_file)
        .spawn()
        .unwrap();
    let child: u32 = wait_for("the child is there", Duration::from_secs(10), || {
        let pid = std::fs::read_to_string(&pid_file).ok()?.trim().parse().ok()?;
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        command.starts_with("sleep").then_some(pid)
    });
    parent.kill().unwrap();
    parent.wait().unwrap();
    wait_for("the child is gone", Duration::from_secs(10), || (!runs(child)).then_some(()));
}

#[test]
fn a_child_whose_parent_is_gone_never_begins() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("mark");
    let output =
        posthorn().args(["exec", "--parent", "1", "--", "touch"]).arg(&mark).output().unwrap();
    assert_eq!(output.status.code(), Some(126));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the parent is gone"));
    assert!(!mark.exists());
}

#[test]
fn a_signal_that_is_none_is_refused() {
    let status = posthorn()
        .args(["exec", "--signal", "HELLO", "--", "true"])
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!((status.code(), status.signal()), (Some(2), None));
}
