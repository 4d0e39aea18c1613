//! What became of an endpoint by an attempt, one line each, for whoever reads logs.
//!
//! What an operator tells an endpoint, the api says. Nothing is decided here: the journal has it too.

use domain::endpoint::{Breaker, DisabledReason, EndpointState, Status};
use observability::traceparent;
use tracing::Span;

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

/// Says what an attempt changed of its endpoint, if that is news; `span`: the delivery's turn.
pub(crate) fn tell(turn: Turn<'_>, span: &Span, before: &EndpointState, after: &EndpointState) {
    let endpoint = turn.endpoint;
    let merchant = turn.look.endpoint.merchant_id.as_str();
    let trace_id = traceparent::trace_id(span);
    for news in news(before, after).into_iter().flatten() {
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

fn news(before: &EndpointState, after: &EndpointState) -> [Option<News>; 2] {
    let breaker = match (before.breaker, after.breaker) {
        (Breaker::Closed, Breaker::Open { .. }) => Some(News::BreakerOpened),
        (Breaker::Open { .. }, Breaker::Closed) => Some(News::BreakerClosed),
        _ => None,
    };
    let status = match (before.status, after.status) {
        // For another reason than before is news as well: 410 to a daily probe ends the probes.
        (Status::Disabled { reason: was, .. }, Status::Disabled { reason, .. })
            if was == reason =>
        {
            None
        }
        (_, Status::Disabled { reason, .. }) => Some(News::Disabled(match reason {
            DisabledReason::Gone => "gone",
            DisabledReason::Unwell => "unwell",
            DisabledReason::Operator => "operator",
            DisabledReason::Deleted => "deleted",
        })),
        (Status::Disabled { .. }, Status::Active) => Some(News::Enabled),
        _ => None,
    };
    [breaker, status]
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

    #[test]
    fn what_changes_is_news_and_what_stays_is_none() {
        let since = OffsetDateTime::UNIX_EPOCH;
        let well = EndpointState::default();
        let open = EndpointState { breaker: Breaker::Open { since }, ..well };
        let gone = Status::Disabled { reason: DisabledReason::Gone, since };
        let gone = EndpointState { status: gone, ..well };
        let unwell = Status::Disabled { reason: DisabledReason::Unwell, since };
        let unwell = EndpointState { status: unwell, ..open };
        for state in [&well, &open, &gone, &unwell] {
            assert_eq!(news(state, state), [None, None]);
        }
        assert_eq!(news(&well, &open), [Some(News::BreakerOpened), None]);
        assert_eq!(news(&open, &well), [Some(News::BreakerClosed), None]);
        assert_eq!(news(&well, &gone), [None, Some(News::Disabled("gone"))]);
        assert_eq!(news(&open, &unwell), [None, Some(News::Disabled("unwell"))]);
        assert_eq!(news(&unwell, &well), [Some(News::BreakerClosed), Some(News::Enabled)]);
        let [_, at_the_daily_probe] = news(&unwell, &gone);
        assert_eq!(at_the_daily_probe, Some(News::Disabled("gone")));
    }
}
