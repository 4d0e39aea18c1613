//! The log of a service: appended to by the service itself, bounded by us while it runs.
//!
//! The service holds the file open and knows nothing of this, so a log that grew too long is copied
//! aside and cut to nothing: what is appended then goes to its beginning. A line that is written
//! between the two is lost, some microseconds' worth in 16 MiB.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A log longer than this is put aside.
pub(crate) const LOG_BYTES_MAX: u64 = 16 << 20;
/// How many are kept beside the one that is written: `.1` is the youngest.
const KEPT: usize = 2;
/// How many of a log's last lines an error message shows.
const TAIL_LINES: usize = 12;
/// How much of a log's end is read for them.
const TAIL_BYTES: u64 = 8 << 10;
/// How much of one line is shown where there is room for one.
const LINE_CHARS_MAX: usize = 240;

/// Opens a log to append to; makes it when it is not there.
pub(crate) fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Puts what is in the log aside when it is longer than `bytes_max`; true: it was.
pub(crate) fn bound(path: &Path, bytes_max: u64) -> std::io::Result<bool> {
    if path.metadata().map_or(0, |file| file.len()) <= bytes_max {
        return Ok(false);
    }
    for older in (1..KEPT).rev() {
        let from = aside(path, older);
        if from.exists() {
            std::fs::rename(from, aside(path, older + 1))?;
        }
    }
    let log = OpenOptions::new().read(true).write(true).open(path)?;
    let mut copy = File::create(aside(path, 1))?;
    std::io::copy(&mut &log, &mut copy)?;
    log.set_len(0)?;
    Ok(true)
}

fn aside(path: &Path, number: usize) -> PathBuf {
    path.with_extension(format!("log.{number}"))
}

/// The last lines of a log, indented: for an error message. Empty when there is nothing to read.
pub(crate) fn tail(path: &Path) -> String {
    let text = end_of(path);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..]
        .iter()
        .map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The last line of a log that says something: not one of a stack trace, not an empty one.
pub(crate) fn last_line(path: &Path) -> Option<String> {
    let text = end_of(path);
    let line = text
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty() && !line.starts_with(char::is_whitespace))?;
    Some(line.chars().take(LINE_CHARS_MAX).collect())
}

fn end_of(path: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_log_that_is_open_stays_bounded_and_so_do_those_that_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let mut writer = open(&path).unwrap();
        for round in 0..5 {
            for line in 0..10 {
                writeln!(writer, "round {round}, line {line}").unwrap();
            }
            assert!(bound(&path, 100).unwrap(), "round {round}");
            assert!(!bound(&path, 100).unwrap(), "round {round}");
        }
        writeln!(writer, "and on").unwrap();
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!(read(&path), "and on\n");
        assert!(read(&aside(&path, 1)).starts_with("round 4, line 0\n"));
        assert!(read(&aside(&path, 2)).starts_with("round 3, line 0\n"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn the_last_line_is_the_one_that_says_something() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        assert_eq!(last_line(&path), None);
        std::fs::write(&path, "first\nit broke\n\tat some.where(Of.java:1)\n\n").unwrap();
        assert_eq!(last_line(&path).as_deref(), Some("it broke"));
    }
}
