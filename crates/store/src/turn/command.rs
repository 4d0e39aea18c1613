//! An operator's command: one transaction under the endpoint's lock, beside whatever is sent.
//!
//! It decides on the state that it has locked, so it never overwrites an attempt that was settled
//! in between; an attempt that settles later meets a newer version and decides again. A command id
//! is done once: its answer is kept in the same transaction, and a repeat reads it.

use domain::endpoint::{
    Command, Decision, Disposition, EndpointState, JOURNAL_SCHEMA_VERSION, Jitter, Objection,
    Policy, decide, objection,
};
use domain::{DeliveryId, EndpointId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::Row;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::delete::erase;
use super::look::{policy_of, unsigned};
use super::redeliver::{Redeliverable, put_back_many, put_back_one};
use super::unsent::end_unsent;
use crate::answered::Tx;
use crate::form::{answer_in, state_in};
use crate::{Store, StoreError};

/// What an operator tells an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Told {
    /// Send nothing for now.
    Pause,
    /// The pause is over.
    Resume,
    /// Send nothing until it is enabled.
    Disable,
    /// Send again.
    Enable,
    /// Be no more: what waits is cancelled, secrets are destroyed, the history stays.
    Delete,
    /// Take this waiting delivery out of the line.
    Skip {
        /// Which one.
        delivery: DeliveryId,
    },
    /// Put this delivery, which is over, back in line.
    Redeliver {
        /// Which one.
        delivery: DeliveryId,
    },
    /// Put back in line what was given up or skipped, some at a time.
    RedeliverMany(Redeliverable),
}

impl Told {
    /// What it is called.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::Delete => "delete",
            Self::Skip { .. } => "skip",
            Self::Redeliver { .. } | Self::RedeliverMany(_) => "redeliver",
        }
    }
}

/// A command: what, to whom, by whom, and its id.
#[derive(Debug, Clone)]
pub struct Order<'a> {
    /// To whom.
    pub endpoint: EndpointId,
    /// A repeat under the same id changes nothing.
    pub id: Uuid,
    /// Who asks.
    pub actor: &'a str,
    /// What.
    pub told: Told,
}

/// What a command came to; a repeat hears the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obeyed {
    /// Where the endpoint stood after it.
    pub state: EndpointState,
    /// Did it change anything?
    pub changed: bool,
    /// Did it close the breaker?
    #[serde(default)]
    pub breaker_closed: bool,
    /// How many deliveries are back in line.
    pub redelivered: u32,
    /// Are there more to redeliver?
    pub more: bool,
    /// When it was done, by PostgreSQL's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one per command, never kept")]
pub enum Commanded {
    /// It is done, now or when it was told before.
    Done {
        /// What it came to.
        obeyed: Obeyed,
        /// The endpoint's fence: the same for all that the next look sees. None: it was deleted.
        fence: Option<Uuid>,
    },
    /// It makes no sense where the endpoint stands. Nothing is written.
    Objected(Objection),
    /// There is no such endpoint.
    NoEndpoint,
    /// The endpoint has no such delivery in the state that the command needs.
    NoDelivery,
    /// The id was used for another command.
    OtherCommand,
}

/// What makes the id of a command unique, over all endpoints.
pub(super) const ONCE: [&str; 2] = ["endpoint_commands_pkey", "endpoint_events_by_command"];

/// The endpoint under its lock.
pub(super) struct Locked {
    pub endpoint: EndpointId,
    pub state: EndpointState,
    pub version: u64,
    pub policy: Policy,
    /// Unchanged until somebody looks.
    pub fence: Uuid,
}

impl Store {
    /// Does what `order` says, once.
    ///
    /// # Errors
    /// When the database is away. Telling it again under the same id is safe.
    pub async fn command(&self, order: &Order<'_>) -> Result<Commanded, StoreError> {
        match self.obey(order).await {
            // Another endpoint was told something under this id in the same moment.
            Err(error) if error.constraint().is_some_and(|name| ONCE.contains(&name)) => {
                Ok(Commanded::OtherCommand)
            }
            done => done,
        }
    }

