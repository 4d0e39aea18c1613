//! Deliveries that waited for too long: a pause that was forgotten for two months.
//!
//! Found by their ids, which are times, along the primary key; each ends in a transaction of its
//! own under its endpoint's lock. Whether it has really waited for too long is the domain's to say.

use domain::endpoint::{Command, Jitter, Policy, decide};
use domain::{DeliveryId, EndpointId};
use sqlx::Row;
use sqlx::postgres::types::PgInterval;
use time::OffsetDateTime;
use uuid::Uuid;

use super::command::{append, finish, lock};
use crate::{Store, StoreError};

/// What one step of the expiry came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expired {
    /// How many ended.
    pub count: u32,
    /// Where the next step goes on; none: this was the last.
    pub next: Option<DeliveryId>,
}

impl Store {
    /// Ends what waited for too long, among at most `limit` of the oldest after `after`.
    ///
    /// # Errors
    /// When the database is away. What has ended by then has.
    pub async fn expire_deliveries(
        &self,
        after: Option<DeliveryId>,
        limit: u16,
    ) -> Result<Expired, StoreError> {
        let micros = Policy::default().expires_after.as_micros();
        let microseconds = i64::try_from(micros).unwrap_or(i64::MAX);
        // A delivery that was put back keeps its id: its row is younger than that.
        let rows = sqlx::query(
            "select id, endpoint_id, created_at from deliveries
             where id > $1 and id < uuidv7_floor(clock_timestamp() - $2)
                 and created_at < clock_timestamp() - $2
             order by id limit $3",
        )
        .bind(after.map_or(Uuid::nil(), DeliveryId::uuid))
        .bind(PgInterval { months: 0, days: 0, microseconds })
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        let mut expired = Expired { count: 0, next: None };
        for row in &rows {
            let delivery = row.try_get::<Uuid, _>("id")?.into();
            let endpoint = row.try_get::<Uuid, _>("endpoint_id")?.into();
            let since = row.try_get("created_at")?;
            expired.count += u32::from(self.expire_one(endpoint, delivery, since).await?);
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
    ) -> Result<bool, StoreError> {
        let mut tx = self.pool.begin().await?;
        let Some(locked) = lock(&mut tx, endpoint).await? else { return Ok(false) };
        let now: OffsetDateTime =
            sqlx::query("select clock_timestamp()").fetch_one(&mut *tx).await?.try_get(0)?;
        let command = Command::Expire { delivery, waiting_since };
        let decision = decide(&locked.state, &locked.policy, &command, now, Jitter::NONE);
        if decision.disposition == domain::endpoint::Disposition::Stay
            || !finish(&mut tx, endpoint, &command, decision.disposition).await?
        {
            return Ok(false);
        }
        append(&mut tx, &locked, &decision, None).await?;
        tx.commit().await?;
        Ok(true)
    }
}
