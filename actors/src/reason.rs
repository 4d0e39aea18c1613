//! Why an attempt is made, in a few words for whoever reads a trace.

use domain::Unwell;
use domain::endpoint::{Breaker, DeliveryFacts, EndpointState};

/// Why the next attempt at a delivery is made, as far as the state and the delivery tell.
pub(crate) fn reason(state: &EndpointState, facts: &DeliveryFacts) -> String {
    if let Some(span) = &state.unwell {
        let what = match span.cause {
            Unwell::Status(status) => format!("answered {status}"),
            other => format!("did not answer ({})", other.code()),
        };
        let so = match state.breaker {
            Breaker::Open { .. } => "probe: the breaker is open",
            Breaker::Closed if facts.attempts > 0 => "again",
            Breaker::Closed => "first, after its wait",
        };
        return format!("{so}; the endpoint {what}, {} in a row", span.consecutive);
    }
    if let Some(fault) = &state.fault {
        return format!(
            "again; our fault ({}), {} in a row",
            fault.fault.code(),
            fault.consecutive
        );
    }
    match (facts.attempts, facts.refusals) {
        (0, _) => "first".to_owned(),
        (_, 0) => "again".to_owned(),
        (_, refusals) => format!("again; refused {refusals} times before"),
    }
}

#[cfg(test)]
mod tests {
    use domain::endpoint::UnwellSpan;
    use time::OffsetDateTime;

    use super::*;

    #[test]
    fn the_reason_names_what_went_wrong_before() {
        let mut state = EndpointState::default();
        let mut facts = DeliveryFacts {
            id: uuid::Uuid::nil().into(),
            attempts: 0,
            refusals: 0,
            first_attempt_at: None,
            poisonous: false,
        };
        assert_eq!(reason(&state, &facts), "first");
        (facts.attempts, facts.refusals) = (2, 2);
        assert_eq!(reason(&state, &facts), "again; refused 2 times before");
        state.unwell = Some(UnwellSpan {
            since: OffsetDateTime::UNIX_EPOCH,
            consecutive: 3,
            last_at: OffsetDateTime::UNIX_EPOCH,
            until: None,
            cause: Unwell::Status(503),
        });
        assert_eq!(reason(&state, &facts), "again; the endpoint answered 503, 3 in a row");
        facts.attempts = 0;
        let waited = "first, after its wait; the endpoint answered 503, 3 in a row";
        assert_eq!(reason(&state, &facts), waited);
    }
}
