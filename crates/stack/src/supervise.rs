//! Runs services: starts each, waits until it is ready, starts it again when it dies, stops it.
//!
//! A service that dies is started again at once; when it dies again soon, after a pause that
//! doubles up to a limit. Before every start nothing may be left of the run before. A failure of the
//! *first* start is the caller's to hear; later ones are repaired, and printed.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use time::OffsetDateTime;
use tokio::process::Child;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::log_file::{self, LOG_BYTES_MAX, tail};
use crate::ports::first_taken;
use crate::state_dir::free_mib;
use crate::{
    Before, Board, Kind, Launch, Probe, Progress, ServiceStatus, StackError, State, leftovers,
};

/// How often a service is asked whether it is ready.
const POLL: Duration = Duration::from_millis(50);
/// A service that ran this long and died is started again at once.
const STEADY: Duration = Duration::from_secs(10);
/// First pause before a service that died soon is started again.
const DELAY_FIRST: Duration = Duration::from_millis(250);
/// Longest pause: people who repair something should not wait for us.
const DELAY_MAX: Duration = Duration::from_secs(10);
/// A service that was started again and is not ready after this long: what it waits for is said, and
/// again after twice as long. It is not ended: a part that recovers takes its time.
const SAY_AFTER: Duration = Duration::from_secs(10);
/// How often a log's length is looked at.
const LOOK_AT_LOG_EVERY: Duration = Duration::from_secs(5);
/// How long a killed process may take to be gone.
const KILL_WAIT: Duration = Duration::from_secs(2);
/// Less than this is free: of that, most likely, a service died.
const LOW_MIB: u64 = 64;

/// One process to keep running.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name, unique in a stack.
    pub name: &'static str,
    /// Part or role.
    pub kind: Kind,
    /// What must be there before every start, and is made when it is not.
    pub before: Option<Before>,
    /// How it is started.
    pub launch: Launch,
    /// All of them must answer: then it is ready.
    pub probes: Vec<Probe>,
    /// Where it listens.
    pub ports: Vec<u16>,
    /// How long a first start may take.
    pub ready_within: Duration,
    /// The signal that stops it in good order.
    pub stop: Signal,
    /// How long it may take to stop; after that it is killed.
    pub stop_within: Duration,
}

type Running = (CancellationToken, JoinHandle<()>);

/// Keeps services running.
#[derive(Debug)]
pub struct Supervisor {
    board: Board,
    progress: Progress,
    running: Mutex<BTreeMap<&'static str, Running>>,
}

impl Supervisor {
    /// One without services.
    pub fn new(board: Board, progress: Progress) -> Self {
        Self { board, progress, running: Mutex::default() }
    }

    /// Starts `service`; the future that it returns ends when the service is ready, or failed to be.
    pub fn start(
        &self,
        service: Service,
    ) -> impl Future<Output = Result<(), StackError>> + Send + use<> {
        let name = service.name;
        let (first, ready) = oneshot::channel();
        let stop = CancellationToken::new();
        self.board.add(ServiceStatus {
            name: name.to_owned(),
            kind: service.kind,
            pid: None,
            ports: service.ports.clone(),
            state: State::Starting,
            restarts: 0,
            log: service.launch.log.clone(),
            since: OffsetDateTime::now_utc(),
            why: None,
        });
        let watch = Watch {
            service,
            board: self.board.clone(),
            progress: self.progress.clone(),
            stop: stop.clone(),
        };
        self.running().insert(name, (stop, tokio::spawn(watch.run(first))));
        async move { ready.await.unwrap_or_else(|_| Err(StackError::Unsupervised(name.to_owned()))) }
    }

