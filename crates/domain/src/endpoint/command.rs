//! What an endpoint can be told, and when an operator hears that it makes no sense.
//!
//! A command says what it acts on; its id and who asked are the store's, which writes them beside
//! the events that follow. Whether it was told before is the store's to know as well.

use time::OffsetDateTime;

use super::{EndpointState, Status};
use crate::{DeliveryId, Outcome};

/// What an endpoint can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// An attempt has ended.
    Settle {
        /// Of which delivery.
        delivery: DeliveryFacts,
        /// When the attempt began, by PostgreSQL's clock.
        started_at: OffsetDateTime,
        /// What it came to.
        outcome: Outcome,
    },
    /// Send nothing for now.
    Pause,
    /// The pause is over.
    Resume,
    /// Send nothing until it is enabled again.
    Disable,
    /// Send again, whatever stood in the way.
    Enable,
    /// The endpoint is somewhere else now: it is enabled again, if its old URL was why it was not.
    UrlChanged,
    /// Its deliveries go out in another order now.
    OrderingChanged,
    /// It has a new secret, which the store has kept.
    SecretMade,
    /// It is no more; what waits is cancelled by the store.
    Delete,
    /// Take this delivery out of the line; the store has found it waiting.
    Skip(DeliveryId),
    /// This delivery waits since then: is that too long?
    Expire {
        /// Which one.
        delivery: DeliveryId,
        /// Since when it is in line.
        waiting_since: OffsetDateTime,
    },
    /// So many deliveries that were over are back in line; the store has put them there.
    Redeliver(u32),
}

/// What the rules need to know of a delivery, as it was before this attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryFacts {
    /// Which one.
    pub id: DeliveryId,
    /// Requests made for it so far.
    pub attempts: u32,
    /// How many of them were refusals.
    pub refusals: u32,
    /// When the first one began; none: this is the first.
    pub first_attempt_at: Option<OffsetDateTime>,
    /// It failed while others got through: its 5xx are refusals.
    pub poisonous: bool,
}

/// Why a command is answered with an error instead of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// It would have to be enabled first.
    #[error("the endpoint is disabled; enable it first")]
    IsDisabled,
    /// It would have to be resumed.
    #[error("the endpoint is paused, not disabled; resume it")]
    IsPaused,
}

/// What is to be said against `command`. What changes nothing (a pause of a paused endpoint) is no
/// mistake. `decide` makes no event of a command to which there is an objection.
pub const fn objection(state: &EndpointState, command: &Command) -> Option<Objection> {
    match (command, state.status) {
        (Command::Pause | Command::Resume, Status::Disabled { .. }) => Some(Objection::IsDisabled),
        (Command::Enable, Status::Paused { .. }) => Some(Objection::IsPaused),
        _ => None,
    }
}
