//! An endpoint's configuration changed: one transaction under the endpoint's lock, like a command.
//!
//! What is changed holds from the next look on: a slice under way sees the new version when it
//! settles. A new URL or another order is an event of the journal, decided by the domain on the
//! locked state. A command id is done once. Secrets and headers come in sealed.

use domain::endpoint::{
    Command, Decision, Disposition, EnabledBecause, EndpointEvent, Jitter, Ordering,
    PolicySettings, Status, decide,
};
use domain::{EndpointId, EventType};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::command::{Locked, ONCE, append, lock};
use crate::answered::Tx;
use crate::form::answer_in;
use crate::secrets::{NewSecret, SecretColumns};
use crate::{SealedSecret, Store, StoreError};

/// A change, to whom, by whom, and its id.
#[derive(Debug, Clone, Copy)]
pub struct Reconfiguration<'a> {
    /// To whom.
    pub endpoint: EndpointId,
    /// A repeat under the same id changes nothing.
    pub id: Uuid,
    /// Who asks.
    pub actor: &'a str,
    /// SHA-256 of what is asked for: tells a repeat from another change under the same id.
    pub digest: &'a [u8; 32],
    /// What is changed.
    pub changes: Changes<'a>,
}

/// What is changed; none: as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Changes<'a> {
    /// Canonical, accepted by the URL policy.
    pub url: Option<&'a str>,
    /// Empty: every event of the merchant.
    pub event_types: Option<&'a [EventType]>,
    /// The order of its deliveries.
    pub ordering: Option<Ordering>,
    /// In the place of the whole policy; accepted by the domain.
    pub policy: Option<&'a PolicySettings>,
    /// In the place of all headers.
    pub headers: Option<NewHeaders<'a>>,
    /// Does it get our trace context?
    pub send_traceparent: Option<bool>,
    /// Which signatures its webhooks carry.
    pub signatures: Option<NewSignatures<'a>>,
}

/// Headers in the place of those that are there.
#[derive(Debug, Clone, Copy)]
pub struct NewHeaders<'a> {
    /// Their names.
    pub names: &'a [String],
    /// All of them, sealed; none: there are none.
    pub sealed: Option<&'a SealedSecret>,
}

/// Another scheme, and the secrets that it lacks.
#[derive(Debug, Clone, Copy)]
pub struct NewSignatures<'a> {
    /// `v1`, `v1a` or `both`.
    pub scheme: &'a str,
    /// One of each kind of which there is none that stays.
    pub secrets: &'a [NewSecret],
}

/// A change that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// Did it change anything?
    pub changed: bool,
    /// The lowest version of the secrets that it made, if it made some.
    pub first_version: Option<i32>,
    /// What the endpoint was after it.
    pub status: Status,
    /// Did it enable the endpoint, which had been disabled for what its old URL did?
    pub enabled_again: bool,
    /// Did it close the breaker?
    #[serde(default)]
    pub breaker_closed: bool,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconfigured {
    /// It is done, now or when it was told before.
    Done {
        /// What it came to.
        replaced: Replaced,
        /// The endpoint's fence: the same for all that the next look sees.
        fence: Uuid,
    },
    /// There is no such endpoint.
    NoEndpoint,
    /// The id was used for another command.
    OtherCommand,
    /// The secrets are others than when this change was made up: nothing is written. Begin again.
    SecretsMoved,
}

/// The constraint by which two rotations of the same moment are told apart.
const SECRET_TAKEN: &str = "endpoint_secrets_pkey";

/// How many take their places again in one transaction: some ten milliseconds under the endpoint's
/// lock.
const CALLED_BACK_AT_ONCE: u64 = 500;

impl Store {
    /// Changes what `change` says, once.
    ///
    /// # Errors
    /// When the database is away. Asking again under the same id is safe.
    pub async fn reconfigure(
        &self,
        change: &Reconfiguration<'_>,
    ) -> Result<Reconfigured, StoreError> {
        match self.reconfigure_in_steps(change).await {
            Err(error) if error.constraint().is_some_and(|name| ONCE.contains(&name)) => {
                Ok(Reconfigured::OtherCommand)
            }
            Err(error) if error.constraint() == Some(SECRET_TAKEN) => {
                Ok(Reconfigured::SecretsMoved)
            }
            answer => answer,
        }
    }

