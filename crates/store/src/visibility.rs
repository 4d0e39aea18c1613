//! Which transactions a reader sees now.
//!
//! The order of the WAL is not the order of visibility: a transaction that the WAL has as committed
//! may still be in progress for everybody who reads. A snapshot says which are.

use domain::{DeliveryId, EndpointId};
use sqlx::Row;
use uuid::Uuid;

use crate::{Store, StoreError};

/// PostgreSQL's `pg_snapshot`: every transaction below `xmin` has ended, none from `xmax` on has,
/// and between the two those listed have not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    xmin: u64,
    xmax: u64,
    in_progress: Vec<u64>,
}

impl Snapshot {
    /// Reads the text form, `xmin:xmax:xid,xid,…`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let xmin = parts.next()?.parse().ok()?;
        let xmax = parts.next()?.parse().ok()?;
        let listed = parts.next()?;
        let in_progress = if listed.is_empty() {
            Vec::new()
        } else {
            listed.split(',').map(|xid| xid.parse().ok()).collect::<Option<Vec<u64>>>()?
        };
        Some(Self { xmin, xmax, in_progress })
    }

    fn read(text: &str) -> Result<Self, StoreError> {
        Self::parse(text).ok_or_else(|| StoreError::Unreadable {
            table: "pg_current_snapshot()",
            what: "it is not of the form xmin:xmax:xid,xid".to_owned(),
        })
    }

    /// Has the transaction `xid` ended for whoever reads with this snapshot?
    pub fn has_ended(&self, xid: u64) -> bool {
        xid < self.xmin || (xid < self.xmax && !self.in_progress.contains(&xid))
    }

    /// The same of a transaction of which only the low half of the id is known, as in the WAL.
    ///
    /// It is the one nearest to the snapshot: PostgreSQL keeps ids that are in use, a slot's among
    /// them, within half of the 32 bits.
    pub fn low_half_has_ended(&self, xid: u32) -> bool {
        const EPOCH: u64 = 1 << 32;
        let candidate = (self.xmax & !(EPOCH - 1)) | u64::from(xid);
        let xid = if candidate > self.xmax + EPOCH / 2 {
            // Of the epoch before; in the first epoch there is none.
            candidate.checked_sub(EPOCH).unwrap_or(candidate)
        } else if candidate + EPOCH / 2 < self.xmax {
            candidate + EPOCH
        } else {
            candidate
        };
        self.has_ended(xid)
    }
}

/// Where a reader finds a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It waits.
    Waiting,
    /// It has ended. One that is being put back in line counts as ended until that has committed.
    Finished,
    /// Nowhere, yet.
    Nowhere,
}

impl Store {
    /// The fences of `endpoints`, of those that there are: every look changes its endpoint's. None:
    /// somebody changes the row just now. One snapshot, so a look that has begun and not committed is
    /// told from none.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn fences(
        &self,
        endpoints: &[EndpointId],
    ) -> Result<Vec<(EndpointId, Option<Uuid>)>, StoreError> {
        let ids: Vec<Uuid> = endpoints.iter().map(|endpoint| endpoint.uuid()).collect();
        let rows = sqlx::query(
            "select endpoint_id, fence, xmax::text as changed_by, pg_current_snapshot()::text as now
             from endpoint_runtime where endpoint_id = any($1)",
        )
        .bind(ids)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                let now = Snapshot::read(row.try_get("now")?)?;
                let changed_by = row.try_get::<&str, _>("changed_by")?.parse().unwrap_or(u32::MAX);
                // 0: nobody. Who has ended and left this row as it is was rolled back.
                let is_at_rest = changed_by == 0 || now.low_half_has_ended(changed_by);
                let fence = is_at_rest.then(|| row.try_get("fence")).transpose()?;
                Ok((row.try_get::<Uuid, _>("endpoint_id")?.into(), fence))
            })
            .collect()
    }

    /// What a statement that begins now would see.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let text: String =
            sqlx::query_scalar("select pg_current_snapshot()::text").fetch_one(&self.pool).await?;
        Snapshot::read(&text)
    }

    /// Where does a reader find this delivery's row?
    ///
    /// # Errors
    /// When the database is away.
    pub async fn find_delivery(&self, delivery: DeliveryId) -> Result<Found, StoreError> {
        let row = sqlx::query(
            "select exists (select from deliveries where id = $1) as is_waiting,
                 (select xmax::text from finished_deliveries where id = $1 limit 1) as taken_by,
                 pg_current_snapshot()::text as now",
        )
        .bind(delivery.uuid())
        .fetch_one(&self.pool)
        .await?;
        if row.try_get("is_waiting")? {
            return Ok(Found::Waiting);
        }
        let Some(taken_by) = row.try_get::<Option<&str>, _>("taken_by")? else {
            return Ok(Found::Nowhere);
        };
        let taken_by = taken_by.parse().unwrap_or(u32::MAX);
        let now = Snapshot::read(row.try_get("now")?)?;
        // Who puts it back in line takes it from there: this is the old row until that is seen.
        let is_put_back = taken_by != 0 && !now.low_half_has_ended(taken_by);
        Ok(if is_put_back { Found::Nowhere } else { Found::Finished })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_has_ended_below_xmin_or_when_it_is_not_listed() {
        let snapshot = Snapshot::parse("10:20:12,15").expect("parses");
        for ended in [1, 9, 10, 11, 13, 19] {
            assert!(snapshot.has_ended(ended), "{ended}");
        }
        for running in [12, 15, 20, 21, u64::MAX] {
            assert!(!snapshot.has_ended(running), "{running}");
        }
    }

    #[test]
    fn a_low_half_is_read_as_the_id_next_to_the_snapshot_on_either_side_of_a_wrap() {
        let after_a_wrap = Snapshot::parse("8589934595:8589934600:8589934597").expect("parses");
        assert!(after_a_wrap.low_half_has_ended(u32::MAX), "of the epoch before");
        assert!(after_a_wrap.low_half_has_ended(2));
        assert!(!after_a_wrap.low_half_has_ended(5), "listed");
        assert!(!after_a_wrap.low_half_has_ended(8), "not begun");
        let before_a_wrap = Snapshot::parse("8589934590:8589934590:").expect("parses");
        assert!(before_a_wrap.low_half_has_ended(u32::MAX - 2));
        assert!(!before_a_wrap.low_half_has_ended(1), "of the next epoch");
        let first_epoch = Snapshot::parse("700:700:").expect("parses");
        assert!(first_epoch.low_half_has_ended(699) && !first_epoch.low_half_has_ended(u32::MAX));
    }

    #[test]
    fn an_empty_list_is_read_and_anything_else_is_refused() {
        let snapshot = Snapshot::parse("7:7:").expect("parses");
        assert!(snapshot.has_ended(6) && !snapshot.has_ended(7));
        for bad in ["", "1", "1:2", "a:b:", "1:2:3,", "1:2:3,x"] {
            assert_eq!(Snapshot::parse(bad), None, "{bad}");
        }
    }
}
