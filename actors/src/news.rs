//! What became of an endpoint by an attempt, one line each, for whoever reads logs.
//!
//! What an operator tells an endpoint, the api says. Nothing is decided here: the journal has it too.

use domain::endpoint::{Decision, DisabledReason, EndpointEvent, EndpointState};

use crate::attempt::Turn;

/// What somebody who is on duty wants to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    BreakerOpened,
    BreakerClosed,
    /// Why.
    Disabled(&'static str),
    Enabled,
}

/// Says what of an attempt's decision is news; `trace_id`: of the delivery's trace, `before`:
/// where the endpoint stood.
pub(crate) fn tell(
    turn: Turn<'_>,
    trace_id: Option<&str>,
    before: EndpointState,
    decision: &Decision,
) {
    let endpoint = turn.endpoint;
    let merchant = turn.look.endpoint.merchant_id.as_str();
    for news in news(before, decision) {
        match news {
            News::BreakerOpened => tracing::warn!(
                %endpoint, merchant, trace_id,
                "the breaker opened: from now on probes only"
            ),
            News::BreakerClosed => {
                tracing::info!(%endpoint, merchant, trace_id, "the breaker closed");
            }
            News::Disabled(reason) => tracing::warn!(
                %endpoint, merchant, trace_id, reason,
                "an endpoint was disabled; its deliveries wait"
            ),
            News::Enabled => tracing::info!(
                %endpoint, merchant, trace_id,
                "an endpoint was enabled by its daily probe"
            ),
        }
    }
}

fn news(before: EndpointState, decision: &Decision) -> impl Iterator<Item = News> {
    let closed = decision.closes_breaker(before).then_some(News::BreakerClosed);
    let happened = decision.events.iter().filter_map(|event| match event {
        EndpointEvent::BreakerOpened { .. } => Some(News::BreakerOpened),
        EndpointEvent::Disabled { reason, .. } => Some(News::Disabled(match reason {
            DisabledReason::Gone => "gone",
            DisabledReason::Unwell => "unwell",
            DisabledReason::Operator => "operator",
            DisabledReason::Deleted => "deleted",
        })),
        EndpointEvent::Enabled { .. } => Some(News::Enabled),
        _ => None,
    });
    closed.into_iter().chain(happened)
}

#[cfg(test)]
mod tests {
    use domain::endpoint::{Breaker, Disposition, EnabledBecause};
    use time::OffsetDateTime;

    use super::*;

    #[test]
    fn what_was_decided_is_news_and_nothing_else_is() {
        let at = OffsetDateTime::UNIX_EPOCH;
        let well = EndpointState::default();
        let open = EndpointState { breaker: Breaker::Open { since: at }, ..well };
        let heard = |before, events: &[EndpointEvent]| {
            let decision = Decision { disposition: Disposition::Stay, events: events.to_vec() };
            news(before, &decision).collect::<Vec<_>>()
        };
        let delivery = uuid::Uuid::nil().into();
        let recovered = EndpointEvent::Recovered { delivery, lanes: None, at };
        let disabled = |reason| EndpointEvent::Disabled { reason, at };
        let enabled = EndpointEvent::Enabled { because: EnabledBecause::Probe, at };
        assert_eq!(heard(well, &[]), []);
        assert_eq!(heard(well, &[EndpointEvent::BreakerOpened { at }]), [News::BreakerOpened]);
        assert_eq!(heard(open, &[EndpointEvent::Answered { lanes: None, at }]), []);
        // After a single failure there was no breaker to close.
        assert_eq!(heard(well, &[recovered]), []);
        assert_eq!(heard(open, &[recovered, enabled]), [News::BreakerClosed, News::Enabled]);
        for (reason, name) in [(DisabledReason::Gone, "gone"), (DisabledReason::Unwell, "unwell")] {
            assert_eq!(heard(open, &[disabled(reason)]), [News::Disabled(name)]);
        }
    }
}