    async fn reconfigure_in_steps(
        &self,
        change: &Reconfiguration<'_>,
    ) -> Result<Reconfigured, StoreError> {
        loop {
            if let Some(done) = self.reconfigure_once(change).await? {
                return Ok(done);
            }
        }
    }

    /// None: only some of those that stepped aside have their places again, and nothing else was
    /// done. In strict nobody may be passed, so all of them come before the order changes.
    async fn reconfigure_once(
        &self,
        change: &Reconfiguration<'_>,
    ) -> Result<Option<Reconfigured>, StoreError> {
        let mut tx = self.pool.begin().await?;
        let Some(locked) = lock(&mut tx, change.endpoint).await? else {
            tx.rollback().await?;
            return Ok(Some(Reconfigured::NoEndpoint));
        };
        let command = json!({ "is": "update", "digest": hex(change.digest) });
        let row = sqlx::query(
            "select clock_timestamp() as now, e.url, e.ordering,
                 c.endpoint_id as asked, c.command, c.answer
             from endpoints e left join endpoint_commands c on c.command_id = $2
             where e.id = $1",
        )
        .bind(change.endpoint.uuid())
        .bind(change.id)
        .fetch_one(&mut tx)
        .await?;
        if let Some(before) = row.try_get::<Option<Value>, _>("command")? {
            let is_mine = row.try_get::<Uuid, _>("asked")? == change.endpoint.uuid();
            if !is_mine || before != command {
                tx.rollback().await?;
                return Ok(Some(Reconfigured::OtherCommand));
            }
            let replaced = answer_in(&row)?;
            tx.rollback().await?;
            return Ok(Some(Reconfigured::Done { replaced, fence: locked.fence }));
        }
        let now: OffsetDateTime = row.try_get("now")?;
        let changes = &change.changes;
        let order = locked.policy.ordering;
        let reorders = changes.ordering.filter(|ordering| *ordering != order);
        if reorders == Some(Ordering::Strict)
            && call_back(&mut tx, change.endpoint).await? == CALLED_BACK_AT_ONCE
        {
            tx.commit().await?;
            return Ok(None);
        }
        let is_written = write(&mut tx, change.endpoint, changes, now).await?;
        let first_version = changes.signatures.and_then(|new| Some(new.secrets.first()?.version));
        if let Some(new) = changes.signatures
            && !sign(&mut tx, change.endpoint, new, now).await?
        {
            tx.rollback().await?;
            return Ok(Some(Reconfigured::SecretsMoved));
        }
        let moves =
            changes.url.is_some_and(|url| row.try_get("url").is_ok_and(|old: &str| old != url));
        let told = [
            (moves, Command::UrlChanged),
            (reorders.is_some(), Command::OrderingChanged),
            (first_version.is_some(), Command::SecretMade),
        ];
        let decision = decided(&locked, &told, now);
        let state = append(&mut tx, &locked, &decision, Some((change.id, change.actor))).await?;
        let replaced = Replaced {
            changed: is_written || first_version.is_some(),
            first_version,
            status: state.status,
            enabled_again: decision.events.iter().any(is_enabled_again),
            breaker_closed: decision.closes_breaker(locked.state),
        };
        keep(&mut tx, change, command, replaced).await?;
        tx.commit().await?;
        Ok(Some(Reconfigured::Done { replaced, fence: locked.fence }))
    }
}

/// Keeps what a change came to, for whoever asks for it again.
async fn keep(
    tx: &mut Tx,
    change: &Reconfiguration<'_>,
    command: Value,
    replaced: Replaced,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into endpoint_commands (command_id, endpoint_id, command, actor, answer)
         values ($1, $2, $3, $4, $5)",
    )
    .bind(change.id)
    .bind(change.endpoint.uuid())
    .bind(command)
    .bind(change.actor)
    .bind(Json(replaced))
    .execute(tx)
    .await?;
    Ok(())
}

fn is_enabled_again(event: &EndpointEvent) -> bool {
    matches!(event, EndpointEvent::Enabled { because: EnabledBecause::NewUrl, .. })
}

/// What the domain says to those that are told, one after the other.
fn decided(locked: &Locked, told: &[(bool, Command)], now: OffsetDateTime) -> Decision {
    let mut all = Decision { disposition: Disposition::Stay, events: Vec::new() };
    for (_, command) in told.iter().filter(|(is_told, _)| *is_told) {
        let state = all.state_after(locked.state);
        all.events.extend(decide(&state, &locked.policy, command, now, Jitter::NONE).events);
    }
    all
}

