//! Where attempts meet hostile receivers, and the table of how it went.
//!
//! The receivers run on a thread of their own, so that what is counted on this one is what the
//! client allocates, and nothing of what a receiver needs to be hostile.

use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

use domain::{Outcome, Unwell};
use posthorn_delivery::limits::EXCERPT_BYTES_MAX;
use posthorn_delivery::{Attempt, Client, Code, Request};
use tokio::runtime::{Builder, Runtime};

use crate::addresses::outcome;
use crate::memory::peak_of;
use crate::receiver::Receiver;
use crate::setup::{CONNECT_TIMEOUT, SECRET, SLACK, TIMEOUT};

/// A header of the merchant's own, as base64 may look.
pub(crate) const CREDENTIAL: &str = "Bearer hunter2/hunter2/12345678==";

/// More than this and an attempt costs memory that a receiver chooses. What it is made of: the
/// request's body twice, what may be received, two heads and the states of TLS.
const PEAK_KIB_MAX: u64 = 600;

/// A whole time may be told as a little less: another clock.
const CLOCK: Duration = Duration::from_millis(50);

const HEAD: &str = "| a receiver that … | outcome | code | ends | time | bytes of body read | memory |\n\
                    |---|---|---|---|---|---|---|\n";

/// The runtimes, and the table as far as it is written.
pub(crate) struct Field {
    theirs: Runtime,
    ours: Runtime,
    table: String,
}

/// One row.
pub(crate) struct Case<'a> {
    pub(crate) what: &'a str,
    pub(crate) client: &'a Client,
    pub(crate) receiver: &'a Receiver,
    pub(crate) request: &'a Request,
    /// So many attempts are answered well before the one that counts.
    pub(crate) good_ones_before: usize,
}

impl Field {
    pub(crate) fn new() -> Self {
        let theirs = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let table = HEAD.to_owned();
        Self { theirs: theirs.expect("a runtime"), ours: ours(), table }
    }

    /// On the receivers' side.
    pub(crate) fn there<T>(&self, work: impl Future<Output = T>) -> T {
        self.theirs.block_on(work)
    }

    /// On the client's side, where memory is counted.
    pub(crate) fn here<T>(&self, work: impl Future<Output = T>) -> T {
        self.ours.block_on(work)
    }

    /// One attempt at a hostile receiver, within its bounds, and one after it that delivers.
    pub(crate) fn run(&mut self, case: &Case<'_>) {
        let Case { what, client, receiver, request, good_ones_before } = case;
        for _ in 0..*good_ones_before {
            let good = self.here(client.attempt(request));
            assert_eq!(good.outcome, Outcome::Delivered { status: 200 }, "before {what}: {good:?}");
        }
        let (attempt, peak) = peak_of(|| self.here(client.attempt(request)));
        let seen = receiver.seen().len();
        assert!(seen <= good_ones_before + 1, "{what}: an attempt is one request, not {seen}");
        if matches!(attempt.outcome, Outcome::Unwell { cause: Unwell::Tls | Unwell::Connect, .. }) {
            assert_eq!(seen, 0, "{what}: nothing is sent to who may not be trusted");
        }
        assert_kept_is_safe(what, &attempt);
        let next = self.here(client.attempt(request));
        assert_eq!(next.outcome, Outcome::Delivered { status: 200 }, "after {what}: {next:?}");
        assert_eq!(next.detail.excerpt.as_deref(), Some("ok"), "after {what}: its own answer");
        self.write(what, &attempt, peak);
        // With all that this row left behind: freed within the next one, it would be taken off that.
        self.ours = ours();
    }

    fn write(&mut self, what: &str, attempt: &Attempt, peak_bytes: u64) {
        let (ends, bound) = ends(attempt);
        assert!(bound.contains(&attempt.duration), "{what}: {:?} {ends}", attempt.duration);
        let code = match attempt.detail.code {
            // Which of the two is a matter of which packet comes first.
            Some(Code::ConnectionClosed | Code::ConnectionReset) => "connection_closed or _reset",
            Some(code) => code.as_str(),
            None => "",
        };
        let read = match attempt.detail.body_bytes {
            // How far a flood had come when it was cut depends on the machine; its bound does not.
            1_000.. => "≤ 64 KiB".to_owned(),
            _ if attempt.detail.body_truncated => "what had come".to_owned(),
            bytes => bytes.to_string(),
        };
        let told = outcome(&attempt.outcome);
        let cells = [told.as_str(), code, ends];
        self.line(what, cells, (attempt.duration, &read), (peak_bytes, PEAK_KIB_MAX));
    }

    /// A row, its memory held against its bound. In italics what every run measures anew.
    pub(crate) fn line(
        &mut self,
        what: &str,
        [outcome, code, ends]: [&str; 3],
        (took, read): (Duration, &str),
        (peak_bytes, peak_kib_max): (u64, u64),
    ) {
        let (took_ms, peak_kib) = (took.as_secs_f64() * 1e3, peak_bytes.div_ceil(1024));
        assert!(peak_kib <= peak_kib_max, "{what}: {peak_kib} KiB");
        writeln!(
            self.table,
            "| {what} | {outcome} | {code} | {ends} | *{took_ms:.1} ms* | {read} | *{peak_kib} KiB* |"
        )
        .expect("a text");
    }

    pub(crate) fn into_table(self) -> String {
        self.table
    }
}

fn ours() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

const WHOLE: &str = "after the whole time";

/// What ended an attempt, and how long that may take.
fn ends(attempt: &Attempt) -> (&'static str, Range<Duration>) {
    let is_cut = attempt.detail.body_truncated && attempt.duration >= TIMEOUT - CLOCK;
    match attempt.detail.code {
        Some(Code::ConnectTimeout) => {
            ("after the time to connect", CONNECT_TIMEOUT - CLOCK..CONNECT_TIMEOUT + SLACK)
        }
        Some(Code::Timeout) => (WHOLE, TIMEOUT - CLOCK..TIMEOUT + SLACK),
        None if is_cut => (WHOLE, TIMEOUT - CLOCK..TIMEOUT + SLACK),
        _ => ("at once", Duration::ZERO..TIMEOUT),
    }
}

/// Whatever was sent: what is kept of it is short, prints, and holds nothing of ours.
fn assert_kept_is_safe(what: &str, attempt: &Attempt) {
    let Some(excerpt) = &attempt.detail.excerpt else { return };
    let prints = |c: char| c == '\n' || c == '\t' || !c.is_control();
    assert!(excerpt.len() <= EXCERPT_BYTES_MAX && excerpt.chars().all(prints), "{what}: {excerpt}");
    assert!(!excerpt.contains(SECRET.trim_start_matches("whsec_")), "{what}: {excerpt}");
    // However its blanks and slashes are spelt.
    let part = CREDENTIAL.rsplit('/').next().unwrap_or_default().trim_end_matches('=');
    assert!(!excerpt.contains(part), "{what}: {excerpt}");
}