    async fn obey(&self, order: &Order<'_>) -> Result<Commanded, StoreError> {
        let mut tx = self.pool.begin().await?;
        let Some(locked) = lock(&mut tx, order.endpoint).await? else {
            let told = told_before(&mut tx, order).await?;
            tx.rollback().await?;
            return Ok(told);
        };
        // After the lock: what committed while this one waited is seen, and is in the past.
        let row = sqlx::query(
            "select clock_timestamp() as now, c.endpoint_id, c.command, c.answer
             from (select) one left join endpoint_commands c on c.command_id = $1",
        )
        .bind(order.id)
        .fetch_one(&mut tx)
        .await?;
        if let Some(before) = row.try_get::<Option<Value>, _>("command")? {
            let endpoint: Uuid = row.try_get("endpoint_id")?;
            // A change of the configuration is none of these; it is kept beside them.
            let is_same = serde_json::from_value(before).is_ok_and(|told: Told| told == order.told);
            if endpoint != order.endpoint.uuid() || !is_same {
                tx.rollback().await?;
                return Ok(Commanded::OtherCommand);
            }
            let obeyed = answer_in(&row)?;
            tx.rollback().await?;
            return Ok(Commanded::Done { obeyed, fence: Some(locked.fence) });
        }
        let now = row.try_get("now")?;
        let Some(step) = prepare(&mut tx, order, now).await? else {
            tx.rollback().await?;
            return Ok(Commanded::NoDelivery);
        };
        if let Some(objection) = objection(&locked.state, &step.command) {
            tx.rollback().await?;
            return Ok(Commanded::Objected(objection));
        }
        let decision = decide(&locked.state, &locked.policy, &step.command, now, Jitter::NONE);
        if !finish(&mut tx, order.endpoint, &step.command, decision.disposition).await? {
            tx.rollback().await?;
            return Ok(Commanded::NoDelivery);
        }
        let state = append(&mut tx, &locked, &decision, Some((order.id, order.actor))).await?;
        if order.told == Told::Delete {
            erase(&mut tx, order.endpoint, now).await?;
        }
        let obeyed = Obeyed {
            state,
            changed: !decision.events.is_empty(),
            breaker_closed: decision.closes_breaker(locked.state),
            redelivered: step.redelivered,
            more: step.more,
            at: now,
        };
        sqlx::query(
            "insert into endpoint_commands (command_id, endpoint_id, command, actor, answer)
             values ($1, $2, $3, $4, $5)",
        )
        .bind(order.id)
        .bind(order.endpoint.uuid())
        .bind(Json(&order.told))
        .bind(order.actor)
        .bind(Json(obeyed))
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(Commanded::Done { obeyed, fence: Some(locked.fence) })
    }
}

/// A deleted endpoint obeys nothing, but a repeat hears what was answered while it was there.
async fn told_before(tx: &mut Tx, order: &Order<'_>) -> Result<Commanded, StoreError> {
    let row = sqlx::query(
        "select answer from endpoint_commands
         where command_id = $1 and endpoint_id = $2 and command = $3",
    )
    .bind(order.id)
    .bind(order.endpoint.uuid())
    .bind(Json(&order.told))
    .fetch_optional(tx)
    .await?;
    let Some(row) = row else { return Ok(Commanded::NoEndpoint) };
    Ok(Commanded::Done { obeyed: answer_in(&row)?, fence: None })
}

/// The command as the domain knows it, once its deliveries were put back.
struct Step {
    command: Command,
    redelivered: u32,
    more: bool,
}

