//! A look: take the turn, read where the endpoint stands and what is due.

use domain::endpoint::{DeliveryFacts, EndpointState, Faulty, Ordering, Policy};
use domain::{DeliveryId, EndpointId, EventId, EventType, Fault, Invalid, MerchantId};
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::faulty::faulty_of;
use crate::form::state_in;
use crate::{SealedSecret, Store, StoreError};

/// What a look saw, all at one moment of PostgreSQL's clock.
#[derive(Debug, Clone)]
pub struct Look {
    /// PostgreSQL's clock at the look: the only clock that decides.
    pub now: OffsetDateTime,
    /// Where the endpoint stands.
    pub state: EndpointState,
    /// Number of the last event in `state`.
    pub version: u64,
    /// How it is to be dealt with.
    pub endpoint: EndpointConfig,
    /// Its live secrets, newest first; empty when nothing is due.
    pub secrets: Vec<LiveSecret>,
    /// What is due, by sequence, at most as many as were asked for.
    pub due: Vec<DueDelivery>,
    /// When the next delivery that stepped aside comes back.
    pub next_due: Option<OffsetDateTime>,
    /// What stepped aside on a fault of ours. Not asked for where nobody is aside.
    pub faulty: Option<Faulty>,
}

/// An endpoint as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointConfig {
    /// Whose it is.
    pub merchant_id: MerchantId,
    /// Where it is; checked again before each connection.
    pub url: String,
    /// Its order and its clocks.
    pub policy: Policy,
    /// Headers of the merchant's own, sealed; none when there are none.
    pub headers: Option<SealedSecret>,
    /// Does the merchant get our trace context?
    pub send_traceparent: bool,
    /// Changes with every change of the above.
    pub config_version: i64,
}

/// A secret that signs now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveSecret {
    /// Its version within the endpoint.
    pub version: i32,
    /// As it is kept.
    pub sealed: SealedSecret,
}

/// A delivery whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueDelivery {
    /// What the rules need to know of it.
    pub facts: DeliveryFacts,
    /// Its event: the `webhook-id`.
    pub event_id: EventId,
    /// Its event's type.
    pub event_type: EventType,
    /// What it is about.
    pub object_id: String,
    /// When the event occurred, as whoever wrote it says.
    pub occurred_at: OffsetDateTime,
    /// When the transaction that made the delivery wrote it, by PostgreSQL's clock.
    pub created_at: OffsetDateTime,
    /// The trace of the transaction that wrote it.
    pub traceparent: Option<String>,
    /// The fault of ours on which it stepped aside, if it did so last: for people.
    pub fault: Option<Fault>,
}

/// What a last look saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastLook {
    /// PostgreSQL's clock.
    pub now: OffsetDateTime,
    /// Number of the last event of the endpoint's journal: another than the look before left, and
    /// what it said of the endpoint is old.
    pub version: u64,
    /// Something could be sent now: only a look tells what.
    pub is_due: bool,
    /// When the next delivery that stepped aside comes back; none when the whole endpoint waits.
    pub next_due: Option<OffsetDateTime>,
}

impl Store {
    /// Is anything due at `endpoint`? Takes no turn.
    ///
    /// None when there is no such endpoint, or it was deleted.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn last_look(&self, endpoint: EndpointId) -> Result<Option<LastLook>, StoreError> {
        sqlx::query("select * from anything_due($1)")
            .bind(endpoint.uuid())
            .fetch_optional(&self.pool)
            .await?
            .map(|row| {
                Ok(LastLook {
                    now: row.try_get("asked_at")?,
                    version: unsigned(row.try_get("version")?),
                    is_due: row.try_get("is_due")?,
                    next_due: row.try_get("next_due")?,
                })
            })
            .transpose()
    }

    /// Takes `endpoint`'s turn with `fence` and reads at most `limit` due deliveries.
    ///
    /// None when there is no such endpoint, or it was deleted.
    ///
    /// # Errors
    /// When the database is away, or a row cannot be read by this version.
    pub async fn look(
        &self,
        endpoint: EndpointId,
        limit: u16,
        fence: Uuid,
    ) -> Result<Option<Look>, StoreError> {
        sqlx::query("select * from look($1, $2, $3)")
            .bind(endpoint.uuid())
            .bind(i32::from(limit))
            .bind(fence)
            .fetch_optional(&self.pool)
            .await?
            .as_ref()
            .map(look_of)
            .transpose()
    }
}

