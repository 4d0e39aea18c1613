//! What a trace and the log say of a delivery's turn: what its attempt came to, and what follows.
//!
//! A turn that ends without a word about what follows was not settled: what its attempt came to is
//! lost, and its request may be made again. That must never look like a success.

use domain::endpoint::{Breaker, Decision, Disposition, EndpointState, FinishReason};
use domain::{DeliveryId, EventId, Outcome, rfc3339_seconds};
use observability::spans;
use observability::traceparent::{self, kept_trace_id};
use store::{AttemptRow, DueDelivery};
use time::OffsetDateTime;
use tracing::Span;

use crate::attempt::Turn;
use crate::ended::Ended;
use crate::persist::About;

/// The account of one turn; told by [`Account::settled`] or [`Account::not_settled`].
pub(crate) struct Account<'a> {
    turn: Turn<'a>,
    delivery: DeliveryId,
    event: EventId,
    /// Which attempt of the delivery it is.
    number: u32,
    span: Span,
    trace_id: Option<String>,
    outcome: Option<Outcome>,
    is_told: bool,
}

impl<'a> Account<'a> {
    /// Of the turn that `span` shows.
    pub(crate) fn of(turn: Turn<'a>, delivery: &DueDelivery, number: u32, span: Span) -> Self {
        let by_row = || delivery.traceparent.as_deref().and_then(kept_trace_id).map(str::to_owned);
        Self {
            turn,
            delivery: delivery.facts.id,
            event: delivery.event_id,
            number,
            trace_id: traceparent::trace_id(&span).or_else(by_row),
            span,
            outcome: None,
            is_told: false,
        }
    }

    /// Of the delivery's turn: what follows from the attempt belongs to it.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// The id of a trace that can be looked up.
    pub(crate) fn trace_id(&self) -> Option<&str> {
        self.trace_id.as_deref()
    }

    /// For a statement's lines.
    pub(crate) fn about(&self) -> About<'_> {
        About {
            endpoint: Some(self.turn.endpoint),
            delivery: Some(self.delivery),
            trace_id: self.trace_id(),
        }
    }

    /// There was no attempt: it would have begun too late.
    pub(crate) fn not_begun(mut self) {
        spans::ended(&self.span, "not begun", None, None);
        self.is_told = true;
    }

    /// What the attempt came to.
    pub(crate) fn attempted(&mut self, outcome: Outcome) {
        spans::ended(&self.span, outcome.class(), outcome.code(), outcome.status());
        self.outcome = Some(outcome);
    }

    /// What follows from the attempt.
    pub(crate) fn settled(
        mut self,
        row: &AttemptRow,
        decision: &Decision,
        state: &EndpointState,
        now: OffsetDateTime,
    ) {
        self.is_told = true;
        let (disposition, until) = match decision.disposition {
            Disposition::Finish(reason) => (reason.names().0, None),
            Disposition::StepAside { until, .. } => ("steps aside", Some(until)),
            Disposition::Stay | Disposition::Block => ("stays in line", state.waits_until(now)),
        };
        let next = until.map(rfc3339_seconds);
        let breaker = match state.breaker {
            Breaker::Closed => "closed",
            Breaker::Open { .. } => "open",
        };
        let next_attempt_at = next.as_deref();
        let settled = spans::Settled { disposition, next_attempt_at, breaker };
        spans::settled(&self.span, settled);
        self.tell(row, settled);
        if let Disposition::Finish(reason) = decision.disposition
            && reason != FinishReason::Delivered
        {
            self.tell_end(reason);
        }
    }

    /// The settle failed, or came when another run had the turn.
    pub(crate) fn not_settled(mut self, ended: &Ended) {
        match ended {
            Ended::FenceLost => self.lost(ended.kind(), "another run of the endpoint has the turn"),
            Ended::Stuck(reason) => self.lost(ended.kind(), reason),
        }
    }

    fn lost(&mut self, kind: &'static str, reason: &str) {
        self.is_told = true;
        let outcome = self.outcome;
        // It ends here: a span ends when it is left for the last time.
        let _turn = self.span.enter();
        spans::not_settled(
            &self.span,
            kind,
            outcome.is_some_and(|outcome| outcome.code().is_some()),
        );
        tracing::error!(
            endpoint = %self.turn.endpoint,
            delivery = %self.delivery,
            event = %self.event,
            trace_id = self.trace_id,
            invocation = self.turn.invocation.id,
            attempt = self.number,
            class = outcome.map(|outcome| outcome.class()),
            code = outcome.and_then(|outcome| outcome.code()),
            status = outcome.and_then(|outcome| outcome.status()),
            kind,
            reason,
            "an attempt was not settled, as far as is known: its request may be made again"
        );
    }

    /// One line for whoever reads logs, when an attempt did not deliver.
    fn tell(&self, row: &AttemptRow, settled: spans::Settled<'_>) {
        let took_ms = u64::try_from(row.duration.as_millis()).unwrap_or(u64::MAX);
        if matches!(row.outcome, Outcome::Delivered { .. }) {
            let (delivery, trace_id) = (self.delivery, self.trace_id());
            tracing::debug!(%delivery, trace_id, attempt = self.number, took_ms, "delivered");
            return;
        }
        tracing::warn!(
            endpoint = %self.turn.endpoint,
            delivery = %self.delivery,
            event = %self.event,
            trace_id = self.trace_id,
            invocation = self.turn.invocation.id,
            attempt = self.number,
            class = row.outcome.class(),
            code = row.outcome.code(),
            status = row.outcome.status(),
            took_ms,
            sentence = row.detail.get("sentence").and_then(serde_json::Value::as_str),
            disposition = settled.disposition,
            next_attempt_at = settled.next_attempt_at,
            "an attempt did not deliver"
        );
    }

    /// One line for a delivery that is over, and the merchant does not have it.
    fn tell_end(&self, reason: FinishReason) {
        let (disposition, why) = reason.names();
        tracing::warn!(
            endpoint = %self.turn.endpoint,
            merchant = self.turn.look.endpoint.merchant_id.as_str(),
            delivery = %self.delivery,
            event = %self.event,
            trace_id = self.trace_id,
            attempts = self.number,
            disposition,
            why,
            "a delivery was given up: it is not tried again unless somebody redelivers it"
        );
    }
}

impl Drop for Account<'_> {
    /// A step that ran into its deadline, a panic, an invocation that was taken away.
    fn drop(&mut self) {
        if !self.is_told {
            self.lost("cut_short", "its step ended before it");
        }
    }
}
