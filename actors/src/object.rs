//! The `Endpoint` virtual object: `notify` says that there may be something due, `wake` looks and
//! sends. `wake` is the only code that sends to this object's merchant.
//!
//! Restate keeps what only Restate can: whose turn it is, the timer, and a copy of the state for
//! people. Losing all of it loses no delivery. No handler sleeps, none ends in Restate's pause, and
//! nothing a merchant does makes one fail. The rule of when a wake may end is `domain::wake`'s.

use std::sync::Arc;
use std::time::Duration;

use domain::EndpointId;
use domain::wake::{self, Arm, Next};
use observability::spans::Invocation;
use restate_sdk::endpoint::Endpoint as ServiceEndpoint;
use restate_sdk::prelude::*;
use store::ParkedRecord;

use crate::announcement::{self, Origin};
use crate::awaited::{self, Arrival, Awaited};
use crate::call::WakeCall;
use crate::kept::Kept;
use crate::last_look;
use crate::persist::{About, persist};
use crate::report::{SliceReport, StateView, text_of};
use crate::slice;
use crate::stuck::Stuck;
use crate::timer::{self, Timer};
use crate::told_by_restate;
use crate::worker::Worker;

/// The counter that merges wakes; see `domain::wake`.
const LOOKS: &str = "looks";
/// The timer that is armed.
const TIMER: &str = "timer";
/// Where the endpoint stands, for people.
const STATE: &str = "state";
/// What is the matter on our side, for people, and how often in a row.
const STUCK: &str = "stuck";

/// The object; its fields are shared by all invocations.
pub(crate) struct EndpointObject {
    worker: Arc<Worker>,
}

/// What is served to Restate.
pub(crate) fn endpoint(worker: Arc<Worker>) -> ServiceEndpoint {
    ServiceEndpoint::builder().bind(EndpointObject { worker }).build()
}

#[restate_sdk::object(
    name = "Endpoint",
    client_visibility = "pub(crate)",
    // One deadline is around each slice, well before this.
    inactivity_timeout = "3m",
    abort_timeout = "1m",
    // Nothing is kept of what is over: PostgreSQL has it.
    journal_retention = "0s",
    idempotency_retention = "0s"
)]
impl EndpointObject {
    /// A record came: there may be something due. Shared, so it has no inbox and waits for nobody.
    #[handler(invocation_retry_policy(
        initial_interval = "100ms",
        factor = 2.0,
        max_interval = "10s",
        // A day: a broken record is parked, or the database was away for longer than that.
        max_attempts = 8640,
        on_max_attempts = "kill"
    ))]
    async fn notify(
        &self,
        ctx: SharedObjectContext<'_>,
        record: bytes::Bytes,
    ) -> Result<(), HandlerError> {
        let origin = Origin::of(ctx.headers());
        let delivery = match announcement::parse(ctx.key(), &record) {
            Ok(Some(delivery)) => delivery,
            Ok(None) => return Ok(()),
            Err(reason) => {
                let (worker, key) = (Arc::clone(&self.worker), ctx.key().to_owned());
                ctx.run(move || async move {
                    Ok(park(&worker, &origin, &key, &record, &reason).await?)
                })
                .name("park")
                .await?;
                return Ok(());
            }
        };
        if awaited::is_trusted(&origin.topic) {
            return wake_for_notified(&ctx).await;
        }
        let awaited = Awaited::first(delivery);
        match self.arrival(&ctx, awaited).await? {
            Arrival::Over => {}
            Arrival::Back { after, awaited } => come_back(&ctx, awaited, after),
            Arrival::Wake => {
                come_back(&ctx, Awaited { is_seen: true, ..awaited }, Duration::ZERO);
            }
        }
        Ok(())
    }

    /// Wakes when a record's row is there, else comes back. Its state is lazy: the counter must be
    /// read *after* the row was seen, and not as it was when this began; a wake that counted
    /// meanwhile may have looked before the row was there.
    #[handler(
        lazy_state,
        invocation_retry_policy(
            initial_interval = "100ms",
            factor = 2.0,
            max_interval = "10s",
            max_attempts = 8640,
            on_max_attempts = "kill"
        )
    )]
    async fn appear(
        &self,
        ctx: SharedObjectContext<'_>,
        Kept(awaited): Kept<Awaited>,
    ) -> Result<(), HandlerError> {
        // Whose row it is cannot be read: an extra look costs nothing.
        let Some(awaited) = awaited else { return wake_for_notified(&ctx).await };
        if awaited.is_seen {
            return wake_for_notified(&ctx).await;
        }
        match self.arrival(&ctx, awaited).await? {
            Arrival::Over => {}
            Arrival::Back { after, awaited } => come_back(&ctx, awaited, after),
            Arrival::Wake => wake_for_notified(&ctx).await?,
        }
        Ok(())
    }

    /// Looks, and sends what is due, in bounded slices.
    #[handler(invocation_retry_policy(
        initial_interval = "100ms",
        factor = 2.0,
        max_interval = "2s",
        // Then it is killed, never paused: a paused key is held until a human comes.
        max_attempts = 20,
        on_max_attempts = "kill"
    ))]
    async fn wake(
        &self,
        ctx: ObjectContext<'_>,
        Kept(call): Kept<WakeCall>,
    ) -> Result<(), HandlerError> {
        let call = call.unwrap_or(WakeCall::OfAnotherForm);
        let looks = count(ctx.get(LOOKS).await?);
        let armed = ctx.get::<Kept<Timer>>(TIMER).await?;
        let has_fired = match call {
            WakeCall::Timer { generation } if timer::is_armed(armed.as_ref(), generation) => true,
            WakeCall::Timer { .. } => return Ok(()),
            _ => false,
        };
        if has_fired {
            ctx.clear(TIMER);
        }
        // A timer that has fired is armed no more: to cancel it would be to cancel this wake.
        let timer = armed
            .and_then(|Kept(timer)| timer)
            .filter(|timer| !has_fired && timer.invocation != ctx.invocation_id());
        if !wake::runs(call.sent_for(), looks) {
            return Ok(());
        }
        let Ok(endpoint) = ctx.key().parse::<EndpointId>() else {
            ctx.clear_all();
            return Ok(());
        };
        let looks = wake::raised(call.sent_for(), looks);
        ctx.set(LOOKS, looks);
        let report = self.run_slices(&ctx, endpoint, call, looks).await?;
        leave(&ctx, &report, call, timer).await
    }
}

