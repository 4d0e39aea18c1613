//! A slice: one bounded run of attempts, inside one journaled step.
//!
//! Look, then for each due delivery: attempt, decide, settle. After a crash it runs again, finds
//! in PostgreSQL what was settled and goes on. It starts no request later than some seconds after
//! the last look or settle, so a worker that was frozen and thaws sends at most the one it had
//! begun. Whatever the merchant does is a value; only a lost turn is an error.

use std::time::{Duration, Instant};

use domain::endpoint::{Command, Disposition, EndpointState, Jitter, decide};
use domain::{AttemptId, EndpointId};
use store::{AttemptRow, DueDelivery, Look, Settled, Settlement, StoreError};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::attempt::{self, Plan, Turn};
use crate::persist::persist;
use crate::report::{SliceReport, StateView, millis};
use crate::worker::Worker;

/// Deliveries of one slice, at most: what a crash makes a slice do again is one look.
const LIMIT: u16 = 50;
/// No attempt starts later than this after the slice began.
const SLICE_TIME_MAX: Duration = Duration::from_secs(15);
/// No attempt starts later than this after the last look or settle.
const FRESH_FOR: Duration = Duration::from_secs(10);
/// The one deadline around the whole step: an attempt (30 s) that began last, and patience with
/// the database on both sides. Well before Restate's inactivity timeout (3 min).
const STEP_DEADLINE: Duration = Duration::from_secs(80);

/// Somebody else has the turn: this run must stop, Restate starts the rightful one over.
#[derive(Debug, thiserror::Error)]
#[error("another run of {endpoint} has looked since; this one stops")]
pub(crate) struct FenceLost {
    endpoint: EndpointId,
}

/// A slice that is under way.
struct Slice<'a> {
    worker: &'a Worker,
    endpoint: EndpointId,
    invocation: &'a str,
    fence: Uuid,
    began: Instant,
    look: Look,
    /// When the look was taken, by the monotonic clock.
    looked: Instant,
    /// The last look or settle.
    fresh: Instant,
    state: EndpointState,
    version: u64,
    attempts: u32,
    delivered: u32,
    next_due: Option<OffsetDateTime>,
}

/// How settling one attempt leaves the slice.
enum Then {
    GoOn,
    /// Everything waits, or the endpoint's configuration is another one now.
    Stop {
        look_again: bool,
    },
}

/// Runs one slice of `endpoint`.
///
/// # Errors
/// When the turn was lost. Everything else is in the report.
pub(crate) async fn run(
    worker: &Worker,
    endpoint: EndpointId,
    invocation: &str,
) -> Result<SliceReport, FenceLost> {
    let began = Instant::now();
    match tokio::time::timeout(STEP_DEADLINE, look_and_send(worker, endpoint, invocation, began))
        .await
    {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(Ended::FenceLost)) => Err(FenceLost { endpoint }),
        Ok(Err(Ended::Stuck(error))) => {
            tracing::error!(%endpoint, %error, "a slice is stuck; it is tried again later");
            Ok(SliceReport::stuck(error.to_string(), elapsed_ms(began)))
        }
        Err(_) => {
            tracing::error!(%endpoint, "a slice ran into its deadline");
            let reason = format!("a slice took longer than {} s", STEP_DEADLINE.as_secs());
            Ok(SliceReport::stuck(reason, elapsed_ms(began)))
        }
    }
}

enum Ended {
    FenceLost,
    Stuck(StoreError),
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Stuck(error)
    }
}

async fn look_and_send(
    worker: &Worker,
    endpoint: EndpointId,
    invocation: &str,
    began: Instant,
) -> Result<SliceReport, Ended> {
    let fence = Uuid::new_v4();
    let look = persist("look", || worker.store.look(endpoint, LIMIT, fence)).await?;
    let Some(mut look) = look else {
        return Ok(SliceReport::empty(0, elapsed_ms(began)));
    };
    let due = std::mem::take(&mut look.due);
    let mut more = due.len() == usize::from(LIMIT);
    let now = Instant::now();
    let mut slice = Slice {
        worker,
        endpoint,
        invocation,
        fence,
        began,
        state: look.state,
        version: look.version,
        next_due: look.next_due,
        look,
        looked: now,
        fresh: now,
        attempts: 0,
        delivered: 0,
    };
    for delivery in &due {
        if slice.began.elapsed() > SLICE_TIME_MAX || slice.fresh.elapsed() > FRESH_FOR {
            more = true;
            break;
        }
        if let Then::Stop { look_again } = slice.deliver(delivery).await? {
            more = look_again;
            break;
        }
    }
    Ok(slice.report(more))
}

