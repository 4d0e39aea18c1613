//! What an operator tells an endpoint, and where it stands.
//!
//! The command is done when its transaction is; the wake after it only makes it quick. A repeat
//! wakes again, because the first one's may have been lost.

use domain::endpoint::{
    Breaker, DisabledReason, EndpointState, Entry, Status, evolve, history_from,
};
use domain::{DeliveryId, EndpointId, EventType};
use store::{Commanded, Ended, Obeyed, Order, Redeliverable, Standing, Told};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Operations, id};
use crate::limits::{ACTOR_LENGTH_MAX, EVENTS_READ, LAST_EVENTS_MAX};
use crate::refusal::Refusal;

/// Who asks when nobody says so.
const ACTOR_DEFAULT: &str = "api";

/// To whom a command goes, its id and who asks, as they were said.
#[derive(Debug)]
pub(crate) struct Addressed {
    pub id: String,
    pub command_id: Option<String>,
    pub actor: Option<String>,
}

/// The same, understood.
pub(super) struct Address {
    pub endpoint: EndpointId,
    pub command_id: Uuid,
    pub actor: String,
}

impl Addressed {
    pub(super) fn parse(self) -> Result<Address, Refusal> {
        let endpoint = id("id", EndpointId::PREFIX, &self.id)?;
        let command_id = match self.command_id {
            Some(text) => Uuid::try_parse(&text)
                .map_err(|_| Refusal::invalid("command_id", "must be a UUID"))?,
            None => Uuid::now_v7(),
        };
        let actor = self.actor.unwrap_or_else(|| ACTOR_DEFAULT.to_owned());
        let is_good = (1..=ACTOR_LENGTH_MAX).contains(&actor.chars().count())
            && !actor.chars().any(char::is_control);
        if !is_good {
            let allowed =
                format!("must be 1 to {ACTOR_LENGTH_MAX} characters, none a control character");
            return Err(Refusal::invalid("actor", allowed));
        }
        Ok(Address { endpoint, command_id, actor })
    }
}

/// The id of a command stands for one command.
pub(super) fn other_command() -> Refusal {
    Refusal::Taken {
        field: "command_id",
        problem: "this id was used for another command; use a new one",
    }
}

/// Which deliveries come back, as it was said.
#[derive(Debug)]
pub(crate) struct Redeliver {
    pub delivery_id: Option<String>,
    pub since: Option<OffsetDateTime>,
    pub until: Option<OffsetDateTime>,
    pub event_type: Option<String>,
    pub ended: Option<String>,
}

/// A command that is done.
#[derive(Debug)]
pub(crate) struct DoneCommand {
    pub command_id: Uuid,
    pub obeyed: Obeyed,
}

/// Where an endpoint stands, and what happened last.
#[derive(Debug)]
pub(crate) struct ShownStanding {
    pub endpoint: EndpointId,
    pub standing: Standing,
    pub last_events: Vec<String>,
}

/// The worker has the same words where an attempt closes it.
pub(super) fn say_breaker_closed(endpoint: EndpointId, actor: &str) {
    tracing::info!(%endpoint, actor, "the breaker closed");
}

impl Operations {
    /// Takes a waiting delivery out of the line.
    pub(crate) async fn skip(&self, to: Addressed, delivery: &str) -> Result<DoneCommand, Refusal> {
        let delivery = id("delivery_id", DeliveryId::PREFIX, delivery)?;
        self.tell(to, Told::Skip { delivery }).await
    }

    /// Puts deliveries that are over back in line.
    pub(crate) async fn redeliver(
        &self,
        to: Addressed,
        which: Redeliver,
    ) -> Result<DoneCommand, Refusal> {
        let Redeliver { delivery_id, since, until, event_type, ended } = which;
        let event_type = event_type.map(EventType::try_from).transpose()?;
        let ended = ended.as_deref().map(Ended::try_from).transpose()?;
        let many = Redeliverable { since, until, event_type, ended };
        let told = match delivery_id {
            Some(_) if many != Redeliverable::default() => {
                let allowed = "must not come with since, until, event_type or ended";
                return Err(Refusal::invalid("delivery_id", allowed));
            }
            Some(text) => {
                Told::Redeliver { delivery: id("delivery_id", DeliveryId::PREFIX, &text)? }
            }
            None => Told::RedeliverMany(many),
        };
        self.tell(to, told).await
    }

