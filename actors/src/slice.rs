//! A slice: one bounded run of attempts, inside one journaled step.
//!
//! Look, then for each due delivery: attempt, decide, settle. After a crash it runs again, finds
//! in PostgreSQL what was settled and goes on. It starts no request later than some seconds after
//! the last look or settle, so a worker that was frozen and thaws sends at most the one it had
//! begun. Whatever the merchant does is a value; only a lost turn is an error.

use std::time::{Duration, Instant};

use domain::endpoint::{
    Command, Decision, DeliveryFacts, Disposition, EndpointState, Faulty, FinishReason, Policy,
    decide, next_up,
};
use domain::{AttemptId, EndpointId, Outcome};
use futures::stream::{FuturesUnordered, StreamExt};
use observability::metrics::{self, WaitedFor};
use observability::spans::{self, Invocation};
use store::{DueDelivery, Settled, Settlement, StoreError};
use time::OffsetDateTime;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::attempt::{self, Made, Plan, Turn};
use crate::ended::{Ended, caught};
use crate::jitter;
use crate::news;
use crate::persist::persist;
use crate::reason::reason;
use crate::report::{SliceReport, StateView, millis};
use crate::worker::Worker;

/// Deliveries of one slice, at most: what a crash makes a slice do again is one look.
const LIMIT: u16 = 50;
/// No attempt starts later than this after the slice began.
const SLICE_TIME_MAX: Duration = Duration::from_secs(15);
/// No attempt starts later than this after the last look or settle.
const FRESH_FOR: Duration = Duration::from_secs(10);
/// The one deadline around the whole step: an attempt (30 s) that began last, after 25 s, and a settle
/// whose connection was silent (12 s) and that was tried once more (17 s). Well before Restate's
/// inactivity timeout (3 min).
const STEP_DEADLINE: Duration = Duration::from_secs(90);
/// What is left of it for the report, when the rest is settled of a slice that cannot go on.
const REPORT_TIME: Duration = Duration::from_secs(1);

/// Somebody else has the turn: this run must stop, Restate starts the rightful one over.
#[derive(Debug, thiserror::Error)]
#[error("another run of {endpoint} has looked since; this one stops")]
pub(crate) struct FenceLost {
    endpoint: EndpointId,
}

/// A slice that is under way.
struct Slice<'a> {
    turn: Turn<'a>,
    fence: Uuid,
    began: Instant,
    /// When the look was taken, by the monotonic clock.
    looked: Instant,
    /// The last look or settle.
    fresh: Instant,
    state: EndpointState,
    version: u64,
    policy: Policy,
    attempts: u32,
    delivered: u32,
    next_due: Option<OffsetDateTime>,
    /// What stepped aside on a fault of ours, as the look saw it.
    faulty: Option<Faulty>,
    /// It may be another by now: one that was attempted before was attempted again, or hit a fault.
    faulty_moved: bool,
    /// What is due and was not attempted yet, by sequence.
    line: Vec<DueDelivery>,
    /// Nothing begins any more; what is in flight is settled.
    closed: bool,
    /// There may be more that is due than this slice has seen or done.
    more: bool,
    /// What the deliveries waited for before the look, for the metrics.
    waited_for: WaitedFor,
}

/// Runs one slice of `endpoint`; `waited_for`: what its deliveries waited for before its look.
///
/// # Errors
/// When the turn was lost. Everything else is in the report.
pub(crate) async fn run(
    worker: &Worker,
    endpoint: EndpointId,
    invocation: &Invocation,
    waited_for: WaitedFor,
) -> Result<SliceReport, FenceLost> {
    let began = Instant::now();
    let run = caught(look_and_send(worker, endpoint, invocation, waited_for, began));
    let ended = tokio::time::timeout(STEP_DEADLINE, run).await;
    metrics::worker().slice_ended(match &ended {
        Ok(Ok(_)) => "ended",
        Ok(Err(Ended::FenceLost)) => "fence_lost",
        Ok(Err(Ended::Stuck(_))) | Err(_) => "stuck",
    });
    match ended {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(Ended::FenceLost)) => Err(FenceLost { endpoint }),
        Ok(Err(Ended::Stuck(reason))) => {
            let invocation = &invocation.id;
            tracing::error!(%endpoint, invocation, reason, "a slice is stuck; it is tried again later");
            Ok(SliceReport::stuck(reason, elapsed_ms(began)))
        }
        Err(_) => {
            tracing::error!(%endpoint, invocation = invocation.id, "a slice ran into its deadline");
            let reason = format!("a slice took longer than {} s", STEP_DEADLINE.as_secs());
            Ok(SliceReport::stuck(reason, elapsed_ms(began)))
        }
    }
}