    /// Stops these services together and waits until they are gone.
    pub async fn stop(&self, names: &[&'static str]) {
        let stopping: Vec<Running> = {
            let mut running = self.running();
            names.iter().filter_map(|name| running.remove(name)).collect()
        };
        for (stop, _) in &stopping {
            stop.cancel();
        }
        for (_, task) in stopping {
            // A panic of the task dropped its child, which kills it.
            let _ = task.await;
        }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<&'static str, Running>> {
        match self.running.lock() {
            Ok(running) => running,
            Err(poisoned) => poisoned.into_inner(),
        }
    }
}

type First = oneshot::Sender<Result<(), StackError>>;

/// The supervision of one service.
struct Watch {
    service: Service,
    board: Board,
    progress: Progress,
    stop: CancellationToken,
}

/// What became of one start.
enum Run {
    /// It was told to stop.
    Stopped,
    /// It ended by itself.
    Ended { status: String, lived: Duration },
}

/// What a run has to know about those before it.
struct Past {
    /// Who waits for the first start.
    first: Option<First>,
    /// When the last run ended, and how many there were.
    died: Option<Instant>,
    restarts: u32,
}

impl Watch {
    async fn run(self, first: First) {
        let name = self.service.name;
        let mut past = Past { first: Some(first), died: None, restarts: 0 };
        let mut soon = 0;
        while !self.stop.is_cancelled() {
            let (status, lived) = match self.run_once(&mut past).await {
                Ok(Run::Stopped) => break,
                Ok(Run::Ended { status, lived }) => (status, lived),
                Err(error) => match past.first.take() {
                    Some(first) => {
                        // Nobody waits any more: `up` is ending.
                        let _ = first.send(Err(error));
                        break;
                    }
                    None => (error.to_string(), Duration::ZERO),
                },
            };
            if lived >= STEADY {
                soon = 0;
            }
            let pause = pause_after(soon);
            soon += 1;
            past.died.get_or_insert_with(Instant::now);
            past.restarts += 1;
            self.board.set(name, State::Restarting, None);
            self.say_it_died(&status, lived, pause);
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = sleep(pause) => {}
            }
        }
        self.progress.done(name);
        self.board.set(name, State::Stopped, None);
    }

    /// From start to end, once.
    async fn run_once(&self, past: &mut Past) -> Result<Run, StackError> {
        let name = self.service.name;
        leftovers::wait_until_gone(&self.service.launch.cwd).await?;
        if let Some(before) = &self.service.before {
            before.make(name, &self.progress).await?;
        }
        if past.first.is_some() {
            let log = self.service.launch.log.display();
            self.progress.line(name, &format!("starting{} (log: {log})", self.places()));
            self.progress.wait(name);
        }
        let spawned = Instant::now();
        let mut child = self
            .service
            .launch
            .spawn()
            .await
            .map_err(|source| StackError::Spawn { name: name.to_owned(), source })?;
        self.board.set(name, State::Starting, child.id());
        tokio::select! {
            () = self.stop.cancelled() => return Ok(self.end(child).await),
            status = child.wait() => return self.ended_early(past, status, spawned),
            ready = self.until_ready(past.first.is_some()) => ready?,
        }
        self.board.set(name, State::Ready, child.id());
        self.progress.done(name);
        self.say_it_is_ready(past, spawned);
        if let Some(first) = past.first.take() {
            // Nobody waits any more: `up` is ending.
            let _ = first.send(Ok(()));
        }
        tokio::select! {
            () = self.stop.cancelled() => Ok(self.end(child).await),
            status = child.wait() => Ok(ended(status, spawned)),
            never = self.bound_log() => match never {},
        }
    }

    async fn bound_log(&self) -> Infallible {
        loop {
            sleep(LOOK_AT_LOG_EVERY).await;
            // A full disk, most likely: the service says that itself.
            let _ = log_file::bound(&self.service.launch.log, LOG_BYTES_MAX);
        }
    }

    /// Waits until every probe is answered; a first start has a time limit, a later one says what
    /// it waits for.
    async fn until_ready(&self, first: bool) -> Result<(), StackError> {
        let begun = Instant::now();
        let mut say_after = SAY_AFTER;
        for probe in &self.service.probes {
            while let Err(why) = probe.ask().await {
                if !first && begun.elapsed() > say_after {
                    self.say_it_waits(begun.elapsed(), &why);
                    say_after *= 2;
                }
                if first && begun.elapsed() > self.service.ready_within {
                    return Err(StackError::NotReady {
                        name: self.service.name.to_owned(),
                        after: self.service.ready_within,
                        why,
                        log: self.service.launch.log.clone(),
                        tail: tail(&self.service.launch.log),
                    });
                }
                sleep(POLL).await;
            }
        }
        Ok(())
    }

