//! A record on the topic means: every reader sees the row.
//!
//! The WAL has a transaction as committed a moment before readers see it. So a batch waits until
//! its transactions are in no new snapshot any more: one question per batch, and nearly always one
//! is enough. It never gives up by publishing anyway.

use std::time::{Duration, Instant};

use store::Store;

use crate::error::Error;

/// First pause between two looks, doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// Longest pause between two looks.
const PAUSE_MAX: Duration = Duration::from_millis(16);
/// A transaction that is invisible for so long waits for a standby: start over, and say so.
const LIMIT: Duration = Duration::from_secs(30);

/// Waits until readers see the transactions `xids` (the low halves of their ids, as the WAL has
/// them).
pub(crate) async fn wait_until_visible(store: &Store, xids: &[u32]) -> Result<(), Error> {
    let began = Instant::now();
    let mut pause = PAUSE_MIN;
    while !xids.is_empty() {
        let snapshot = store.snapshot().await?;
        let Some(&xid) = xids.iter().find(|xid| !snapshot.low_half_has_ended(**xid)) else {
            break;
        };
        if began.elapsed() > LIMIT {
            return Err(Error::Invisible { xid, limit: LIMIT });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    Ok(())
}