fn look_of(row: &PgRow) -> Result<Look, StoreError> {
    let endpoints =
        |invalid: Invalid| StoreError::Unreadable { table: "endpoints", what: invalid.to_string() };
    Ok(Look {
        now: row.try_get("looked_at")?,
        state: state_in(row, "state")?,
        version: unsigned(row.try_get("version")?),
        endpoint: EndpointConfig {
            merchant_id: MerchantId::try_from(row.try_get::<String, _>("merchant_id")?)
                .map_err(endpoints)?,
            url: row.try_get("url")?,
            policy: policy_of(row)?,
            headers: headers_of(row)?,
            send_traceparent: row.try_get("send_traceparent")?,
            config_version: row.try_get("config_version")?,
        },
        secrets: secrets_of(row)?,
        due: due_of(row)?,
        next_due: row.try_get("next_due")?,
        faulty: faulty_of(row)?,
    })
}

/// The policy of a row that has an endpoint's `policy` and `ordering`.
pub(super) fn policy_of(row: &PgRow) -> Result<Policy, StoreError> {
    let unreadable =
        |invalid: Invalid| StoreError::Unreadable { table: "endpoints", what: invalid.to_string() };
    let ordering = Ordering::try_from(row.try_get::<&str, _>("ordering")?).map_err(unreadable)?;
    Ok(row.try_get::<Json<Policy>, _>("policy")?.0.with_ordering(ordering))
}

fn headers_of(row: &PgRow) -> Result<Option<SealedSecret>, StoreError> {
    let key_id: Option<String> = row.try_get("headers_key_id")?;
    let ciphertext: Option<Vec<u8>> = row.try_get("headers_ciphertext")?;
    Ok(key_id.zip(ciphertext).map(|(key_id, ciphertext)| SealedSecret { key_id, ciphertext }))
}

fn secrets_of(row: &PgRow) -> Result<Vec<LiveSecret>, StoreError> {
    let versions: Vec<i32> = column(row, "secret_versions")?;
    let key_ids: Vec<String> = column(row, "secret_key_ids")?;
    let ciphertexts: Vec<Vec<u8>> = column(row, "secret_ciphertexts")?;
    Ok(versions
        .into_iter()
        .zip(key_ids)
        .zip(ciphertexts)
        .map(|((version, key_id), ciphertext)| LiveSecret {
            version,
            sealed: SealedSecret { key_id, ciphertext },
        })
        .collect())
}

fn due_of(row: &PgRow) -> Result<Vec<DueDelivery>, StoreError> {
    let ids: Vec<Uuid> = column(row, "ids")?;
    let mut event_ids = column::<Uuid>(row, "event_ids")?.into_iter();
    let mut event_types = column::<String>(row, "event_types")?.into_iter();
    let mut object_ids = column::<String>(row, "object_ids")?.into_iter();
    let mut occurred_ats = column::<OffsetDateTime>(row, "occurred_ats")?.into_iter();
    let mut created_ats = column::<OffsetDateTime>(row, "created_ats")?.into_iter();
    let mut traceparents = column::<Option<String>>(row, "traceparents")?.into_iter();
    let mut attempts = column::<i32>(row, "attempts")?.into_iter();
    let mut refusals = column::<i32>(row, "refusals")?.into_iter();
    let mut first_attempt_ats =
        column::<Option<OffsetDateTime>>(row, "first_attempt_ats")?.into_iter();
    let mut poisonous = column::<bool>(row, "poisonous")?.into_iter();
    let mut faults = column::<Option<String>>(row, "faults")?.into_iter();
    let mut next = |id: Uuid| {
        let event_type = EventType::try_from(event_types.next()?).ok()?;
        Some(DueDelivery {
            facts: DeliveryFacts {
                id: DeliveryId::from(id),
                attempts: u32::try_from(attempts.next()?).ok()?,
                refusals: u32::try_from(refusals.next()?).ok()?,
                first_attempt_at: first_attempt_ats.next()?,
                poisonous: poisonous.next()?,
            },
            event_id: event_ids.next()?.into(),
            event_type,
            object_id: object_ids.next()?,
            occurred_at: occurred_ats.next()?,
            created_at: created_ats.next()?,
            traceparent: traceparents.next()?,
            fault: faults.next()?.as_deref().and_then(Fault::of_code),
        })
    };
    ids.into_iter()
        .map(|id| {
            next(id).ok_or_else(|| StoreError::Unreadable {
                table: "deliveries",
                what: format!("delivery {}", DeliveryId::from(id)),
            })
        })
        .collect()
}

/// An array column; the look leaves it null when there is nothing.
fn column<T>(row: &PgRow, name: &'static str) -> Result<Vec<T>, StoreError>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres>,
    Vec<T>: sqlx::Type<sqlx::Postgres> + for<'r> sqlx::Decode<'r, sqlx::Postgres>,
{
    Ok(row.try_get::<Option<Vec<T>>, _>(name)?.unwrap_or_default())
}

/// A counter that the schema never lets become negative.
pub(super) fn unsigned(counter: i64) -> u64 {
    u64::try_from(counter).unwrap_or(0)
}
