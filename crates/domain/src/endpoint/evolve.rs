//! Folding: what an event makes of a state.
//!
//! Total: any event can follow any state, because a journal is never refused. Nothing is decided
//! here.

use time::OffsetDateTime;

use super::{
    Block, Breaker, EnabledBecause, EndpointEvent, EndpointState, FaultSpan, Ramp, Status,
    UnwellSpan, Walk, Window,
};
use crate::{DeliveryId, Fault};

/// The state after `event`.
pub fn evolve(mut state: EndpointState, event: &EndpointEvent) -> EndpointState {
    match *event {
        EndpointEvent::FoundUnwell { .. } => found_unwell(&mut state, event),
        EndpointEvent::BreakerOpened { at } => state.breaker = Breaker::Open { since: at },
        EndpointEvent::Recovered { lanes, at, .. } => recovered(&mut state, lanes, at),
        EndpointEvent::Answered { lanes, at } => {
            state.window = state.window.after(false);
            if state.ramp.map(|ramp| ramp.lanes) != lanes {
                state.ramp = lanes.map(|lanes| Ramp { lanes, since: at });
            }
        }
        EndpointEvent::Blocked { delivery, fault, at, not_before } => {
            blocked(&mut state, delivery, fault, at);
            state.not_before = Some(not_before);
        }
        EndpointEvent::Unblocked { .. } => unblocked(&mut state),
        EndpointEvent::FoundFault { fault, at, not_before } => {
            let before = state.fault;
            state.fault = Some(FaultSpan {
                since: before.map_or(at, |span| span.since),
                consecutive: before.map_or(1, |span| span.consecutive.saturating_add(1)),
                fault,
            });
            state.blocked = None;
            state.not_before = Some(not_before);
        }
        EndpointEvent::FaultEnded { .. } => {
            state.fault = None;
            // Its wait is over; an unwell endpoint's goes on.
            state.not_before = state.unwell.and_then(|span| span.until);
        }
        EndpointEvent::Disabled { reason, at } => {
            state.status = Status::Disabled { reason, since: at };
        }
        EndpointEvent::Enabled { because, at } => {
            state.status = Status::Active;
            if because == EnabledBecause::Operator {
                forget(&mut state, at);
            }
        }
        EndpointEvent::Paused { at } => {
            state.status = Status::Paused { since: at };
            begin_span_again(&mut state, at);
        }
        EndpointEvent::Resumed { at } => {
            state.status = Status::Active;
            begin_span_again(&mut state, at);
        }
        EndpointEvent::UrlChanged { at } => forget(&mut state, at),
        EndpointEvent::OrderingChanged { .. } => {
            if state.blocked.is_some() {
                unblocked(&mut state);
            }
            (state.walk, state.window, state.ramp) = (Walk::default(), Window::default(), None);
        }
        // They happened to a delivery; the journal says so, the endpoint stands where it stood.
        EndpointEvent::FoundPoisonous { .. }
        | EndpointEvent::Skipped { .. }
        | EndpointEvent::Redelivered { .. } => {}
    }
    state
}

/// The state after all of `events`, from a new endpoint's.
pub fn fold<'a>(events: impl IntoIterator<Item = &'a EndpointEvent>) -> EndpointState {
    events.into_iter().fold(EndpointState::default(), evolve)
}

fn found_unwell(state: &mut EndpointState, event: &EndpointEvent) {
    let EndpointEvent::FoundUnwell { delivery, cause, span_begins, in_window, at, not_before } =
        *event
    else {
        return;
    };
    let before = state.unwell;
    state.unwell = Some(UnwellSpan {
        since: before.filter(|_| !span_begins).map_or(at, |span| span.since),
        consecutive: before.map_or(1, |span| span.consecutive.saturating_add(1)),
        last_at: at,
        until: Some(not_before),
        cause,
    });
    state.not_before = Some(not_before);
    state.stale_before = Some(at);
    state.blocked = None;
    state.walk = state.walk.after(delivery, cause, state.is_probed());
    if in_window {
        state.window = state.window.after(true);
    }
}

fn recovered(state: &mut EndpointState, lanes: Option<u8>, at: OffsetDateTime) {
    // A breaker that closes forgets what opened it, or the next failure would open it again.
    state.window = match state.breaker {
        Breaker::Open { .. } => Window::default(),
        Breaker::Closed => state.window.after(false),
    };
    state.ramp = lanes.map(|lanes| Ramp { lanes, since: at });
    state.breaker = Breaker::Closed;
    state.unwell = None;
    state.not_before = None;
    state.stale_before = None;
    state.walk = Walk::default();
}

fn blocked(
    state: &mut EndpointState,
    delivery: DeliveryId,
    fault: Option<Fault>,
    at: OffsetDateTime,
) {
    let before = state.blocked.filter(|block| block.delivery == delivery);
    let since = before.map_or(at, |block| block.since);
    state.blocked = Some(Block { delivery, since, fault });
}

fn unblocked(state: &mut EndpointState) {
    state.blocked = None;
    state.not_before = None;
}

/// Whatever stood in the way of the endpoint as it was is no fact about the one it is now.
fn forget(state: &mut EndpointState, at: OffsetDateTime) {
    *state =
        EndpointState { status: state.status, stale_before: Some(at), ..EndpointState::default() };
}

fn begin_span_again(state: &mut EndpointState, at: OffsetDateTime) {
    if let Some(span) = &mut state.unwell {
        span.since = at;
    }
}
