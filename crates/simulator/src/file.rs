//! The ledger's file: lines of JSON, only ever appended to, read again at start.
//!
//! A request's line is in the file (in the system's page cache: it survives a kill, not a power
//! cut) before the request is answered. One thread writes, and what waits meanwhile goes out in
//! one write, so a slow disk costs a few callers some time and no executor thread.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::ledger::{Ledger, Receipt};
use crate::line::Line;

/// Largest file: some five million requests, read in well under a minute.
const FILE_BYTES_MAX: u64 = 2 << 30;
/// Longest line that is read; ours have a few kilobytes at most.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Writes that wait for the disk before their senders wait for a place.
const QUEUE_MAX: usize = 1_024;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be opened, read or cut back to its last whole line.
    #[error("the ledger's file {path}: {source}; give another with --ledger, or none")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A write failed.
    #[error("the ledger's file cannot be written: {0}")]
    Write(String),
    /// It has reached its bound.
    #[error("the ledger's file is full ({FILE_BYTES_MAX} bytes); POST /reset empties it")]
    Full,
    /// The writing thread has ended.
    #[error("the ledger's file is closed")]
    Closed,
}

/// The answer of a request whose line is already in the file.
#[derive(Debug, Serialize, Deserialize)]
struct Answered {
    answered: u64,
    status: u16,
}
/// How such a line begins; no [`Line`] begins so.
const ANSWERED: &[u8] = br#"{"answered":"#;

#[derive(Debug)]
enum Job {
    Append(Vec<u8>),
    Empty,
}

type Done = oneshot::Sender<Result<(), FileError>>;

/// The file. Dropping it ends its thread when all is written.
#[derive(Debug)]
pub(crate) struct LedgerFile {
    jobs: mpsc::Sender<(Job, Done)>,
}

impl LedgerFile {
    /// Opens the file, makes it if it is not there, and reads what it holds into `ledger`. A last
    /// line that a kill cut short is removed: its request was never answered.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn open(path: &Path, ledger: &mut Ledger) -> Result<Self, FileError> {
        let failed = |source| FileError::Open { path: path.to_owned(), source };
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(failed(std::io::Error::other("it is not a regular file")));
        }
        let bytes = read(&file, ledger).map_err(failed)?;
        file.set_len(bytes).map_err(failed)?;
        file.seek(SeekFrom::Start(bytes)).map_err(failed)?;
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        std::thread::Builder::new()
            .name("ledger-file".to_owned())
            .spawn(move || write(file, bytes, queue))
            .map_err(failed)?;
        Ok(Self { jobs })
    }

    /// Appends a request.
    ///
    /// # Errors
    /// When it is not in the file.
    pub(crate) async fn append(&self, line: &Line) -> Result<(), FileError> {
        self.append_json(line).await
    }

    /// Appends the answer of a request that is in the file.
    ///
    /// # Errors
    /// When it is not in the file.
    pub(crate) async fn append_answer(&self, number: u64, status: u16) -> Result<(), FileError> {
        self.append_json(&Answered { answered: number, status }).await
    }

    /// Empties the file.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) async fn empty(&self) -> Result<(), FileError> {
        self.submit(Job::Empty).await
    }

    async fn append_json(&self, value: &impl Serialize) -> Result<(), FileError> {
        let mut json =
            serde_json::to_vec(value).map_err(|error| FileError::Write(error.to_string()))?;
        json.push(b'\n');
        self.submit(Job::Append(json)).await
    }

    async fn submit(&self, job: Job) -> Result<(), FileError> {
        let (done, written) = oneshot::channel();
        self.jobs.send((job, done)).await.map_err(|_| FileError::Closed)?;
        written.await.map_err(|_| FileError::Closed)?
    }
}

/// Reads whole lines into the ledger, and returns how many bytes they are.
fn read(file: &File, ledger: &mut Ledger) -> std::io::Result<u64> {
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let (mut line, mut bytes, mut odd_lines) = (Vec::new(), 0, 0_u64);
    let mut unanswered: HashMap<u64, Receipt> = HashMap::new();
    loop {
        line.clear();
        if reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.len() as u64 == LINE_BYTES_MAX {
            return Err(std::io::Error::other("it is not a ledger: it has a line without end"));
        }
        if line.last() != Some(&b'\n') {
            tracing::warn!(bytes = line.len(), "the ledger's last line was cut short; removed");
            break;
        }
        bytes += line.len() as u64;
        if line.starts_with(ANSWERED) {
            let Ok(Answered { answered, status }) = serde_json::from_slice(&line) else {
                odd_lines += 1;
                continue;
            };
            if let Some(receipt) = unanswered.remove(&answered) {
                ledger.answer(receipt, status);
            }
        } else if let Ok(mut request) = serde_json::from_slice::<Line>(&line) {
            let receipt = ledger.receive(&mut request);
            match request.status {
                Some(status) => ledger.answer(receipt, status),
                None => _ = unanswered.insert(request.number, receipt),
            }
        } else {
            odd_lines += 1;
        }
    }
    if odd_lines > 0 {
        tracing::warn!(odd_lines, "the ledger's file holds lines that are not its own; left alone");
    }
    Ok(bytes)
}

