//! What the ledger counts, on small stories of requests and answers.

use super::*;
use crate::line::Micros;
use crate::line::tests::full;

/// One request of a story: merchant, webhook-id, payment, event's time.
fn request(merchant: &str, webhook_id: &str, payment_id: &str, timestamp: i64) -> Line {
    Line {
        number: 0,
        merchant: merchant.to_owned(),
        webhook_id: Some(webhook_id.to_owned()),
        payment_id: Some(payment_id.to_owned()),
        timestamp: Some(Micros(timestamp)),
        status: None,
        ..full()
    }
}

/// Receives and answers at once.
fn answered(ledger: &mut Ledger, mut line: Line, status: u16) {
    let receipt = ledger.receive(&mut line);
    ledger.answer(receipt, status);
}

fn invariant_every_request_is_counted_once(ledger: &Ledger) {
    let stats = ledger.stats();
    for counts in stats.endpoints.values().chain([&stats.total]) {
        let parts = counts.distinct + counts.duplicates + counts.refused + counts.unanswered;
        assert_eq!(counts.received, parts, "{counts:?}");
    }
    let sum: u64 = stats.endpoints.values().map(|counts| counts.received).sum();
    assert_eq!(stats.total.received, sum);
}

#[test]
fn a_second_arrival_is_a_duplicate_only_if_the_first_was_accepted() {
    let mut ledger = Ledger::new();
    answered(&mut ledger, request("m", "a", "p", 1), 503);
    answered(&mut ledger, request("m", "a", "p", 1), 200);
    answered(&mut ledger, request("m", "a", "p", 1), 204);
    answered(&mut ledger, request("other", "a", "p", 1), 200);
    ledger.receive(&mut request("m", "b", "p", 2));
    let stats = ledger.stats();
    let of_m = &stats.endpoints["m"];
    assert_eq!((of_m.received, of_m.distinct, of_m.duplicates), (4, 1, 1));
    assert_eq!((of_m.refused, of_m.unanswered, of_m.unique_payments), (1, 1, 1));
    assert_eq!((stats.total.distinct, stats.total.duplicates), (2, 1));
    assert_eq!((stats.total.unique_payments, stats.total.total_received), (1, 5));
    invariant_every_request_is_counted_once(&ledger);
}

#[test]
fn an_event_is_out_of_order_only_behind_a_later_one_of_its_payment_at_its_merchant() {
    let mut ledger = Ledger::new();
    for (merchant, id, payment, timestamp, status) in [
        ("m", "a", "p", 20, 200),
        ("m", "b", "p", 10, 503), // Refused: it has not arrived yet.
        ("m", "b", "p", 10, 200), // Out of order.
        ("m", "b", "p", 10, 200), // Its duplicate is a duplicate and nothing else.
        ("m", "c", "p", 15, 200), // Behind 20 as well.
        ("m", "d", "p", 20, 200), // The same moment has no order.
        ("m", "e", "q", 1, 200),  // Another payment.
        ("n", "b", "p", 10, 200), // Another merchant.
    ] {
        answered(&mut ledger, request(merchant, id, payment, timestamp), status);
    }
    let stats = ledger.stats();
    assert_eq!(stats.endpoints["m"].out_of_order, 2);
    assert_eq!(stats.endpoints["n"].out_of_order, 0);
    assert_eq!(stats.total.out_of_order, 2);
    invariant_every_request_is_counted_once(&ledger);
}

#[test]
fn a_webhook_without_an_id_is_known_by_its_body() {
    let mut ledger = Ledger::new();
    let line = |digest| Line {
        webhook_id: None,
        body_sha256: crate::line::Digest([digest; 32]),
        ..request("m", "", "p", 1)
    };
    for digest in [1, 1, 2] {
        answered(&mut ledger, line(digest), 200);
    }
    assert_eq!((ledger.total.distinct, ledger.total.duplicates), (2, 1));
}

#[test]
fn past_the_bound_the_oldest_details_go_and_the_counts_stay() {
    let entries_max = 1_000;
    let mut ledger = Ledger { entries_max, ..Ledger::new() };
    let late = ledger.receive(&mut request("m", "late", "p", 1));
    for number in 0..entries_max {
        answered(&mut ledger, request("m", &number.to_string(), "p", 1), 200);
    }
    // Its entry is gone, its answer still counts.
    ledger.answer(late, 200);
    answered(&mut ledger, request("m", "late", "p", 1), 200);
    let stats = ledger.stats();
    let all = entries_max as u64 + 1;
    assert_eq!((stats.total.received, stats.total.distinct), (all + 1, all));
    assert_eq!((stats.total.duplicates, stats.ledger.entries_dropped), (1, 2));
    assert_eq!(stats.ledger.entries, entries_max);
    assert!(stats.ledger.is_exact);
    invariant_every_request_is_counted_once(&ledger);
}

#[test]
fn pages_lead_to_every_entry_of_a_merchant_once_and_in_order() {
    let mut ledger = Ledger::new();
    for number in 0..SCAN_ENTRIES * 3 {
        let merchant = if number % 1_000 == 7 { "rare" } else { "m" };
        answered(&mut ledger, request(merchant, &format!("w{number}"), "p", 1), 200);
    }
    for (merchant, expected) in [(Some("rare"), 15), (None, SCAN_ENTRIES * 3), (Some("no"), 0)] {
        let (mut numbers, mut after) = (Vec::new(), 0);
        loop {
            let page = ledger.page(merchant, after, 100);
            numbers.extend(page.entries.iter().map(|line| line.number));
            let Some(next) = page.next else { break };
            after = next;
        }
        assert_eq!(numbers.len(), expected, "{merchant:?}");
        assert!(numbers.is_sorted_by(|a, b| a < b));
    }
}

#[test]
fn merchants_beyond_the_bound_are_counted_together() {
    let mut ledger = Ledger::new();
    for number in 0..MERCHANTS_MAX + 5 {
        answered(&mut ledger, request(&format!("m{number}"), "a", "p", 1), 500);
    }
    let stats = ledger.stats();
    assert_eq!(stats.endpoints[OTHERS].received, 5);
    assert_eq!(stats.total.received, MERCHANTS_MAX as u64 + 5);
}