impl EndpointObject {
    /// Looks for the row of a record.
    async fn arrival(
        &self,
        ctx: &SharedObjectContext<'_>,
        awaited: Awaited,
    ) -> Result<Arrival, HandlerError> {
        let worker = Arc::clone(&self.worker);
        let look = ctx.run(move || async move { Ok(Json(awaited.look(&worker).await?)) });
        let Json(arrival) = look.name("row").await?;
        Ok(arrival)
    }

    /// Slices until the rule says that nobody is missed, or the budget is used up.
    async fn run_slices(
        &self,
        ctx: &ObjectContext<'_>,
        endpoint: EndpointId,
        call: WakeCall,
        looks: u64,
    ) -> Result<SliceReport, HandlerError> {
        let (mut slices, mut elapsed) = (0, Duration::ZERO);
        let mut before: Option<SliceReport> = None;
        loop {
            let worker = Arc::clone(&self.worker);
            let invocation = Invocation {
                id: ctx.invocation_id().to_owned(),
                because: call.because(),
                traceparent: told_by_restate::traceparent(),
            };
            let waited_for = call.waited_for(slices);
            let emptied = before.take().filter(|before| !before.more);
            let Json(report) = ctx
                .run(move || async move {
                    let run = match emptied {
                        Some(before) => {
                            last_look::run(&worker, endpoint, &invocation, waited_for, before).await
                        }
                        None => slice::run(&worker, endpoint, &invocation, waited_for).await,
                    };
                    Ok(Json(run?))
                })
                .name("slice")
                .await?;
            slices += 1;
            elapsed += Duration::from_millis(report.took_ms);
            match wake::after_slice(slices, elapsed, report.end()) {
                Next::LookAgain => before = Some(report),
                Next::End => return Ok(report),
                Next::HandOver => {
                    // The new counter as key: it merges with what notifies have sent meanwhile.
                    let call = WakeCall::Continued { looks };
                    ctx.object_client::<EndpointObjectClient>(ctx.key())
                        .wake(Kept(Some(call)))
                        .idempotency_key(key_of(looks))
                        .send();
                    return Ok(report);
                }
            }
        }
    }
}

/// A counter of the object's state; 0 when there is none, as after the loss of all of Restate's data.
fn count(kept: Option<Kept<u64>>) -> u64 {
    kept.and_then(|Kept(count)| count).unwrap_or(0)
}