impl Slice<'_> {
    /// PostgreSQL's clock, as far as it has moved since the look, in its own microseconds.
    fn now(&self) -> OffsetDateTime {
        let now = self.look.now + self.looked.elapsed();
        now.replace_microsecond(now.microsecond()).unwrap_or(now)
    }

    /// One delivery: attempt, decide, settle.
    async fn deliver(&mut self, delivery: &DueDelivery) -> Result<Then, Ended> {
        let plan = Plan {
            id: AttemptId::from(Uuid::now_v7()),
            number: delivery.facts.attempts + 1,
            started_at: self.now(),
            fresh_until: self.fresh + FRESH_FOR,
        };
        let turn = Turn {
            worker: self.worker,
            endpoint: self.endpoint,
            invocation: self.invocation,
            look: &self.look,
        };
        let attempt = attempt::run(turn, delivery, &plan).await;
        let Some(attempt) = attempt else { return Ok(Then::Stop { look_again: true }) };
        self.attempts += 1;
        self.settle(delivery, &attempt).await
    }

    async fn settle(
        &mut self,
        delivery: &DueDelivery,
        attempt: &AttemptRow,
    ) -> Result<Then, Ended> {
        let command = Command::Settle {
            delivery: delivery.facts,
            started_at: attempt.started_at,
            outcome: attempt.outcome,
        };
        let jitter = draw_jitter();
        loop {
            let now = self.now();
            let policy = &self.look.endpoint.policy;
            let decision = decide(&self.state, policy, &command, now, jitter);
            let state = decision.state_after(self.state);
            let settlement = Settlement {
                endpoint: self.endpoint,
                fence: self.fence,
                version: self.version,
                attempt,
                decision: &decision,
                state: &state,
            };
            let store = &self.worker.store;
            match persist("settle", || store.settle(&settlement)).await? {
                Settled::FenceLost => return Err(Ended::FenceLost),
                // A command came in between: decide again on what it left.
                Settled::Moved { state, version } => {
                    (self.state, self.version) = (state, version);
                }
                Settled::Done { state, version, config_version } => {
                    (self.state, self.version) = (state, version);
                    self.fresh = Instant::now();
                    return Ok(self.after(decision.disposition, config_version));
                }
            }
        }
    }

    /// What the slice does after a settled attempt.
    fn after(&mut self, disposition: Disposition, config_version: i64) -> Then {
        match disposition {
            Disposition::StepAside { until, .. } => {
                self.next_due = Some(self.next_due.map_or(until, |due| due.min(until)));
            }
            Disposition::Finish(domain::endpoint::FinishReason::Delivered) => self.delivered += 1,
            Disposition::Finish(_) | Disposition::Stay | Disposition::Block => {}
        }
        if !self.state.may_send() || self.state.waits_until(self.now()).is_some() {
            Then::Stop { look_again: false }
        } else if config_version != self.look.endpoint.config_version
            || disposition == Disposition::Stay
        {
            Then::Stop { look_again: true }
        } else {
            Then::GoOn
        }
    }

    fn report(&self, more: bool) -> SliceReport {
        let now = self.now();
        let merchant = self.look.endpoint.merchant_id.as_str();
        SliceReport {
            now_ms: millis(now),
            took_ms: elapsed_ms(self.began),
            attempts: self.attempts,
            delivered: self.delivered,
            more,
            waits_until_ms: self.state.waits_until(now).map(millis),
            next_due_ms: self.next_due.map(millis),
            stuck: None,
            view: Some(StateView::of(merchant, &self.state, self.version, now)),
        }
    }
}

fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// A jitter, out of the random bits of a UUID.
fn draw_jitter() -> Jitter {
    let random = u32::from_le_bytes(first_four(Uuid::new_v4().as_bytes()));
    Jitter::from_unit(f64::from(random) / f64::from(u32::MAX))
}

/// The first four bytes of a version 4 UUID are all random.
fn first_four(bytes: &[u8; 16]) -> [u8; 4] {
    [bytes[0], bytes[1], bytes[2], bytes[3]]
}