    /// Tells an endpoint something.
    pub(crate) async fn tell(&self, to: Addressed, told: Told) -> Result<DoneCommand, Refusal> {
        let Address { endpoint, command_id, actor } = to.parse()?;
        let is_announced = matches!(told, Told::Redeliver { .. } | Told::RedeliverMany(_));
        let order = Order { endpoint, id: command_id, actor: &actor, told };
        let told = &order.told;
        let commanded = self.bounded(async { Ok(self.store.command(&order).await?) }).await?;
        let (obeyed, fence) = match commanded {
            Commanded::Done { obeyed, fence } => (obeyed, fence),
            Commanded::Objected(objection) => return Err(Refusal::State(objection.to_string())),
            Commanded::NoEndpoint if *told == Told::Delete => {
                (self.deleted_before(endpoint).await?, None)
            }
            Commanded::NoEndpoint => return Err(self.no_endpoint(endpoint).await?),
            Commanded::NoDelivery => {
                return Err(Refusal::NotFound(match told {
                    Told::Skip { .. } => "waiting delivery of this endpoint",
                    _ => "delivery of this endpoint that ended in the last 30 days",
                }));
            }
            Commanded::OtherCommand => return Err(other_command()),
        };
        // What is back in line is announced like what is new; a wake for each step would queue.
        if !is_announced {
            self.waker.wake(endpoint, fence);
        }
        if obeyed.changed {
            let (command, status) = (told.name(), name_of(obeyed.state.status));
            tracing::info!(%endpoint, command, %command_id, actor, status, "an endpoint was told");
        }
        if obeyed.breaker_closed {
            say_breaker_closed(endpoint, &actor);
        }
        Ok(DoneCommand { command_id, obeyed })
    }

    /// What is asked is so already; who asks again is told since when.
    async fn deleted_before(&self, endpoint: EndpointId) -> Result<Obeyed, Refusal> {
        let standing = self.store.standing(endpoint).await?;
        let deleted = standing.and_then(|standing| Some((standing.state, standing.deleted_at?)));
        let (state, at) = deleted.ok_or(Refusal::NotFound("endpoint"))?;
        Ok(Obeyed { state, changed: false, breaker_closed: false, redelivered: 0, more: false, at })
    }

    /// Where an endpoint stands.
    pub(crate) async fn standing(&self, text: &str) -> Result<ShownStanding, Refusal> {
        let endpoint: EndpointId = id("id", EndpointId::PREFIX, text)?;
        self.bounded(async {
            let Some(standing) = self.store.standing(endpoint).await? else {
                return Err(Refusal::NotFound("endpoint"));
            };
            if let Some(at) = standing.deleted_at {
                return Err(Refusal::Deleted { at });
            }
            let last_events = self.last_events(endpoint, standing.version).await?;
            Ok(ShownStanding { endpoint, standing, last_events })
        })
        .await
    }

    /// The end of the story of an endpoint. It is read from a point on at which the endpoint is known
    /// to stand in no one's way, so that the end says what the whole would say.
    async fn last_events(
        &self,
        endpoint: EndpointId,
        version: i64,
    ) -> Result<Vec<String>, Refusal> {
        let store = &self.store;
        let (mut after, mut state) = (0, EndpointState::default());
        if version > EVENTS_READ {
            after = store.last_fresh_start(endpoint, version - EVENTS_READ).await?;
            let status = store.last_status_event(endpoint, after).await?;
            state.status = status.map_or(state, |event| evolve(state, &event)).status;
        }
        let mut last_events = Vec::new();
        loop {
            let page = store.journal(endpoint, after, EVENTS_READ).await?;
            after = page.last().map_or(after, |last| last.version);
            let entries = page
                .iter()
                .map(|entry| Entry { event: &entry.event, actor: entry.actor.as_deref() });
            last_events.extend(history_from(&mut state, entries));
            last_events.drain(..last_events.len().saturating_sub(LAST_EVENTS_MAX));
            if i64::try_from(page.len()).is_ok_and(|read| read < EVENTS_READ) {
                return Ok(last_events);
            }
        }
    }
}

/// The status' name at both fronts.
pub(crate) const fn status_name(state: &EndpointState) -> &'static str {
    name_of(state.status)
}

pub(super) const fn name_of(status: Status) -> &'static str {
    match status {
        Status::Active => "active",
        Status::Paused { .. } => "paused",
        Status::Disabled { reason: DisabledReason::Deleted, .. } => "deleted",
        Status::Disabled { .. } => "disabled",
    }
}

/// Is it let alone but for probes?
pub(crate) const fn is_breaker_open(state: &EndpointState) -> bool {
    matches!(state.breaker, Breaker::Open { .. })
}