async fn look_and_send(
    worker: &Worker,
    endpoint: EndpointId,
    invocation: &Invocation,
    waited_for: WaitedFor,
    began: Instant,
) -> Result<SliceReport, Ended> {
    let fence = Uuid::new_v4();
    let look =
        persist("look", endpoint.into(), || worker.store.look(endpoint, LIMIT, fence)).await?;
    metrics::worker().looked(began.elapsed());
    let Some(mut look) = look else {
        let more = cancel_for_deleted(worker, endpoint, began).await?;
        return Ok(SliceReport { more, ..SliceReport::empty(0, elapsed_ms(began)) });
    };
    let line = std::mem::take(&mut look.due);
    let now = Instant::now();
    let slice = Slice {
        turn: Turn { worker, endpoint, invocation, look: &look },
        fence,
        began,
        looked: now,
        fresh: now,
        state: look.state,
        version: look.version,
        policy: look.endpoint.policy.clone(),
        attempts: 0,
        delivered: 0,
        next_due: look.next_due,
        faulty: look.faulty,
        faulty_moved: false,
        more: line.len() == usize::from(LIMIT),
        line,
        closed: false,
        waited_for,
    };
    slice.run().await
}

/// Cancels what a deleted endpoint left behind, as long as a slice may take; true: there is more.
async fn cancel_for_deleted(
    worker: &Worker,
    endpoint: EndpointId,
    began: Instant,
) -> Result<bool, Ended> {
    let cancel = || worker.store.cancel_for_deleted(endpoint);
    while persist("cancel", endpoint.into(), cancel).await? {
        if began.elapsed() > SLICE_TIME_MAX {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Slice<'_> {
    /// PostgreSQL's clock, as far as it has moved since the look, in its own microseconds.
    fn now(&self) -> OffsetDateTime {
        let now = self.turn.look.now + self.looked.elapsed();
        now.replace_microsecond(now.microsecond()).unwrap_or(now)
    }

    /// Begins what the rules allow, settles what has ended, until neither is left. Serial delivery,
    /// a single probe and lanes that are refilled are this one loop.
    async fn run(mut self) -> Result<SliceReport, Ended> {
        let mut in_flight = FuturesUnordered::new();
        let ended = loop {
            while let Some(delivery) = self.next(in_flight.len()) {
                let (turn, plan) = (self.turn, self.plan(&delivery));
                in_flight.push(async move {
                    let attempt = attempt::run(turn, &delivery, &plan).await;
                    (delivery, attempt)
                });
            }
            match in_flight.next().await {
                Some((delivery, Some(made))) => {
                    if let Err(ended) = self.settle(&delivery, made).await {
                        break ended;
                    }
                }
                // It would have begun too late.
                Some((_, None)) => self.close(),
                None => return Ok(self.ended().await),
            }
        };
        let left = STEP_DEADLINE.saturating_sub(self.began.elapsed() + REPORT_TIME);
        match tokio::time::timeout(left, self.settle_rest(in_flight)).await {
            Ok(true) => Err(Ended::FenceLost),
            Ok(false) | Err(_) => Err(ended),
        }
    }

    /// Settles what is still in flight when a settle failed: the requests were made, and an outcome
    /// that is thrown away makes each of them be sent again. True: the turn is lost, and no more
    /// than the attempts was kept.
    async fn settle_rest(
        &mut self,
        mut in_flight: FuturesUnordered<impl Future<Output = (DueDelivery, Option<Made<'_>>)>>,
    ) -> bool {
        let mut is_lost = false;
        while let Some((delivery, made)) = in_flight.next().await {
            if let Some(made) = made {
                let settled = self.settle(&delivery, made).await;
                is_lost |= matches!(settled, Err(Ended::FenceLost));
            }
        }
        is_lost
    }

    /// Takes the delivery to attempt now out of the line, if there is one.
    fn next(&mut self, in_flight: usize) -> Option<DueDelivery> {
        if self.closed || self.line.is_empty() {
            return None;
        }
        if self.began.elapsed() > SLICE_TIME_MAX || self.fresh.elapsed() > FRESH_FOR {
            self.close();
            return None;
        }
        let facts: Vec<DeliveryFacts> = self.line.iter().map(|delivery| delivery.facts).collect();
        let place = next_up(&self.state, &self.policy, &facts, in_flight, self.now())?;
        (place < self.line.len()).then(|| self.line.remove(place))
    }

    fn plan(&self, delivery: &DueDelivery) -> Plan {
        Plan {
            id: AttemptId::from(Uuid::now_v7()),
            number: delivery.facts.attempts + 1,
            started_at: self.now(),
            reason: reason(&self.state, &delivery.facts, delivery.fault),
            fresh_until: self.fresh + FRESH_FOR,
            waited_for: self.waited_for(),
        }
    }

    /// What a delivery that begins now has waited for.
    fn waited_for(&self) -> WaitedFor {
        if self.state.unwell.is_some() || self.state.blocked.is_some() {
            return WaitedFor::Endpoint;
        }
        match self.waited_for {
            WaitedFor::Nothing if self.attempts > 0 => WaitedFor::Line,
            waited_for => waited_for,
        }
    }

    /// The next slice goes on.
    fn close(&mut self) {
        self.closed = true;
        self.more = true;
    }

    async fn settle(&mut self, delivery: &DueDelivery, made: Made<'_>) -> Result<(), Ended> {
        self.attempts += 1;
        let turn = made.account.span();
        let settling = turn.in_scope(|| spans::database("settle"));
        let settled = self.persist(delivery, &made).instrument(settling.clone());
        // A span ends when it is left for the last time.
        let settled = settled.instrument(turn).await;
        if let Err(ended) = &settled {
            spans::failed(&settling, &ended.kind());
        }
        match &settled {
            Ok(decision) => made.account.settled(&made.row, decision, &self.state, self.now()),
            Err(ended) => made.account.not_settled(ended),
        }
        settled.map(drop)
    }

    /// Decides what follows from an attempt, on what is known of the endpoint then, and writes it.
    async fn persist(
        &mut self,
        delivery: &DueDelivery,
        made: &Made<'_>,
    ) -> Result<Decision, Ended> {
        let (attempt, about) = (&made.row, made.account.about());
        let command = Command::Settle {
            delivery: delivery.facts,
            outcome: attempt.outcome,
            started_at: attempt.started_at,
        };
        let jitter = jitter::draw();
        loop {
            let decision = decide(&self.state, &self.policy, &command, self.now(), jitter);
            let decided = decision.state_after(self.state);
            let settlement = Settlement {
                endpoint: self.turn.endpoint,
                fence: self.fence,
                version: self.version,
                attempt,
                decision: &decision,
                state: &decided,
            };
            let store = &self.turn.worker.store;
            let began = Instant::now();
            let settled = persist("settle", about, || store.settle(&settlement)).await;
            metrics::worker().settled(answer_of(&settled), began.elapsed());
            match settled? {
                Settled::FenceLost => return Err(Ended::FenceLost),
                // A command came in between: decide again on what it left. It may have taken somebody
                // out of the line, or changed the order of it: only a look knows.
                Settled::Moved { state, version, policy } => {
                    (self.state, self.version, self.policy) = (state, version, policy);
                    self.close();
                }
                Settled::Done { state, version, config_version } => {
                    news::tell(self.turn, about.trace_id, self.state, &decision);
                    (self.state, self.version) = (state, version);
                    self.fresh = Instant::now();
                    self.faulty_moved |= delivery.facts.attempts > 0
                        || matches!(attempt.outcome, Outcome::Fault { .. });
                    self.follow(&decision, config_version);
                    return Ok(decision);
                }
            }
        }
    }

    /// What a settled attempt means for the rest of the slice.
    fn follow(&mut self, decision: &Decision, config_version: i64) {
        match decision.disposition {
            Disposition::StepAside { until, .. } => {
                self.next_due = Some(self.next_due.map_or(until, |due| due.min(until)));
            }
            Disposition::Finish(FinishReason::Delivered) => self.delivered += 1,
            Disposition::Finish(_) => {}
            // It is still in line, before those that this slice has: only a look knows its place.
            Disposition::Stay | Disposition::Block => self.close(),
        }
        for marked in decision.marks_poisonous() {
            let in_line = self.line.iter_mut().find(|delivery| delivery.facts.id == marked);
            if let Some(delivery) = in_line {
                delivery.facts.poisonous = true;
            }
        }
        if config_version != self.turn.look.endpoint.config_version {
            self.close();
        }
    }

    /// The report, with what its attempts have changed of what stepped aside on a fault of ours.
    async fn ended(mut self) -> SliceReport {
        if self.faulty_moved {
            // It is for people: whoever looks next sees it, when it cannot be seen now.
            let faulty = self.turn.worker.store.faulty(self.turn.endpoint).await;
            self.faulty = faulty.unwrap_or(self.faulty);
        }
        self.report()
    }

    fn report(&self) -> SliceReport {
        let now = self.now();
        let merchant = self.turn.look.endpoint.merchant_id.as_str();
        SliceReport {
            now_ms: millis(now),
            took_ms: elapsed_ms(self.began),
            attempts: self.attempts,
            delivered: self.delivered,
            more: self.more,
            waits: self.state.waits(now),
            waits_until_ms: self.state.waits_until(now).map(millis),
            next_due_ms: self.next_due.map(millis),
            stuck: None,
            view: Some(StateView::of(
                merchant,
                &self.state,
                self.version,
                self.faulty.as_ref(),
                now,
            )),
        }
    }
}

fn answer_of(settled: &Result<Settled, StoreError>) -> &'static str {
    match settled {
        Ok(Settled::Done { .. }) => "settled",
        Ok(Settled::Moved { .. }) => "moved",
        Ok(Settled::FenceLost) => "fence_lost",
        Err(_) => "failed",
    }
}

pub(crate) fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
