//! Folding: what an event makes of a state.
//!
//! Total: any event can follow any state, because a journal is never refused. Nothing is decided
//! here.

use super::{Breaker, EndpointEvent, EndpointState, FaultSpan, Status, UnwellSpan};

/// The state after `event`.
pub fn evolve(mut state: EndpointState, event: &EndpointEvent) -> EndpointState {
    match *event {
        EndpointEvent::FoundUnwell { cause, span_begins, at, not_before, .. } => {
            let before = state.unwell;
            state.unwell = Some(UnwellSpan {
                since: before.filter(|_| !span_begins).map_or(at, |span| span.since),
                consecutive: before.map_or(1, |span| span.consecutive.saturating_add(1)),
                last_at: at,
                cause,
            });
            state.not_before = Some(not_before);
        }
        EndpointEvent::BreakerOpened { at } => state.breaker = Breaker::Open { since: at },
        EndpointEvent::Recovered { .. } => {
            state.unwell = None;
            state.breaker = Breaker::Closed;
            state.not_before = None;
        }
        EndpointEvent::FoundFault { fault, at, not_before } => {
            let before = state.fault;
            state.fault = Some(FaultSpan {
                since: before.map_or(at, |span| span.since),
                consecutive: before.map_or(1, |span| span.consecutive.saturating_add(1)),
                fault,
            });
            state.not_before = Some(not_before);
        }
        EndpointEvent::FaultEnded { .. } => state.fault = None,
        EndpointEvent::Disabled { reason, at } => {
            state.status = Status::Disabled { reason, since: at };
        }
    }
    state
}

/// The state after all of `events`, from a new endpoint's.
pub fn fold<'a>(events: impl IntoIterator<Item = &'a EndpointEvent>) -> EndpointState {
    events.into_iter().fold(EndpointState::default(), evolve)
}
