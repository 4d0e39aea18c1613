//! An endpoint's journal, and where it stands by it, as they are shown to people.
//!
//! Read only. The journal is read in pages: that of an endpoint with a hard life is long.

use domain::EndpointId;
use domain::endpoint::{EndpointEvent, EndpointState, Faulty};
use sqlx::Row;
use time::OffsetDateTime;

use crate::form::{event_in, state_in};
use crate::turn::faulty_of;
use crate::{Store, StoreError};

/// Waiting deliveries are counted up to here; who has more needs no exact number.
const COUNTED_MAX: i64 = 10_001;

/// An event of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    /// Its number, from 1.
    pub version: i64,
    /// What happened.
    pub event: EndpointEvent,
    /// Who asked; none: an attempt found it.
    pub actor: Option<String>,
}

/// Where an endpoint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The fold, as it is kept.
    pub state: EndpointState,
    /// Number of the last event in it.
    pub version: i64,
    /// How many deliveries wait; 10001: more than 10000.
    pub waiting: i64,
    /// When the row of the first in line was written.
    pub waiting_since: Option<OffsetDateTime>,
    /// When the first of those that stepped aside is due.
    pub aside_until: Option<OffsetDateTime>,
    /// When somebody last looked at it, or an operator changed it; none: never.
    pub looked_at: Option<OffsetDateTime>,
    /// What stepped aside on a fault of ours.
    pub faulty: Option<Faulty>,
    /// When it was deleted, if it was.
    pub deleted_at: Option<OffsetDateTime>,
}

impl Store {
    /// Where `endpoint` stands, or stood when it was deleted; none when there never was one.
    ///
    /// # Errors
    /// When the database is away, or the state cannot be read by this version.
    pub async fn standing(&self, endpoint: EndpointId) -> Result<Option<Standing>, StoreError> {
        let row = sqlx::query(
            "select r.state, r.version, e.deleted_at,
                 nullif(r.looked_at, '-infinity') as looked_at,
                 f.id as faulty_id, f.fault as faulty_fault, f.since as faulty_since,
                 f.others as faulty_others,
                 (select count(*) from (select from deliveries d
                     where d.endpoint_id = r.endpoint_id limit $2) counted) as waiting,
                 (select d.created_at from deliveries d
                     where d.endpoint_id = r.endpoint_id and d.next_attempt_at is null
                     order by d.sequence limit 1) as waiting_since,
                 (select d.next_attempt_at from deliveries d
                     where d.endpoint_id = r.endpoint_id and d.next_attempt_at is not null
                     order by d.next_attempt_at limit 1) as aside_until
             from endpoint_runtime r
             join endpoints e on e.id = r.endpoint_id
             left join lateral faulty(r.endpoint_id) f on true
             where r.endpoint_id = $1",
        )
        .bind(endpoint.uuid())
        .bind(COUNTED_MAX)
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Standing {
            state: state_in(&row, "state")?,
            version: row.try_get("version")?,
            waiting: row.try_get("waiting")?,
            waiting_since: row.try_get("waiting_since")?,
            aside_until: row.try_get("aside_until")?,
            looked_at: row.try_get("looked_at")?,
            faulty: faulty_of(&row)?,
            deleted_at: row.try_get("deleted_at")?,
        }))
    }

    /// The last event of `endpoint`, up to the one numbered `upto`, after which nothing stands in its
    /// way whatever came before: it had recovered, or what stood there was forgotten. 0: none.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn last_fresh_start(
        &self,
        endpoint: EndpointId,
        upto: i64,
    ) -> Result<i64, StoreError> {
        let version: Option<i64> = sqlx::query_scalar(
            "select version from endpoint_events
             where endpoint_id = $1 and version <= $2
                 and (event ->> 'type' in ('recovered', 'url_changed')
                     or (event ->> 'type' = 'enabled' and event ->> 'because' = 'operator'))
             order by version desc limit 1",
        )
        .bind(endpoint.uuid())
        .bind(upto)
        .fetch_optional(&self.pool)
        .await?;
        Ok(version.unwrap_or(0))
    }

    /// The last event of `endpoint`, up to the one numbered `upto`, that said whether it may be sent
    /// to; none: it was always active.
    ///
    /// # Errors
    /// When the database is away, or the event cannot be read by this version.
    pub async fn last_status_event(
        &self,
        endpoint: EndpointId,
        upto: i64,
    ) -> Result<Option<EndpointEvent>, StoreError> {
        let row = sqlx::query(
            "select schema_version, event from endpoint_events
             where endpoint_id = $1 and version <= $2
                 and event ->> 'type' in ('paused', 'resumed', 'disabled', 'enabled')
             order by version desc limit 1",
        )
        .bind(endpoint.uuid())
        .bind(upto)
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(event_in).transpose()
    }

    /// Up to `limit` events of `endpoint` after the one numbered `after`, oldest first.
    ///
    /// # Errors
    /// When the database is away, or an event cannot be read by this version.
    pub async fn journal(
        &self,
        endpoint: EndpointId,
        after: i64,
        limit: i64,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        sqlx::query(
            "select version, schema_version, event, actor from endpoint_events
             where endpoint_id = $1 and version > $2 order by version limit $3",
        )
        .bind(endpoint.uuid())
        .bind(after)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(|row| {
            Ok(JournalEntry {
                version: row.try_get("version")?,
                event: event_in(row)?,
                actor: row.try_get("actor")?,
            })
        })
        .collect()
    }
}
