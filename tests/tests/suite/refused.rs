//! What `posthorn up` refuses before it starts anything: one message, which names the thing and says
//! what to do.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;
use posthorn_tests::{refusal, state_dir};
use tempfile::TempDir;

/// Refused in one line with all of `words`, and nothing was started.
fn refused(dir: &Path, arguments: &[&str], words: &[&str]) -> anyhow::Result<()> {
    let said = refusal(dir, arguments)?;
    for word in words {
        ensure!(said.contains(word), "no {word:?} in: {said}");
    }
    ensure!(said.trim().lines().count() == 1, "{said}");
    ensure!(!dir.join("status.json").exists(), "something was started");
    Ok(())
}

/// A state directory with one file in it.
fn with_file(file: &str, text: &str) -> anyhow::Result<(TempDir, PathBuf)> {
    let (temporary, dir) = state_dir()?;
    let file = dir.join(file);
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(file, text)?;
    Ok((temporary, dir))
}

#[test]
fn a_port_that_is_taken() -> anyhow::Result<()> {
    let (_temporary, dir) = with_file("note", "")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let taken = format!("port {port} (kafka) is taken by pid {} ", std::process::id());
    refused(&dir, &["--port", &format!("kafka={port}")], &[&taken, "--port kafka=N"])
}

#[test]
fn data_of_another_postgresql() -> anyhow::Result<()> {
    let (_temporary, dir) = with_file("postgres/data/PG_VERSION", "9\n")?;
    let path = dir.join("postgres/data").display().to_string();
    refused(&dir, &[], &[&path, "PostgreSQL 9", "install PostgreSQL 9, or move that folder away"])
}

#[test]
fn data_of_a_newer_kafka() -> anyhow::Result<()> {
    let (_temporary, dir) = with_file("kafka/version", "99.1.0")?;
    std::fs::create_dir(dir.join("kafka/data"))?;
    let path = dir.join("kafka/data").display().to_string();
    refused(&dir, &[], &[&path, "made by Kafka 99.1.0", "move that folder away"])
}

#[test]
fn data_of_a_newer_restate() -> anyhow::Result<()> {
    let (_temporary, dir) = with_file("restate/version", "99.1.0")?;
    std::fs::create_dir(dir.join("restate/data"))?;
    let path = dir.join("restate/data").display().to_string();
    refused(&dir, &[], &[&path, "made by Restate 99.1.0", "move that folder away"])
}

#[test]
fn a_disk_that_is_full() -> anyhow::Result<()> {
    let (_temporary, dir) = with_file("note", "")?;
    let mount = |command: &mut Command| command.output().is_ok_and(|mount| mount.status.success());
    let tmpfs = ["-t", "tmpfs", "-o", "size=8m,mode=755", "posthorn-test"];
    if !mount(Command::new("mount").args(tmpfs).arg(&dir)) {
        eprintln!("NOT RUN: only who may mount a small file system can fill it");
        return Ok(());
    }
    let path = dir.display().to_string();
    let result = refused(&dir, &[], &["MiB are free where", &path, "make room"]);
    ensure!(mount(Command::new("umount").arg(&dir)), "cannot unmount {path}");
    result
}
