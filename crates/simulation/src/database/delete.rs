//! A deletion: what waits is cancelled, some of it at a time, and the sweeper looks for those at
//! which nobody looked since.

use domain::DeliveryId;
use domain::endpoint::FinishReason;

use super::Database;
use crate::clock::{DAY, Micros};
use crate::mutation::Mutation;

/// Cancelled in one statement: fewer than the product does, so that there is more now and then.
const AT_ONCE: usize = 3;

impl Database {
    /// The part of a deletion's transaction that is no event.
    pub(super) fn erase(&mut self, now: Micros) {
        self.deleted_at = Some(now);
        self.cancel_for_deleted();
    }

    /// Cancels some of what waits, if the endpoint was deleted; true when there may be more.
    pub(crate) fn cancel_for_deleted(&mut self) -> bool {
        if self.deleted_at.is_none() {
            return false;
        }
        let ids: Vec<DeliveryId> =
            self.waiting.values().take(AT_ONCE).map(|row| row.facts.id).collect();
        for delivery in &ids {
            self.finish(*delivery, FinishReason::Deleted);
        }
        ids.len() >= AT_ONCE
    }

    /// Since when a deleted endpoint waits for somebody to look, while the sweeper looks for it.
    pub(super) fn unseen_since(&self, now: Micros) -> Option<Micros> {
        let is_new = |at: &Micros| self.looked_at <= *at && now < *at + DAY;
        self.deleted_at.filter(is_new).filter(|_| !self.rules.has(Mutation::DeletedNotSwept))
    }
}
