//! Announcing again: everything that waits, and what finished since the last confirmed commit.
//!
//! It runs between the creation of a slot and the start of its stream, so there is no gap: a row
//! that committed before the slot is read here, one that committed after it is in the stream. What
//! finished comes first, in the order in which it did, since an endpoint's earlier deliveries
//! finish earlier; then what waits; then what finished while this ran. A delivery may be announced
//! twice; none is left out. Pages are bounded, and so is what is in flight.

use std::time::{Duration, Instant};

use observability::Health;
use store::{FinishedCursor, Owed, Store};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::announcer::Announcer;
use crate::error::Error;
use crate::parking;
use crate::record::Record;

/// Rows of one statement.
const PAGE_ROWS: i64 = 500;
/// Stretch of time that one statement looks at where much finished.
const STRETCH_MIN: Duration = Duration::from_secs(10);
/// The same where nothing did: an hour at full load is still read in seconds.
const STRETCH_MAX: Duration = Duration::from_secs(3600);
/// A row may become visible a moment after it was stamped with the database's clock.
const CLOCK_MARGIN: Duration = Duration::from_secs(1);
/// How often it says how far it is.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// Announces again what is owed; ends when Kafka has all of it.
pub(crate) async fn republish(
    store: &Store,
    announcer: &mut Announcer,
    owed: Owed,
    health: &Health,
) -> Result<(), Error> {
    let mut run = Run { store, announcer, health, rows: 0, parked: 0, said_at: Instant::now() };
    let began_at = store.database_now().await?;
    if let Some(since) = owed.since {
        run.finished(since, began_at).await?;
    }
    let finished = run.rows;
    run.waiting().await?;
    let waiting = run.rows - finished;
    // One that stopped waiting before its page was read has finished since.
    let until = store.database_now().await? + CLOCK_MARGIN;
    run.finished(began_at - CLOCK_MARGIN, until).await?;
    let finished = run.rows - waiting;
    while !run.announcer.is_idle() {
        run.announcer.announced().await?;
    }
    tracing::warn!(waiting, finished, parked = run.parked, "announced again");
    Ok(())
}

struct Run<'a> {
    store: &'a Store,
    announcer: &'a mut Announcer,
    health: &'a Health,
    rows: u64,
    parked: u64,
    said_at: Instant,
}

impl Run<'_> {
    async fn waiting(&mut self) -> Result<(), Error> {
        let mut after = Uuid::nil();
        loop {
            let page = self.store.waiting_deliveries(after, PAGE_ROWS).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = *last;
            for (_, row) in page {
                self.announce(&row).await?;
            }
        }
    }

    async fn finished(
        &mut self,
        since: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<(), Error> {
        let mut stretch = STRETCH_MIN;
        let mut after = FinishedCursor { finished_at: since, id: Uuid::nil() };
        while after.finished_at < until {
            let end = until.min(after.finished_at + stretch);
            let page = self.store.finished_deliveries(after, end, PAGE_ROWS).await?;
            let is_full = page.len() as i64 == PAGE_ROWS;
            after = match page.last() {
                Some((last, _)) if is_full => *last,
                _ => FinishedCursor { finished_at: end, id: Uuid::nil() },
            };
            stretch = if is_full { STRETCH_MIN } else { (stretch * 2).min(STRETCH_MAX) };
            for (_, row) in page {
                self.announce(&row).await?;
            }
        }
        Ok(())
    }

    async fn announce(&mut self, row: &store::DeliveryText) -> Result<(), Error> {
        while !self.announcer.has_room() {
            self.announcer.announced().await?;
        }
        match Record::of(row) {
            Ok(record) => self.announcer.announce(record, None, None)?,
            Err(odd) => {
                let value = serde_json::to_vec(&row.id).unwrap_or_default();
                parking::park(self.store, parking::FROM_TABLE, 0, &value, &odd).await?;
                self.parked += 1;
            }
        }
        self.rows += 1;
        if self.said_at.elapsed() > SAY_EVERY {
            self.said_at = Instant::now();
            let rows = self.rows;
            tracing::info!(rows, "announcing again what waits");
            self.health.not_ready("slot", format!("announcing again what waits: {rows} so far"));
        }
        Ok(())
    }
}