/// Lets `appear` go on with a record.
fn come_back(ctx: &SharedObjectContext<'_>, awaited: Awaited, after: Duration) {
    let appear = ctx.object_client::<EndpointObjectClient>(ctx.key()).appear(Kept(Some(awaited)));
    match after {
        Duration::ZERO => drop(appear.send()),
        after => drop(appear.send_after(after)),
    }
}

/// Sends the one wake that looks for everybody who reads the counter as it is now.
async fn wake_for_notified(ctx: &SharedObjectContext<'_>) -> Result<(), HandlerError> {
    let looks = count(ctx.get(LOOKS).await?);
    let call = WakeCall::Notified { looks };
    ctx.object_client::<EndpointObjectClient>(ctx.key())
        .wake(Kept(Some(call)))
        .idempotency_key(key_of(looks))
        .send();
    Ok(())
}

/// The idempotency key of the wake that looks for everybody who read `looks`.
fn key_of(looks: u64) -> String {
    format!("looks-{looks}")
}

/// What a wake leaves behind: the copy of the state, and a timer when there is something to come.
async fn leave(
    ctx: &ObjectContext<'_>,
    report: &SliceReport,
    call: WakeCall,
    timer: Option<Timer>,
) -> Result<(), HandlerError> {
    if let Some(reason) = &report.stuck {
        let before = ctx.get::<Kept<Stuck>>(STUCK).await?.and_then(|stuck| stuck.0);
        let before = before.map_or(0, |stuck| stuck.times);
        let times = before.saturating_add(1);
        ctx.set(STUCK, Json(Stuck { reason: reason.clone(), times }));
        // Without PostgreSQL there is no clock to say when that is: whoever comes replaces it.
        return set_timer(ctx, timer, wake::stuck_wait(before), 0).await;
    }
    let Some(view) = &report.view else {
        // No such endpoint, or it was deleted: nothing of it stays.
        if let Some(timer) = timer {
            ctx.invocation_handle(timer.invocation).cancel();
        }
        ctx.clear_all();
        return Ok(());
    };
    if ctx.get::<Kept<Stuck>>(STUCK).await?.is_some() {
        ctx.clear(STUCK);
    }
    let view = Kept(Some(view.clone()));
    if ctx.get::<Kept<StateView>>(STATE).await?.is_none_or(|before| before != view) {
        ctx.set(STATE, view);
    }
    let early = matches!(call, WakeCall::Timer { .. }) && report.attempts == 0;
    let armed_ms = timer.as_ref().map(|timer| timer.at_ms);
    match wake::arm(armed_ms, report.next_ms(), report.now_ms, early) {
        Arm::Keep => Ok(()),
        Arm::New { delay, at_ms } => set_timer(ctx, timer, delay, at_ms).await,
    }
}

/// Arms a timer in the place of the one that is armed, if any.
async fn set_timer(
    ctx: &ObjectContext<'_>,
    armed: Option<Timer>,
    delay: Duration,
    at_ms: i64,
) -> Result<(), HandlerError> {
    if let Some(armed) = &armed {
        ctx.invocation_handle(armed.invocation.clone()).cancel();
    }
    let generation = count(ctx.get(GENERATION).await?) + 1;
    ctx.set(GENERATION, generation);
    let sent = ctx
        .object_client::<EndpointObjectClient>(ctx.key())
        .wake(Kept(Some(WakeCall::Timer { generation })))
        .send_after(delay)
        .await?;
    let invocation = sent.invocation_id().to_owned();
    ctx.set(TIMER, Json(Timer { at_ms, at: text_of(at_ms), generation, invocation }));
    Ok(())
}

/// Counts timers, so that none is taken for another.
const GENERATION: &str = "generation";

async fn park(
    worker: &Worker,
    origin: &Origin,
    key: &str,
    value: &[u8],
    reason: &str,
) -> Result<(), store::StoreError> {
    let record = ParkedRecord {
        topic: &origin.topic,
        partition: origin.partition,
        offset: origin.offset,
        key: key.as_bytes(),
        value,
        reason,
    };
    persist("park", About::default(), || worker.store.park(record)).await?;
    tracing::warn!(
        topic = origin.topic,
        partition = origin.partition,
        offset = origin.offset,
        reason,
        "a record could not be understood; it is parked"
    );
    Ok(())
}
