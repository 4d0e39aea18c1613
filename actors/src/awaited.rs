//! Announcements that came before their row: behind a CDC that does not wait for it.
//!
//! Our relay publishes a record when every reader sees its row. Another producer may be earlier: the
//! order of the WAL is not the order of visibility. A wake that looked too early would find nothing,
//! and nothing would wake again; so whoever is told by such a record looks for the row first, and
//! comes back when it is not there. What enters is a record's delivery, what leaves is whether to
//! wake now or when to come back.

use std::time::Duration;

use domain::DeliveryId;
use serde::{Deserialize, Serialize};
use store::Found;

use crate::persist::{About, persist};
use crate::worker::Worker;

/// The topic of our relay. Its records wait for their rows; those of any other topic may not have.
pub(crate) const OF_OUR_RELAY: &str = "webhook-wakes";
/// Rows are visible milliseconds after their record, as a rule.
const BACK_IN_FIRST: Duration = Duration::from_millis(100);
/// A synchronous standby that is away holds back a commit for longer.
const BACK_IN_MAX: Duration = Duration::from_secs(30);
/// Then it wakes all the same: ten minutes, after which the row is nobody's (a forged record, or one
/// that is older than what is kept). An extra look costs nothing.
const LOOKS_MAX: u32 = 28;

/// Looks for rows, of so many connections: the others are the slices'.
const CONNECTIONS_PER_LOOK: u32 = 4;

/// A delivery whose row is there, or was not visible yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Awaited {
    pub(crate) delivery: DeliveryId,
    /// How often its row was looked for in vain.
    pub(crate) looks: u32,
    /// Its row was seen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_seen: bool,
}

/// What to do about an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Arrival {
    /// Its row is there, or will not come: wake.
    Wake,
    /// It has ended: there is nobody to wake for it.
    Over,
    /// Look for its row again then.
    Back { after: Duration, awaited: Awaited },
}

/// Does a record of this topic say by itself that its row is visible?
pub(crate) fn is_trusted(topic: &str) -> bool {
    topic == OF_OUR_RELAY
}

/// How many look for a row at a time, of so many connections.
pub(crate) fn looks_at_once(connections_max: u32) -> usize {
    (connections_max / CONNECTIONS_PER_LOOK).max(1) as usize
}

impl Awaited {
    /// Of a record that has just come.
    pub(crate) const fn first(delivery: DeliveryId) -> Self {
        Self { delivery, looks: 0, is_seen: false }
    }

    /// Looks for the row, and says what follows.
    ///
    /// # Errors
    /// When the database stays away.
    pub(crate) async fn look(self, worker: &Worker) -> Result<Arrival, store::StoreError> {
        // Never closed; without a place it would only be one more look.
        let _place = worker.row_looks.acquire().await;
        let about = About { delivery: Some(self.delivery), ..About::default() };
        let find = || worker.store.find_delivery(self.delivery);
        let found = persist("where is its row", about, find).await?;
        Ok(self.next(found))
    }

    fn next(self, found: Found) -> Arrival {
        let looks = self.looks + 1;
        match found {
            Found::Waiting => return Arrival::Wake,
            Found::Finished => return Arrival::Over,
            Found::Nowhere => {}
        }
        if looks >= LOOKS_MAX {
            tracing::warn!(delivery = %self.delivery, "a record's row never became visible");
            return Arrival::Wake;
        }
        let doubled = BACK_IN_FIRST.saturating_mul(1 << self.looks.min(16));
        Arrival::Back { after: doubled.min(BACK_IN_MAX), awaited: Self { looks, ..self } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_not_there_is_looked_for_again_soon_and_not_for_ever() {
        let mut awaited = Awaited::first(uuid::Uuid::nil().into());
        assert_eq!(awaited.next(Found::Waiting), Arrival::Wake);
        assert_eq!(awaited.next(Found::Finished), Arrival::Over);
        let mut waits = Vec::new();
        while let Arrival::Back { after, awaited: again } = awaited.next(Found::Nowhere) {
            waits.push(after);
            awaited = again;
        }
        assert_eq!(waits[0], Duration::from_millis(100));
        assert!(waits.is_sorted() && waits.last() == Some(&BACK_IN_MAX), "{waits:?}");
        let all: Duration = waits.iter().sum();
        assert!((540..660).contains(&all.as_secs()), "{all:?}");
    }

    #[test]
    fn only_our_relay_is_believed_about_its_rows() {
        assert!(is_trusted("webhook-wakes"));
        assert!(!is_trusted("webhook-events") && !is_trusted("(not by Kafka)"));
    }
}
