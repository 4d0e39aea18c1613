//! Where a payment stands that did not arrive: its rows, from PostgreSQL.

use bench::Event;
use store::Store;

use crate::delivery_show;

/// Attempts of a delivery that are shown.
const ATTEMPTS_MAX: i64 = 20;
/// Payments whose rows are shown; the rest is counted.
const NAMED_MAX: usize = 10;

/// What the database says of these, ready to print.
pub(super) async fn of(store: &Store, lost: &[Event]) -> anyhow::Result<String> {
    let mut text = String::new();
    for event in lost.iter().take(NAMED_MAX) {
        text.push_str(&format!("\n{} {}\n", event.payment, event.kind.event_type()));
        let deliveries = store.shown_deliveries_about(&event.payment.to_string()).await?;
        if deliveries.is_empty() {
            text.push_str("  there is no delivery of it now\n");
        }
        for delivery in deliveries {
            let attempts = store.shown_attempts(delivery.id, ATTEMPTS_MAX).await?;
            text.push_str(&delivery_show::timeline(&delivery, &attempts)?);
        }
    }
    if let more @ 1.. = lost.len().saturating_sub(NAMED_MAX) {
        text.push_str(&format!("\nand {more} more\n"));
    }
    Ok(text)
}
