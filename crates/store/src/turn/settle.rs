//! Settling: an attempt's outcome and all that follows from it, in one transaction.

use domain::endpoint::{Decision, Disposition, EndpointState, JOURNAL_SCHEMA_VERSION, Policy};
use domain::{AttemptId, DeliveryId, EndpointId, Outcome};
use sqlx::Row;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::look::{policy_of, unsigned};
use crate::form::state_in;
use crate::{Store, StoreError};

/// One attempt, as it is kept.
#[derive(Debug, Clone)]
pub struct AttemptRow {
    /// Drawn by whoever made the attempt; makes settling idempotent.
    pub id: AttemptId,
    /// Of which delivery.
    pub delivery_id: DeliveryId,
    /// When it began, by PostgreSQL's clock.
    pub started_at: OffsetDateTime,
    /// How long it took.
    pub duration: std::time::Duration,
    /// What it came to.
    pub outcome: Outcome,
    /// What is kept for people; no secret, no payload.
    pub detail: serde_json::Value,
}

/// An attempt and what was decided on it.
#[derive(Debug, Clone, Copy)]
pub struct Settlement<'a> {
    /// Whose turn it is.
    pub endpoint: EndpointId,
    /// The fence of the look that found the delivery due.
    pub fence: Uuid,
    /// The version of the state that was decided on.
    pub version: u64,
    /// The attempt.
    pub attempt: &'a AttemptRow,
    /// What follows from it.
    pub decision: &'a Decision,
    /// The state after the decision's events.
    pub state: &'a EndpointState,
}

/// What became of a settlement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// It is written.
    Done {
        /// Where the endpoint stands now.
        state: EndpointState,
        /// Number of the last event in `state`.
        version: u64,
        /// The endpoint's configuration, if it differs from the look's: look again.
        config_version: i64,
    },
    /// Somebody looked since: the attempt is kept, nothing else. Stop.
    FenceLost,
    /// A command came in between: nothing is written. Decide again on this.
    Moved {
        /// Where the endpoint stands now.
        state: EndpointState,
        /// Number of the last event in `state`.
        version: u64,
        /// How it is to be dealt with now.
        policy: Policy,
    },
}

const SETTLE: &str = "select * from settle($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, \
    $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)";

impl Store {
    /// Writes `settlement`, or says why it may not be written.
    ///
    /// # Errors
    /// When the database is away. Settling again, with the same attempt, is safe.
    pub async fn settle(&self, settlement: &Settlement<'_>) -> Result<Settled, StoreError> {
        let Settlement { endpoint, fence, version, attempt, decision, state } = *settlement;
        let particulars = Particulars::of(decision.disposition);
        let events_at = decision.events.last().map_or(attempt.started_at, |event| event.at());
        let poisonous: Vec<Uuid> = decision.marks_poisonous().map(DeliveryId::uuid).collect();
        let row = sqlx::query(SETTLE)
            .bind(endpoint.uuid())
            .bind(fence)
            .bind(i64::try_from(version).unwrap_or(i64::MAX))
            .bind(attempt.delivery_id.uuid())
            .bind(attempt.id.uuid())
            .bind(attempt.started_at)
            .bind(i64::try_from(attempt.duration.as_micros()).unwrap_or(i64::MAX))
            .bind(attempt.outcome.class())
            .bind(attempt.outcome.code())
            .bind(attempt.outcome.status().map(i32::from))
            .bind(&attempt.detail)
            .bind(particulars.disposition)
            .bind(particulars.refused)
            .bind(particulars.finished.map(|(state, _)| state))
            .bind(particulars.finished.map(|(_, reason)| reason))
            .bind(particulars.next_attempt_at)
            .bind(poisonous)
            .bind(JOURNAL_SCHEMA_VERSION)
            .bind(Json(&decision.events))
            .bind(events_at)
            .bind(Json(state))
            .bind(state.may_send())
            .bind(state.not_before)
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(Settled::FenceLost) };
        let state = || state_in(&row, "state");
        let version = unsigned(row.try_get("version")?);
        match row.try_get::<&str, _>("answer")? {
            "settled" => Ok(Settled::Done {
                state: state()?,
                version,
                config_version: row.try_get("config_version")?,
            }),
            "moved" => Ok(Settled::Moved { state: state()?, version, policy: policy_of(&row)? }),
            _ => Ok(Settled::FenceLost),
        }
    }
}

/// A disposition, as the SQL function takes it.
struct Particulars {
    disposition: &'static str,
    refused: bool,
    finished: Option<(&'static str, &'static str)>,
    next_attempt_at: Option<OffsetDateTime>,
}

impl Particulars {
    fn of(disposition: Disposition) -> Self {
        let stay =
            Self { disposition: "stay", refused: false, finished: None, next_attempt_at: None };
        match disposition {
            Disposition::Stay => stay,
            Disposition::Block => Self { refused: true, ..stay },
            Disposition::StepAside { until, refused } => {
                Self { disposition: "step_aside", refused, next_attempt_at: Some(until), ..stay }
            }
            Disposition::Finish(reason) => Self {
                disposition: "finish",
                refused: reason == domain::endpoint::FinishReason::Refused,
                finished: Some(reason.names()),
                ..stay
            },
        }
    }
}