/// Writes what differs; false when nothing does. Headers always do: values are not compared.
async fn write(
    tx: &mut Tx,
    endpoint: EndpointId,
    changes: &Changes<'_>,
    now: OffsetDateTime,
) -> Result<bool, StoreError> {
    let types =
        changes.event_types.map(|types| types.iter().map(ToString::to_string).collect::<Vec<_>>());
    let sealed = changes.headers.and_then(|headers| headers.sealed);
    let done = sqlx::query(
        "update endpoints e set url = n.url, event_types = n.event_types, ordering = n.ordering,
             policy = n.policy, send_traceparent = n.send_traceparent,
             signature_scheme = n.signature_scheme,
             header_names = coalesce($8, e.header_names),
             headers_key_id = case when $8 is null then e.headers_key_id else $9 end,
             headers_ciphertext = case when $8 is null then e.headers_ciphertext else $10 end,
             config_version = e.config_version + 1, updated_at = $11
         from (
             select coalesce($2, o.url) as url, coalesce($3, o.event_types) as event_types,
                 coalesce($4, o.ordering) as ordering, coalesce($5, o.policy) as policy,
                 coalesce($6, o.send_traceparent) as send_traceparent,
                 coalesce($7, o.signature_scheme) as signature_scheme
             from endpoints o where o.id = $1) n
         where e.id = $1 and ($8::text[] is not null
             or (e.url, e.event_types, e.ordering, e.policy, e.send_traceparent, e.signature_scheme)
                 is distinct from
                (n.url, n.event_types, n.ordering, n.policy, n.send_traceparent,
                 n.signature_scheme))",
    )
    .bind(endpoint.uuid())
    .bind(changes.url)
    .bind(types)
    .bind(changes.ordering.map(Ordering::as_str))
    .bind(changes.policy.map(Json))
    .bind(changes.send_traceparent)
    .bind(changes.signatures.map(|new| new.scheme))
    .bind(changes.headers.map(|headers| headers.names))
    .bind(sealed.map(|sealed| &*sealed.key_id))
    .bind(sealed.map(|sealed| &*sealed.ciphertext))
    .bind(now)
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends the secrets of kinds that the scheme no longer has and keeps the new ones; false when then
/// one of its kinds has none that stays: one that a rotation has given its end will be missing.
async fn sign(
    tx: &mut Tx,
    endpoint: EndpointId,
    new: NewSignatures<'_>,
    now: OffsetDateTime,
) -> Result<bool, StoreError> {
    sqlx::query(
        "update endpoint_secrets set expires_at = $3
         where endpoint_id = $1 and (expires_at is null or expires_at > $3)
             and case $2 when 'v1' then public_key is not null
                 when 'v1a' then public_key is null else false end",
    )
    .bind(endpoint.uuid())
    .bind(new.scheme)
    .bind(now)
    .execute(&mut *tx)
    .await?;
    let columns = SecretColumns::of(new.secrets);
    let insert = sqlx::query(
        "insert into endpoint_secrets (endpoint_id, version, key_id, ciphertext, public_key)
         select $1, n.* from unnest($2::int[], $3::text[], $4::bytea[], $5::text[]) n",
    )
    .bind(endpoint.uuid());
    columns.bind(insert).execute(&mut *tx).await?;
    let is_whole = sqlx::query_scalar(
        "select case $2 when 'v1' then bool_or(public_key is null)
             when 'v1a' then bool_or(public_key is not null)
             else bool_or(public_key is null) and bool_or(public_key is not null) end
         from endpoint_secrets where endpoint_id = $1 and expires_at is null",
    )
    .bind(endpoint.uuid())
    .bind(new.scheme)
    .fetch_one(tx)
    .await?;
    Ok(Option::unwrap_or(is_whole, false))
}

/// In strict nobody is aside: those that stepped aside in another order take their places again.
/// How many did, at most [`CALLED_BACK_AT_ONCE`].
async fn call_back(tx: &mut Tx, endpoint: EndpointId) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "update deliveries set next_attempt_at = null, fault = null, fault_since = null
         where id = any (array(
             select id from deliveries where endpoint_id = $1 and next_attempt_at is not null
             order by next_attempt_at limit $2))",
    )
    .bind(endpoint.uuid())
    .bind(i64::try_from(CALLED_BACK_AT_ONCE).unwrap_or(i64::MAX))
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
