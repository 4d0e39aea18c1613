//! Was anything lost, doubled or out of order?
//!
//! What was acknowledged goes in, and what the receiver saw; a verdict comes out. It is a pure
//! function. It believes neither our tables nor our counters.
//!
//! Order is what the design promises, no more: A before B whenever A committed before B began, at
//! the same endpoint. A had committed when its call returned; B had not begun before its call did.

use std::collections::{HashMap, HashSet};

use crate::event::{Arrival, Event, Kind, Made};

/// What came of everything.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Acknowledged events that arrived.
    pub delivered: u64,
    /// Acknowledged events that did not.
    pub lost: Vec<Event>,
    /// Arrivals of what had arrived before.
    pub duplicates: u64,
    /// Duplicates that came under another webhook-id: a merchant could not have known them.
    pub renamed: u64,
    /// Events that first arrived after a later event of the same payment.
    pub behind_in_payment: Vec<Event>,
    /// Events that first arrived after one that began when they had committed.
    pub behind_in_endpoint: Vec<Event>,
    /// Refunds whose body still showed the payment as it was before.
    pub stale: Vec<Event>,
    /// Events that arrived and were never acknowledged: their call was given up.
    pub unacknowledged: u64,
    /// First arrivals of acknowledged events.
    pub first_arrivals: Vec<Arrival>,
}

/// Judges a run.
pub fn judge(made: &[Made], arrivals: &[Arrival]) -> Verdict {
    let calls: HashMap<Event, &Made> = made.iter().map(|made| (made.event, made)).collect();
    let mut verdict = Verdict::default();
    let mut first: HashMap<Event, u64> = HashMap::with_capacity(made.len());
    let mut latest_of_payment = HashMap::new();
    let mut begun_of_endpoint: HashMap<u32, i64> = HashMap::new();
    for arrival in arrivals {
        let event = arrival.event;
        if let Some(webhook) = first.get(&event) {
            verdict.duplicates += 1;
            verdict.renamed += u64::from(*webhook != arrival.webhook);
            continue;
        }
        first.insert(event, arrival.webhook);
        if event.kind == Kind::Refunded && !arrival.is_refunded {
            verdict.stale.push(event);
        }
        let latest = latest_of_payment.entry((event.endpoint, event.payment)).or_insert(i64::MIN);
        if arrival.happened_us < *latest {
            verdict.behind_in_payment.push(event);
        }
        *latest = arrival.happened_us.max(*latest);
        let Some(call) = calls.get(&event) else {
            verdict.unacknowledged += 1;
            continue;
        };
        let begun = begun_of_endpoint.entry(event.endpoint).or_insert(i64::MIN);
        if call.done_us < *begun {
            verdict.behind_in_endpoint.push(event);
        }
        *begun = call.begun_us.max(*begun);
        verdict.delivered += 1;
        verdict.first_arrivals.push(*arrival);
    }
    let arrived: HashSet<Event> = first.into_keys().collect();
    verdict.lost =
        made.iter().map(|made| made.event).filter(|event| !arrived.contains(event)).collect();
    verdict
}

impl Verdict {
    /// What must not have happened, a sentence each; empty when all is well.
    pub fn complaints(&self) -> Vec<String> {
        /// Events that a complaint names; the rest is counted.
        const NAMED_MAX: usize = 10;
        let mut complaints = Vec::new();
        for (what, events) in [
            ("lost", &self.lost),
            ("out of order within their payment", &self.behind_in_payment),
            ("out of order at their endpoint", &self.behind_in_endpoint),
            ("delivered with a payment older than the event", &self.stale),
        ] {
            if events.is_empty() {
                continue;
            }
            let named: Vec<String> = events.iter().take(NAMED_MAX).map(name_of).collect();
            let rest = match events.len().saturating_sub(NAMED_MAX) {
                0 => String::new(),
                more => format!(", and {more} more"),
            };
            complaints.push(format!("{} {what}: {}{rest}", events.len(), named.join(", ")));
        }
        if self.renamed > 0 {
            complaints.push(format!("{} duplicates came under another webhook-id", self.renamed));
        }
        complaints
    }
}