/// Writes until every sender is gone. `bytes` is the length of what is whole.
fn write(mut file: File, mut bytes: u64, mut queue: mpsc::Receiver<(Job, Done)>) {
    let mut jobs = Vec::with_capacity(QUEUE_MAX);
    while queue.blocking_recv_many(&mut jobs, QUEUE_MAX) > 0 {
        let mut batch = Vec::new();
        let mut waiting: Vec<Done> = Vec::new();
        for (job, done) in jobs.drain(..) {
            match job {
                Job::Append(line) => {
                    batch.extend_from_slice(&line);
                    waiting.push(done);
                }
                Job::Empty => {
                    flush(&mut file, &mut bytes, &mut batch, &mut waiting);
                    let emptied = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0)));
                    if emptied.is_ok() {
                        bytes = 0;
                    }
                    // A caller that has gone does not want to know.
                    let _ = done.send(match emptied {
                        Ok(_) => Ok(()),
                        Err(error) => Err(FileError::Write(error.to_string())),
                    });
                }
            }
        }
        flush(&mut file, &mut bytes, &mut batch, &mut waiting);
    }
}

fn flush(file: &mut File, bytes: &mut u64, batch: &mut Vec<u8>, waiting: &mut Vec<Done>) {
    let length = batch.len() as u64;
    let is_full = *bytes + length > FILE_BYTES_MAX;
    let written = if is_full || length == 0 { Ok(()) } else { file.write_all(batch) };
    if let Err(error) = &written {
        tracing::error!(%error, "the ledger's file cannot be written");
        // A torn line must not become the beginning of the next one.
        if let Err(error) =
            file.set_len(*bytes).and_then(|()| file.seek(SeekFrom::Start(*bytes)).map(|_| ()))
        {
            tracing::error!(%error, "nor be cut back to its last whole line");
        }
    } else if !is_full {
        *bytes += length;
    }
    batch.clear();
    for done in waiting.drain(..) {
        let _ = done.send(match &written {
            Ok(()) if is_full => Err(FileError::Full),
            Ok(()) => Ok(()),
            Err(error) => Err(FileError::Write(error.to_string())),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::tests::full;

    fn new_line(id: &str) -> Line {
        Line { number: 0, webhook_id: Some(id.to_owned()), status: None, ..full() }
    }

    async fn received(ledger: &mut Ledger, file: &LedgerFile, id: &str) -> anyhow::Result<u64> {
        let mut line = new_line(id);
        ledger.receive(&mut line);
        file.append(&line).await?;
        Ok(line.number)
    }

    #[tokio::test]
    async fn a_ledger_that_is_read_again_has_the_same_counts_entries_and_numbers()
    -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("ledger.jsonl");
        let mut ledger = Ledger::new();
        let file = LedgerFile::open(&path, &mut ledger)?;
        let mut line = new_line("at once");
        let receipt = ledger.receive(&mut line);
        line.status = Some(200);
        file.append(&line).await?;
        ledger.answer(receipt, 200);
        let mut line = new_line("later");
        let receipt = ledger.receive(&mut line);
        file.append(&line).await?;
        file.append_answer(line.number, 204).await?;
        ledger.answer(receipt, 204);
        received(&mut ledger, &file, "never").await?;

        let mut again = Ledger::new();
        let _file = LedgerFile::open(&path, &mut again)?;
        let json =
            |ledger: &Ledger| serde_json::to_value((ledger.stats(), ledger.page(None, 0, 9)));
        assert_eq!(json(&again)?, json(&ledger)?);
        assert_eq!(again.receive(&mut new_line("next")), ledger.receive(&mut new_line("next")));
        Ok(())
    }

    #[tokio::test]
    async fn a_line_that_was_cut_short_is_removed_and_foreign_lines_are_passed_over()
    -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("ledger.jsonl");
        let file = LedgerFile::open(&path, &mut Ledger::new())?;
        received(&mut Ledger::new(), &file, "whole").await?;
        let whole = std::fs::read_to_string(&path)?;
        std::fs::write(&path, format!("{whole}not a line\n{{\"answered\":x}}\n{}", &whole[..40]))?;

        let mut ledger = Ledger::new();
        let file = LedgerFile::open(&path, &mut ledger)?;
        received(&mut ledger, &file, "after").await?;
        assert_eq!(ledger.stats().total.received, 2);
        let mut again = Ledger::new();
        LedgerFile::open(&path, &mut again)?;
        assert_eq!(again.stats().total.received, 2);
        Ok(())
    }

    #[tokio::test]
    async fn an_emptied_file_holds_only_what_came_after() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("ledger.jsonl");
        let mut ledger = Ledger::new();
        let file = LedgerFile::open(&path, &mut ledger)?;
        received(&mut ledger, &file, "before").await?;
        file.empty().await?;
        received(&mut ledger, &file, "after").await?;
        let mut again = Ledger::new();
        LedgerFile::open(&path, &mut again)?;
        let page = again.page(None, 0, 9);
        assert_eq!(page.entries.len(), 1);
        assert_eq!(page.entries[0].webhook_id.as_deref(), Some("after"));
        Ok(())
    }

    #[tokio::test]
    async fn a_disk_that_refuses_is_told_to_the_caller() -> anyhow::Result<()> {
        let (jobs, queue) = mpsc::channel(1);
        // Opened for reading: every write is refused.
        let file = File::open("/dev/null")?;
        std::thread::spawn(move || write(file, 0, queue));
        let refused = LedgerFile { jobs }.append(&new_line("a")).await;
        assert!(matches!(refused, Err(FileError::Write(_))), "{refused:?}");
        Ok(())
    }

    #[test]
    fn what_is_no_file_or_holds_a_line_without_end_is_refused() -> anyhow::Result<()> {
        // The device that is always full when written and never ends when read.
        assert!(LedgerFile::open(Path::new("/dev/full"), &mut Ledger::new()).is_err());
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("zeros");
        File::create(&path)?.set_len(LINE_BYTES_MAX * 2)?;
        assert!(LedgerFile::open(&path, &mut Ledger::new()).is_err());
        Ok(())
    }
}