    fn ended_early(
        &self,
        past: &Past,
        status: std::io::Result<ExitStatus>,
        spawned: Instant,
    ) -> Result<Run, StackError> {
        if past.first.is_none() {
            return Ok(ended(status, spawned));
        }
        let (name, status) = (self.service.name.to_owned(), text_of(status));
        let log = self.service.launch.log.clone();
        // It has ended, so whoever listens at its place is another.
        Err(match first_taken(&self.service.ports) {
            Some((port, by)) => StackError::PortLost { name, status, port, by, log },
            None => StackError::Died { name, status, tail: tail(&log), log },
        })
    }

    /// Asks it to stop, and kills it when it takes too long.
    async fn end(&self, mut child: Child) -> Run {
        let name = self.service.name;
        let begun = Instant::now();
        if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
            // It may have ended by itself just now.
            let _ = kill(Pid::from_raw(pid), self.service.stop);
        }
        let how = match timeout(self.service.stop_within, child.wait()).await {
            Ok(_) => "stopped",
            Err(_) => {
                let _ = child.start_kill();
                let _ = timeout(KILL_WAIT, child.wait()).await;
                "killed: it did not stop"
            }
        };
        self.progress.line(name, &format!("{how} after {:.1} s", begun.elapsed().as_secs_f64()));
        Run::Stopped
    }

    fn places(&self) -> String {
        let ports: Vec<String> = self.service.ports.iter().map(u16::to_string).collect();
        if ports.is_empty() { String::new() } else { format!(" on {}", ports.join(", ")) }
    }

    fn say_it_is_ready(&self, past: &mut Past, spawned: Instant) {
        let text = match past.died.take() {
            None => format!("ready after {:.1} s", spawned.elapsed().as_secs_f64()),
            Some(died) => format!(
                "is back {:.1} s after it died (restart {})",
                died.elapsed().as_secs_f64(),
                past.restarts
            ),
        };
        self.progress.line(self.service.name, &text);
    }

    fn say_it_waits(&self, waited: Duration, why: &str) {
        let log = self.service.launch.log.display();
        let text = format!("is not ready after {} s: {why} (log: {log})", waited.as_secs());
        self.progress.line(self.service.name, &text);
    }

    fn say_it_died(&self, status: &str, lived: Duration, pause: Duration) {
        let when = if pause.is_zero() {
            "now".to_owned()
        } else {
            format!("in {:.2} s", pause.as_secs_f64())
        };
        let log = &self.service.launch.log;
        let mut text = format!(
            "died ({status}) after {:.1} s; starting it again {when} (log: {})",
            lived.as_secs_f64(),
            log.display()
        );
        // Who was killed had no time to say why.
        let was_killed = status.starts_with("signal: 9");
        if let Some(last) = log_file::last_line(log).filter(|_| !was_killed || lived < STEADY) {
            text.push_str(&format!("; its log ends: {last}"));
        }
        let cwd = &self.service.launch.cwd;
        if let Ok(free) = free_mib(cwd)
            && free < LOW_MIB
        {
            let place = cwd.display();
            text.push_str(&format!(
                "; only {free} MiB are free at {place}: make room, and it goes on"
            ));
        }
        self.progress.line(self.service.name, &text);
    }
}

/// The pause before a start, when `soon` runs in a row have ended soon: none, then doubling.
fn pause_after(soon: u32) -> Duration {
    match soon.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => DELAY_FIRST
            .checked_mul(2_u32.saturating_pow(doublings))
            .map_or(DELAY_MAX, |pause| pause.min(DELAY_MAX)),
    }
}

fn ended(status: std::io::Result<ExitStatus>, spawned: Instant) -> Run {
    Run::Ended { status: text_of(status), lived: spawned.elapsed() }
}

fn text_of(status: std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_keeps_dying_is_started_ever_later_up_to_a_limit() {
        let pauses: Vec<u128> = (0..9).map(|soon| pause_after(soon).as_millis()).collect();
        assert_eq!(pauses, [0, 250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
        assert_eq!(pause_after(u32::MAX), DELAY_MAX);
    }
}
