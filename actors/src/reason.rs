//! Why an attempt is made, in a few words for whoever reads a trace.

use domain::endpoint::{Breaker, DeliveryFacts, EndpointState};
use domain::{Fault, Unwell};

/// Why the next attempt at a delivery is made, as far as the state and the delivery tell; `fault`: the
/// one of ours on which it stepped aside last.
pub(crate) fn reason(state: &EndpointState, facts: &DeliveryFacts, fault: Option<Fault>) -> String {
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
    // A delivery that steps aside keeps the fault itself; one that blocks its endpoint does not.
    let blocks = state.blocked.filter(|blocked| blocked.delivery == facts.id);
    if let Some(fault) = fault.or(blocks.and_then(|blocked| blocked.fault)) {
        return format!("again; our fault ({}) with this delivery", fault.code());
    }
    match (facts.attempts, facts.first_attempt_at, facts.refusals) {
        (0, ..) => "first".to_owned(),
        // Its schedule began anew, its attempts are counted on.
        (_, None, _) => "redelivered: it was over, and somebody put it back in line".to_owned(),
        (_, _, 0) => "again; what stood in the endpoint's way is over".to_owned(),
        (_, _, 1) => "again; refused once before".to_owned(),
        (_, _, refusals) => format!("again; refused {refusals} times before"),
    }
}

#[cfg(test)]
mod tests {
    use domain::endpoint::{Block, UnwellSpan};
    use time::OffsetDateTime;

    use super::*;

    fn delivery(attempts: u32, refusals: u32) -> DeliveryFacts {
        let first_attempt_at = (attempts > 0).then_some(OffsetDateTime::UNIX_EPOCH);
        let id = uuid::Uuid::nil().into();
        DeliveryFacts { id, attempts, refusals, first_attempt_at, poisonous: false }
    }

    #[test]
    fn the_reason_names_what_went_wrong_with_the_endpoint() {
        let span = UnwellSpan {
            since: OffsetDateTime::UNIX_EPOCH,
            consecutive: 3,
            last_at: OffsetDateTime::UNIX_EPOCH,
            until: None,
            cause: Unwell::Status(503),
        };
        let unwell = EndpointState { unwell: Some(span), ..EndpointState::default() };
        let again = "again; the endpoint answered 503, 3 in a row";
        assert_eq!(reason(&unwell, &delivery(2, 0), None), again);
        let waited = "first, after its wait; the endpoint answered 503, 3 in a row";
        assert_eq!(reason(&unwell, &delivery(0, 0), None), waited);
    }

    #[test]
    fn the_reason_names_what_went_wrong_with_the_delivery() {
        let well = EndpointState::default();
        let fault = Some(Fault::PayloadMissing);
        let redelivered = DeliveryFacts { first_attempt_at: None, ..delivery(3, 0) };
        let id = delivery(1, 0).id;
        let block = Block { delivery: id, since: OffsetDateTime::UNIX_EPOCH, fault };
        let blocked = EndpointState { blocked: Some(block), ..well };
        let by_itself = "again; our fault (payload_missing) with this delivery";
        assert_eq!(reason(&blocked, &delivery(1, 0), None), by_itself);
        for (facts, fault, expected) in [
            (delivery(0, 0), None, "first"),
            (delivery(1, 1), None, "again; refused once before"),
            (delivery(3, 2), None, "again; refused 2 times before"),
            (delivery(3, 2), fault, "again; our fault (payload_missing) with this delivery"),
            (delivery(1, 0), None, "again; what stood in the endpoint's way is over"),
            (redelivered, None, "redelivered: it was over, and somebody put it back in line"),
        ] {
            assert_eq!(reason(&well, &facts, fault), expected);
        }
    }
}
