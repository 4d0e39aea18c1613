//! Rows that cannot become records: parked, loudly, before the slot moves past them.

use store::{ParkedRecord, Store, StoreError};

use crate::pgoutput::Odd;

/// Stands for a topic: the row came in the WAL; its offset is the position of the transaction.
pub(crate) const FROM_WAL: &str = "wal:deliveries";
/// Stands for a topic: the row was read from its table.
pub(crate) const FROM_TABLE: &str = "table:deliveries";
/// A row has no partition.
const NO_PARTITION: i32 = -1;

/// Parks what a row was made of.
pub(crate) async fn park(
    store: &Store,
    from: &str,
    position: i64,
    value: &[u8],
    odd: &Odd,
) -> Result<(), StoreError> {
    let reason = odd.to_string();
    let is_new = store
        .park(ParkedRecord {
            topic: from,
            partition: NO_PARTITION,
            offset: position,
            key: &[],
            value,
            reason: &reason,
        })
        .await?;
    if is_new {
        observability::metrics::relay().parked();
        tracing::error!(
            from,
            position,
            reason,
            "a row of `deliveries` cannot be announced; parked"
        );
    }
    Ok(())
}
