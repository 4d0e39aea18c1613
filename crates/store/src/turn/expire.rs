//! Deliveries that waited for too long: a pause that was forgotten for two months, or for as long
//! as their endpoint's policy says.
//!
//! Found by their ids, which are times, along the primary key; each ends in a transaction of its
//! own under its endpoint's lock. Whether it has really waited for too long is the domain's to say.

use domain::endpoint::{Command, Disposition, Jitter, Policy, decide};
use domain::{DeliveryId, EndpointId};
use sqlx::Row;
use time::OffsetDateTime;
use uuid::Uuid;

use super::command::{append, finish, lock};
use super::delete::cancel;
use crate::{Alone, StoreError};

/// What one step of the expiry came to.
#[derive(Debug)]
pub struct Expired {
    /// What ended.
    pub ended: Vec<ExpiredDelivery>,
    /// Deliveries that everything behind them had waited for, and their endpoints: wake these.
    pub unblocked: Vec<(EndpointId, DeliveryId)>,
    /// Where the next step goes on; none: this was the last.
    pub next: Option<DeliveryId>,
    /// What ended the step before its end: the database is away.
    pub error: Option<StoreError>,
}

/// A delivery that waited for too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiredDelivery {
    /// Whose it was.
    pub endpoint: EndpointId,
    /// Which one.
    pub delivery: DeliveryId,
    /// How often it was attempted.
    pub attempts: u32,
    /// The context of the transaction that wrote it, if it has one.
    pub traceparent: Option<String>,
}

/// What became of one.
enum Ended {
    No,
    Yes { unblocks: bool },
}

// A delivery that was put back keeps its id: its row is younger than that. Nobody waits for less
// than the shortest limit that an endpoint has, so younger ones are not read at all.
const CANDIDATES: &str = "
    with limits (endpoint_id, lasts) as (
        select id, make_interval(secs => coalesce((policy ->> 'expires_after_s')::float8, $2))
        from endpoints)
    select d.id, d.endpoint_id, d.created_at, d.attempts, d.traceparent
    from deliveries d join limits l using (endpoint_id)
    where d.id > $1
        and d.id < uuidv7_floor(clock_timestamp() - (select min(lasts) from limits))
        and d.created_at < clock_timestamp() - l.lasts
    order by d.id limit $3";

impl Alone {
    /// Ends what waited for too long, among at most `limit` of the oldest after `after`.
    ///
    /// # Errors
    /// When the database is away before anything has ended; later it is told beside what has.
    pub async fn expire_deliveries(
        &self,
        after: Option<DeliveryId>,
        limit: u16,
    ) -> Result<Expired, StoreError> {
        let rows = sqlx::query(CANDIDATES)
            .bind(after.map_or(Uuid::nil(), DeliveryId::uuid))
            .bind(Policy::default().expires_after.as_secs_f64())
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        let mut expired =
            Expired { ended: Vec::new(), unblocked: Vec::new(), next: None, error: None };
        for row in &rows {
            let delivery = row.try_get::<Uuid, _>("id")?.into();
            let endpoint = row.try_get::<Uuid, _>("endpoint_id")?.into();
            let since = row.try_get("created_at")?;
            let ended = match self.expire_one(endpoint, delivery, since).await {
                Ok(ended) => ended,
                Err(error) => return Ok(Expired { next: None, error: Some(error), ..expired }),
            };
            if let Ended::Yes { unblocks } = ended {
                expired.unblocked.extend(unblocks.then_some((endpoint, delivery)));
                expired.ended.push(ExpiredDelivery {
                    endpoint,
                    delivery,
                    attempts: row.try_get::<i32, _>("attempts")?.unsigned_abs(),
                    traceparent: row.try_get("traceparent")?,
                });
            }
            expired.next = Some(delivery);
        }
        if rows.len() < usize::from(limit) {
            expired.next = None;
        }
        Ok(expired)
    }

    async fn expire_one(
        &self,
        endpoint: EndpointId,
        delivery: DeliveryId,
        waiting_since: OffsetDateTime,
    ) -> Result<Ended, StoreError> {
        let mut tx = self.pool.begin().await?;
        let Some(locked) = lock(&mut tx, endpoint).await? else {
            // Its endpoint was deleted: it does not expire, it should have been cancelled.
            cancel(&mut tx, endpoint).await?;
            tx.commit().await?;
            return Ok(Ended::No);
        };
        let now: OffsetDateTime =
            sqlx::query("select clock_timestamp()").fetch_one(&mut tx).await?.try_get(0)?;
        let command = Command::Expire { delivery, waiting_since };
        let decision = decide(&locked.state, &locked.policy, &command, now, Jitter::NONE);
        if decision.disposition == Disposition::Stay
            || !finish(&mut tx, endpoint, &command, decision.disposition).await?
        {
            tx.rollback().await?;
            return Ok(Ended::No);
        }
        append(&mut tx, &locked, &decision, None).await?;
        tx.commit().await?;
        Ok(Ended::Yes { unblocks: !decision.events.is_empty() })
    }
}