/// None when the delivery to redeliver is not there.
async fn prepare(
    tx: &mut Tx,
    order: &Order<'_>,
    now: OffsetDateTime,
) -> Result<Option<Step>, StoreError> {
    let plain = |command| Ok(Some(Step { command, redelivered: 0, more: false }));
    match &order.told {
        Told::Pause => plain(Command::Pause),
        Told::Resume => plain(Command::Resume),
        Told::Disable => plain(Command::Disable),
        Told::Enable => plain(Command::Enable),
        Told::Delete => plain(Command::Delete),
        Told::Skip { delivery } => plain(Command::Skip(*delivery)),
        Told::Redeliver { delivery } => {
            let is_back = put_back_one(tx, order.endpoint, *delivery, now).await?;
            let command = Command::Redeliver(1);
            Ok(is_back.then_some(Step { command, redelivered: 1, more: false }))
        }
        Told::RedeliverMany(which) => {
            let back = put_back_many(tx, order.endpoint, which, now).await?;
            let command = Command::Redeliver(back.count);
            Ok(Some(Step { command, redelivered: back.count, more: back.more }))
        }
    }
}

/// Locks the endpoint's row and reads where it stands; none when there is no such endpoint. The
/// configuration is locked too, so that one that was deleted while this waited is seen as deleted.
pub(super) async fn lock(tx: &mut Tx, endpoint: EndpointId) -> Result<Option<Locked>, StoreError> {
    let row = sqlx::query(
        "select r.state, r.version, r.fence, e.policy, e.ordering
         from endpoint_runtime r
         join endpoints e on e.id = r.endpoint_id and e.deleted_at is null
         where r.endpoint_id = $1 for update of r for share of e",
    )
    .bind(endpoint.uuid())
    .fetch_optional(tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Locked {
        endpoint,
        state: state_in(&row, "state")?,
        version: unsigned(row.try_get("version")?),
        policy: policy_of(&row)?,
        fence: row.try_get("fence")?,
    }))
}

/// Moves the delivery that the command ends out of the line. False: it does not wait there.
pub(super) async fn finish(
    tx: &mut Tx,
    endpoint: EndpointId,
    command: &Command,
    disposition: Disposition,
) -> Result<bool, StoreError> {
    let (Command::Skip(delivery) | Command::Expire { delivery, .. }) = *command else {
        return Ok(true);
    };
    let Disposition::Finish(reason) = disposition else { return Ok(true) };
    let (state, reason) = reason.names();
    let moved = sqlx::query(end_unsent!(
        "select d.id from deliveries d where d.id = $3 and d.endpoint_id = $4"
    ))
    .bind(state)
    .bind(reason)
    .bind(delivery.uuid())
    .bind(endpoint.uuid())
    .execute(tx)
    .await?;
    Ok(moved.rows_affected() == 1)
}

/// Writes the events and their fold; the state after them.
pub(super) async fn append(
    tx: &mut Tx,
    locked: &Locked,
    decision: &Decision,
    order: Option<(Uuid, &str)>,
) -> Result<EndpointState, StoreError> {
    let state = decision.state_after(locked.state);
    let Some(last) = decision.events.last() else { return Ok(state) };
    sqlx::query(
        "with written as (
             insert into endpoint_events (endpoint_id, version, schema_version, event, occurred_at,
                 command_id, actor)
             select $1, $2 + e.ordinality, $3, e.value, $4, $5, $6
             from jsonb_array_elements($7) with ordinality e)
         update endpoint_runtime set state = $8, version = $2 + jsonb_array_length($7),
             may_send = $9, not_before = $10,
             -- What this makes due is due from now on: the sweeper leaves it to the wake.
             looked_at = clock_timestamp()
         where endpoint_id = $1",
    )
    .bind(locked.endpoint.uuid())
    .bind(i64::try_from(locked.version).unwrap_or(i64::MAX))
    .bind(JOURNAL_SCHEMA_VERSION)
    .bind(last.at())
    .bind(order.map(|(id, _)| id))
    .bind(order.map(|(_, actor)| actor))
    .bind(Json(&decision.events))
    .bind(Json(state))
    .bind(state.may_send())
    .bind(state.not_before)
    .execute(tx)
    .await?;
    Ok(state)
}
