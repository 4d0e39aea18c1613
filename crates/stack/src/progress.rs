//! What `up` says while it works: one line for each thing that happened, with the time since the
//! start; on a terminal also a line that is rewritten, with what is being waited for.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often the rewritten line is.
const REDRAW: Duration = Duration::from_millis(200);
/// Without a terminal: how often what still waits is mentioned.
const REMIND: Duration = Duration::from_secs(15);

/// Clones share it.
#[derive(Debug, Clone)]
pub struct Progress {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    begun: Instant,
    terminal: bool,
    // What is waited for, and since when.
    waiting: Mutex<BTreeMap<String, Instant>>,
}

impl Progress {
    /// Begins now; needs a Tokio runtime for the line that is rewritten.
    pub fn start() -> Self {
        let shared = Shared {
            begun: Instant::now(),
            terminal: std::io::stdout().is_terminal(),
            waiting: Mutex::default(),
        };
        let progress = Self { shared: Arc::new(shared) };
        let weak = Arc::downgrade(&progress.shared);
        tokio::spawn(async move {
            let mut reminded = Instant::now();
            loop {
                tokio::time::sleep(REDRAW).await;
                let Some(shared) = weak.upgrade() else { return };
                if shared.terminal {
                    shared.redraw();
                } else if reminded.elapsed() >= REMIND {
                    reminded = Instant::now();
                    shared.remind();
                }
            }
        });
        progress
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.shared.begun.elapsed()
    }

    /// One line about `name`.
    pub fn line(&self, name: &str, text: &str) {
        let seconds = self.elapsed().as_secs_f64();
        self.print(&format!("{seconds:7.1} s  {name:<13} {text}"));
    }

    /// Text as it is.
    pub fn print(&self, text: &str) {
        let _order = self.shared.lock();
        let clear = if self.shared.terminal { "\r\x1b[K" } else { "" };
        // A reader that went away must not end what runs.
        let _ = writeln!(std::io::stdout(), "{clear}{text}");
        let _ = std::io::stdout().flush();
    }

    /// `what` is being waited for, until [`Progress::done`].
    pub fn wait(&self, what: &str) {
        self.shared.lock().insert(what.to_owned(), Instant::now());
    }

    /// `what` is no longer waited for; how long it took.
    pub fn done(&self, what: &str) -> Duration {
        self.shared.lock().remove(what).map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Instant>> {
        match self.waiting.lock() {
            Ok(waiting) => waiting,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    fn waiting(waiting: &BTreeMap<String, Instant>) -> String {
        waiting
            .iter()
            .map(|(what, since)| format!("{what} {} s", since.elapsed().as_secs()))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn redraw(&self) {
        let waiting = self.lock();
        let mut out = std::io::stdout();
        if waiting.is_empty() {
            return;
        }
        let seconds = self.begun.elapsed().as_secs_f64();
        let _ = write!(out, "\r\x1b[K{seconds:7.1} s  … {}", Self::waiting(&waiting));
        let _ = out.flush();
    }

    fn remind(&self) {
        let waiting = self.lock();
        if !waiting.is_empty() {
            let seconds = self.begun.elapsed().as_secs_f64();
            let _ = writeln!(std::io::stdout(), "{seconds:7.1} s  … {}", Self::waiting(&waiting));
        }
    }
}
