//! What is known of a delivery, of an event, of all that became of a payment: for people who ask.
//!
//! Read only, by ids and indexes alone; several reads that need not be of one moment.

use domain::endpoint::{Asked, DeliveryStory, Ended, EndpointStory, LastAttempt, Subject};
use domain::{EndpointId, PaymentId};
use sqlx::Row;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::form::state_if_any;
use crate::{Standing, Store, StoreError};

/// Deliveries that are told of one event, and events of one object; of more, the first, and that there
/// are more.
const TOLD_MAX: usize = 100;
/// One more, to know whether there are.
const ASKED_FOR: i64 = TOLD_MAX as i64 + 1;

/// What is told of a delivery; `$chosen` picks the rows of `deliveries` and `finished_deliveries`.
macro_rules! stories {
    ($waiting:literal, $finished:literal) => {
        concat!(
            "select d.id, d.event_id, d.event_type, d.object_id, d.endpoint_id, d.traceparent,
                 d.created_at, d.attempts, d.next_attempt_at, d.state, d.reason, d.finished_at,
                 case when e.deleted_at is null then r.state end as endpoint_state,
                 nullif(r.looked_at, '-infinity') as looked_at,
                 case when d.state is null then (select count(*) from (
                     select from deliveries o where o.endpoint_id = d.endpoint_id
                         and o.next_attempt_at is null and o.sequence < d.sequence
                     limit 10001) counted) else 0 end as ahead,
                 a.started_at, a.class, a.status, a.detail ->> 'sentence' as sentence
             from (
                 select id, sequence, event_id, event_type, object_id, endpoint_id, traceparent,
                     created_at, attempts, next_attempt_at, null as state, null as reason,
                     null::timestamptz as finished_at
                 from deliveries where ",
            $waiting,
            "    union all
                 select id, sequence, event_id, event_type, object_id, endpoint_id, traceparent,
                     created_at, attempts, null, state, reason, finished_at
                 from finished_deliveries where ",
            $finished,
            ") d
             left join endpoints e on e.id = d.endpoint_id
             left join endpoint_runtime r on r.endpoint_id = d.endpoint_id
             left join lateral (select * from attempts a where a.delivery_id = d.id
                 -- One that lost its fence was made by a run of the past, and decided nothing.
                 and not a.fence_lost
                 order by a.number desc limit 1) a on true
             order by d.id limit $2"
        )
    };
}

impl Store {
    /// What is known of what is `asked` about, and when; empty when there is no such thing.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn why(&self, asked: Asked) -> Result<(Vec<Subject>, OffsetDateTime), StoreError> {
        let subjects = match asked {
            Asked::Payment(payment) => {
                let mut subjects = Vec::new();
                let (events, are_all) =
                    told(self.events_where(OF_OBJECT, payment.to_string()).await?);
                for event in events {
                    subjects.extend(self.of_event(event).await?);
                }
                if !are_all {
                    subjects.push(Subject::MoreEvents(payment, TOLD_MAX));
                }
                if subjects.is_empty() {
                    subjects.push(self.without_events(payment).await?);
                }
                subjects
            }
            Asked::Event(event) => match self.events_where(OF_ID, event.uuid()).await?.pop() {
                Some(event) => self.of_event(event).await?,
                None => Vec::new(),
            },
            Asked::Delivery(delivery) => self.stories(OF_DELIVERY, delivery.uuid()).await?,
            Asked::Endpoint(endpoint) => {
                let standing = self.standing(endpoint).await?.into_iter();
                standing.map(|standing| endpoint_of(endpoint, &standing)).collect()
            }
        };
        let now =
            sqlx::query("select clock_timestamp()").fetch_one(&self.pool).await?.try_get(0)?;
        Ok((subjects, now))
    }

    /// A payment of which no event is known.
    async fn without_events(&self, payment: PaymentId) -> Result<Subject, StoreError> {
        let row = sqlx::query("select created_at from payments where id = $1")
            .bind(payment.uuid())
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(Subject::NoPayment(payment)) };
        Ok(Subject::NoEvent { payment, at: row.try_get("created_at")? })
    }

    async fn of_event(&self, event: Event) -> Result<Vec<Subject>, StoreError> {
        let (mut stories, are_all) = told(self.stories(OF_EVENT, event.id).await?);
        if !are_all {
            stories.push(Subject::MoreDeliveries(event.id.into(), TOLD_MAX));
        }
        if !stories.is_empty() {
            return Ok(stories);
        }
        let Event { id, event_type, merchant_id, at } = event;
        Ok(vec![Subject::NoDelivery { event: id.into(), event_type, merchant_id, at }])
    }

    async fn stories(&self, sql: &'static str, id: Uuid) -> Result<Vec<Subject>, StoreError> {
        let rows = sqlx::query(sql).bind(id).bind(ASKED_FOR).fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok(Subject::Delivery(Box::new(story_of(row)?)))).collect()
    }

    async fn events_where<'q, T>(
        &self,
        sql: &'static str,
        value: T,
    ) -> Result<Vec<Event>, StoreError>
    where
        T: 'q + Send + sqlx::Encode<'q, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        let rows = sqlx::query(sql).bind(value).bind(ASKED_FOR).fetch_all(&self.pool).await?;
        rows.iter()
            .map(|row| {
                Ok(Event {
                    id: row.try_get("id")?,
                    event_type: row.try_get("event_type")?,
                    merchant_id: row.try_get("merchant_id")?,
                    at: row.try_get("occurred_at")?,
                })
            })
            .collect()
    }
}

