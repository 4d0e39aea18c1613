//! What is the matter with an endpoint, in one line: for its status, and Restate's copy of it.
//!
//! The state comes in, and what stepped aside on a fault of ours: that is of single deliveries, so no
//! event of the journal tells it. A line goes out, none when nothing is the matter. It is for
//! people, begins with `our fault: ` where it is, and decides nothing.

use time::OffsetDateTime;

use super::{Block, EndpointState, FaultSpan, UnwellSpan};
use crate::{DeliveryId, Fault, Unwell, rfc3339_seconds};

/// Deliveries of an endpoint that stepped aside on a fault of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faulty {
    /// The one that has been so for the longest.
    pub delivery: DeliveryId,
    /// What is the matter with it.
    pub fault: Fault,
    /// Since when.
    pub since: OffsetDateTime,
    /// How many others there are; 1000: that many or more.
    pub others: u32,
}

/// What is the matter with an endpoint that stands like this.
pub fn trouble(state: &EndpointState, faulty: Option<&Faulty>) -> Option<String> {
    let of_the_endpoint = state
        .fault
        .map(of_fault)
        .or_else(|| state.unwell.map(of_unwell))
        .or_else(|| state.blocked.map(of_block));
    // One that blocks the line is told as that.
    let blocks = |faulty: &&Faulty| state.blocked.is_some_and(|b| b.delivery == faulty.delivery);
    let aside = faulty.filter(|faulty| !blocks(faulty)).map(of_faulty);
    match (of_the_endpoint, aside) {
        (Some(first), Some(second)) => Some(format!("{first}; {second}")),
        (first, second) => first.or(second),
    }
}

fn of_fault(span: FaultSpan) -> String {
    let since = rfc3339_seconds(span.since);
    format!("our fault: {}, {} in a row since {since}", span.fault.code(), span.consecutive)
}

fn of_unwell(span: UnwellSpan) -> String {
    let what = match span.cause {
        Unwell::Status(status) => format!("answers {status}"),
        other => format!("does not answer ({})", other.code()),
    };
    format!("{what}, {} in a row since {}", span.consecutive, rfc3339_seconds(span.since))
}

fn of_block(block: Block) -> String {
    let Block { delivery, since, fault } = block;
    let what = fault.map_or("refuses".to_owned(), |fault| format!("our fault: {},", fault.code()));
    let since = rfc3339_seconds(since);
    format!("{what} delivery {delivery} since {since}, and all others wait behind it")
}

fn of_faulty(faulty: &Faulty) -> String {
    let Faulty { delivery, fault, since, others } = *faulty;
    let more = match others {
        0 => String::new(),
        1_000.. => ", and 1000 others or more".to_owned(),
        others => format!(", and {others} more"),
    };
    let since = rfc3339_seconds(since);
    format!("our fault: {}, delivery {delivery} since {since}{more}", fault.code())
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOON: OffsetDateTime = datetime!(2026-01-05 12:00 UTC);

    fn id(n: u128) -> DeliveryId {
        uuid::Uuid::from_u128(n).into()
    }

    const fn faulty(delivery: DeliveryId, others: u32) -> Faulty {
        Faulty { delivery, fault: Fault::PayloadMissing, since: NOON, others }
    }

    #[test]
    fn a_delivery_that_stepped_aside_on_our_fault_is_named_with_how_many_others() {
        let well = EndpointState::default();
        assert_eq!(trouble(&well, None), None);
        for (others, more) in [(0, ""), (3, ", and 3 more"), (1_000, ", and 1000 others or more")] {
            let told = trouble(&well, Some(&faulty(id(7), others)));
            let expected = format!(
                "our fault: payload_missing, delivery {} since 2026-01-05T12:00:00Z{more}",
                id(7)
            );
            assert_eq!(told, Some(expected));
        }
    }

    #[test]
    fn beside_an_endpoint_that_is_unwell_both_are_told() {
        let unwell = UnwellSpan {
            since: NOON,
            consecutive: 2,
            last_at: NOON,
            until: None,
            cause: Unwell::Status(503),
        };
        let state = EndpointState { unwell: Some(unwell), ..EndpointState::default() };
        let told = trouble(&state, Some(&faulty(id(7), 0))).expect("trouble");
        assert!(
            told.starts_with("answers 503, 2 in a row since 2026-01-05T12:00:00Z; our fault: ")
        );
    }

    #[test]
    fn one_that_blocks_a_strict_line_is_told_once_and_whose_fault_it_is() {
        let block = |fault| EndpointState {
            blocked: Some(Block { delivery: id(7), since: NOON, fault }),
            ..EndpointState::default()
        };
        let ours = trouble(&block(Some(Fault::PayloadMissing)), Some(&faulty(id(7), 0)));
        let expected = format!(
            "our fault: payload_missing, delivery {} since 2026-01-05T12:00:00Z, and all others wait behind it",
            id(7)
        );
        assert_eq!(ours, Some(expected));
        let theirs = trouble(&block(None), None).expect("trouble");
        assert!(theirs.starts_with("refuses delivery dlv_"), "{theirs}");
    }
}