fn name_of(event: &Event) -> String {
    format!("{} of {} at endpoint {}", event.kind.event_type(), event.payment, event.endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(endpoint: u32, payment: u128, kind: Kind) -> Event {
        Event { endpoint, payment: uuid::Uuid::from_u128(payment).into(), kind }
    }

    fn made(event: Event, begun_us: i64, done_us: i64) -> Made {
        Made { event, begun_us, done_us }
    }

    fn arrival(event: Event, happened_us: i64) -> Arrival {
        Arrival { event, webhook: 1, happened_us, arrived_us: 0, is_refunded: true }
    }

    #[test]
    fn what_was_acknowledged_and_never_came_is_lost_and_named() {
        let (a, b) = (event(0, 1, Kind::Succeeded), event(0, 2, Kind::Succeeded));
        let verdict = judge(&[made(a, 0, 1), made(b, 0, 1)], &[arrival(b, 0)]);
        assert_eq!((verdict.lost.clone(), verdict.delivered), (vec![a], 1));
        assert!(verdict.complaints()[0].starts_with("1 lost: payment.succeeded of pay_"));
        // The same payment at another endpoint is another delivery.
        let elsewhere = Event { endpoint: 1, ..a };
        assert_eq!(judge(&[made(a, 0, 1)], &[arrival(elsewhere, 0)]).lost, [a]);
    }

    #[test]
    fn a_second_arrival_is_a_duplicate_and_worse_under_another_webhook_id() {
        let a = event(0, 1, Kind::Succeeded);
        let again = Arrival { webhook: 2, ..arrival(a, 0) };
        let verdict = judge(&[made(a, 0, 1)], &[arrival(a, 0), arrival(a, 0), again]);
        assert_eq!((verdict.delivered, verdict.duplicates, verdict.renamed), (1, 2, 1));
        assert_eq!(verdict.complaints().len(), 1);
    }

    #[test]
    fn a_refund_before_its_payment_is_out_of_order_by_both_measures() {
        let paid = event(0, 1, Kind::Succeeded);
        let refunded = event(0, 1, Kind::Refunded);
        let calls = [made(paid, 0, 1), made(refunded, 2, 3)];
        let verdict = judge(&calls, &[arrival(refunded, 20), arrival(paid, 10)]);
        assert_eq!(verdict.behind_in_payment, [paid]);
        assert_eq!(verdict.behind_in_endpoint, [paid]);
        assert_eq!(verdict.complaints().len(), 2);
        // In order, with a duplicate of the first behind the second: nothing to complain about.
        let verdict = judge(&calls, &[arrival(paid, 10), arrival(refunded, 20), arrival(paid, 10)]);
        assert_eq!((verdict.duplicates, verdict.complaints().len()), (1, 0));
    }

    #[test]
    fn order_binds_what_committed_before_another_began_and_nothing_else() {
        let (a, b) = (event(0, 1, Kind::Succeeded), event(0, 2, Kind::Succeeded));
        let came = [arrival(b, 20), arrival(a, 10)];
        let after = judge(&[made(a, 0, 1), made(b, 2, 3)], &came);
        assert_eq!(after.behind_in_endpoint, [a]);
        let overlapping = judge(&[made(a, 0, 2), made(b, 1, 3)], &came);
        assert!(overlapping.complaints().is_empty(), "{overlapping:?}");
        let elsewhere = Event { endpoint: 1, ..b };
        let came = [arrival(elsewhere, 20), arrival(a, 10)];
        assert!(judge(&[made(a, 0, 1), made(elsewhere, 2, 3)], &came).complaints().is_empty());
    }

    #[test]
    fn a_refund_that_shows_the_old_payment_is_stale() {
        let refunded = event(0, 1, Kind::Refunded);
        let old = Arrival { is_refunded: false, ..arrival(refunded, 0) };
        assert_eq!(judge(&[made(refunded, 0, 1)], &[old]).stale, [refunded]);
        let paid = event(0, 1, Kind::Succeeded);
        let fresh =
            judge(&[made(paid, 0, 1)], &[Arrival { is_refunded: false, ..arrival(paid, 0) }]);
        assert!(fresh.complaints().is_empty());
    }

    #[test]
    fn what_was_given_up_and_came_all_the_same_is_counted_apart() {
        let a = event(0, 1, Kind::Succeeded);
        let verdict = judge(&[], &[arrival(a, 0)]);
        assert_eq!((verdict.unacknowledged, verdict.delivered), (1, 0));
        assert!(verdict.complaints().is_empty() && verdict.first_arrivals.is_empty());
    }
}