const OF_OBJECT: &str = "select id, event_type, merchant_id, occurred_at from domain_events
    where object_id = $1 order by id limit $2";
const OF_ID: &str = "select id, event_type, merchant_id, occurred_at from domain_events
    where id = $1 limit $2";
const OF_DELIVERY: &str = stories!("id = $1", "id = $1");
const OF_EVENT: &str = stories!("event_id = $1", "event_id = $1");

/// An id's time is that of the insert that drew it, to the millisecond; `created_at` of a row that
/// was put back is later than its id's time by more than this.
const PUT_BACK_LATER_BY: time::Duration = time::Duration::seconds(1);

/// What is told of these, and whether that is all.
fn told<T>(mut found: Vec<T>) -> (Vec<T>, bool) {
    let are_all = found.len() <= TOLD_MAX;
    found.truncate(TOLD_MAX);
    (found, are_all)
}

struct Event {
    id: Uuid,
    event_type: String,
    merchant_id: String,
    at: OffsetDateTime,
}

fn endpoint_of(endpoint: EndpointId, standing: &Standing) -> Subject {
    let waiting = u32::try_from(standing.waiting).unwrap_or(0);
    let Standing { state, waiting_since, aside_until, looked_at, faulty, .. } = *standing;
    let due_since = [waiting_since, aside_until].into_iter().flatten().min();
    let story = EndpointStory { endpoint, state, waiting, due_since, looked_at, faulty };
    Subject::Endpoint(Box::new(story))
}

fn story_of(row: &PgRow) -> Result<DeliveryStory, StoreError> {
    let ended = row.try_get::<Option<String>, _>("state")?.map(|state| {
        Ok::<_, StoreError>(Ended {
            state,
            reason: row.try_get("reason")?,
            at: row.try_get("finished_at")?,
        })
    });
    let last = row.try_get::<Option<OffsetDateTime>, _>("started_at")?.map(|at| {
        Ok::<_, StoreError>(LastAttempt {
            at,
            class: row.try_get("class")?,
            status: row.try_get::<Option<i32>, _>("status")?.and_then(|s| u16::try_from(s).ok()),
            sentence: row.try_get("sentence")?,
        })
    });
    let id: Uuid = row.try_get("id")?;
    let created_at = row.try_get("created_at")?;
    let first = drawn_at(id).filter(|drawn| created_at - *drawn > PUT_BACK_LATER_BY);
    Ok(DeliveryStory {
        delivery: id.into(),
        event: row.try_get::<Uuid, _>("event_id")?.into(),
        event_type: row.try_get("event_type")?,
        object_id: row.try_get("object_id")?,
        endpoint: row.try_get::<Uuid, _>("endpoint_id")?.into(),
        written_at: first.unwrap_or(created_at),
        put_back_at: first.map(|_| created_at),
        ended: ended.transpose()?,
        attempts: u32::try_from(row.try_get::<i32, _>("attempts")?).unwrap_or(0),
        next_attempt_at: row.try_get("next_attempt_at")?,
        ahead: u32::try_from(row.try_get::<i64, _>("ahead")?).unwrap_or(u32::MAX),
        last: last.transpose()?,
        state: state_if_any(row, "endpoint_state")?,
        looked_at: row.try_get("looked_at")?,
        traceparent: row.try_get("traceparent")?,
    })
}

/// When a UUID of version 7 was drawn; none of another version.
fn drawn_at(id: Uuid) -> Option<OffsetDateTime> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    let seconds = OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?;
    Some(seconds + time::Duration::nanoseconds(i64::from(nanos)))
}
