//! Why a delivery is where it is, and what will happen next: plain sentences for whoever asks.
//!
//! What is known of a delivery, of its endpoint and of the time comes in; a headline, more
//! sentences and the time of the next step come out. Nothing is decided here: it says what the
//! rules have decided. What it says is for people; programs read `Why::is` and `Why::next_at`.

mod words;

use std::str::FromStr;

use time::OffsetDateTime;

use self::words::{
    more_deliveries, more_events, no_delivery, no_event, no_payment, of_delivery, of_endpoint,
};
use super::{EndpointState, Faulty};
use crate::{DeliveryId, EndpointId, EventId, PaymentId};

/// What is known of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryStory {
    /// Which one.
    pub delivery: DeliveryId,
    /// Its event.
    pub event: EventId,
    /// What kind of event that is.
    pub event_type: String,
    /// What it is about.
    pub object_id: String,
    /// Where it goes.
    pub endpoint: EndpointId,
    /// When it was written, in the transaction of its event.
    pub written_at: OffsetDateTime,
    /// When it was put back in line, if it was redelivered.
    pub put_back_at: Option<OffsetDateTime>,
    /// How it ended; none while it waits.
    pub ended: Option<Ended>,
    /// Requests made so far.
    pub attempts: u32,
    /// It stepped aside until then.
    pub next_attempt_at: Option<OffsetDateTime>,
    /// How many are in line before it.
    pub ahead: u32,
    /// Its last attempt.
    pub last: Option<LastAttempt>,
    /// Where its endpoint stands; none when that was deleted.
    pub state: Option<EndpointState>,
    /// When somebody last looked at its endpoint, or an operator changed it; none: never.
    pub looked_at: Option<OffsetDateTime>,
    /// The trace context of the transaction that wrote it.
    pub traceparent: Option<String>,
}

impl DeliveryStory {
    /// Since when it has been in line.
    fn in_line_since(&self) -> OffsetDateTime {
        self.put_back_at.unwrap_or(self.written_at)
    }

    /// When its time came, or comes.
    fn due_at(&self) -> OffsetDateTime {
        self.next_attempt_at.unwrap_or_else(|| self.in_line_since())
    }
}

/// What is known of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointStory {
    /// Which one.
    pub endpoint: EndpointId,
    /// Where it stands.
    pub state: EndpointState,
    /// How many deliveries wait; 10001: more than 10000.
    pub waiting: u32,
    /// When the first in line was written, or put back, or the first that stepped aside is due: the
    /// earlier of both; none: nothing waits.
    pub due_since: Option<OffsetDateTime>,
    /// When somebody last looked at it, or an operator changed it; none: never.
    pub looked_at: Option<OffsetDateTime>,
    /// What stepped aside on a fault of ours.
    pub faulty: Option<Faulty>,
}

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// `delivered`, `exhausted` or `cancelled`.
    pub state: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: OffsetDateTime,
}

/// The last attempt of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastAttempt {
    /// When it began.
    pub at: OffsetDateTime,
    /// The outcome's class.
    pub class: String,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// What the delivery client said of it.
    pub sentence: Option<String>,
}

/// What somebody may ask about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// All that became of a payment.
    Payment(PaymentId),
    /// An event's deliveries.
    Event(EventId),
    /// One delivery.
    Delivery(DeliveryId),
    /// An endpoint as a whole.
    Endpoint(EndpointId),
}

/// Why a text is nothing that can be asked about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no id: expected pay_, evt_, dlv_ or ep_ followed by a UUID, such as \
     pay_01890a5d-ac96-774b-bcce-b302099a8057"
)]
pub struct NotAsked;

impl FromStr for Asked {
    type Err = NotAsked;

    fn from_str(text: &str) -> Result<Self, NotAsked> {
        text.parse()
            .map(Self::Payment)
            .or_else(|_| text.parse().map(Self::Event))
            .or_else(|_| text.parse().map(Self::Delivery))
            .or_else(|_| text.parse().map(Self::Endpoint))
            .map_err(|_| NotAsked)
    }
}

/// One thing that an answer is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The database does not have this payment.
    NoPayment(PaymentId),
    /// It has the payment, and no event of it.
    NoEvent {
        /// Which one.
        payment: PaymentId,
        /// When it was made.
        at: OffsetDateTime,
    },
    /// An event for which no endpoint had asked.
    NoDelivery {
        /// Which one.
        event: EventId,
        /// What kind.
        event_type: String,
        /// Whose it is.
        merchant_id: String,
        /// When it occurred.
        at: OffsetDateTime,
    },
    /// A delivery.
    Delivery(Box<DeliveryStory>),
    /// An endpoint.
    Endpoint(Box<EndpointStory>),
    /// A payment has more events than these that are told.
    MoreEvents(PaymentId, usize),
    /// An event has more deliveries than these that are told.
    MoreDeliveries(EventId, usize),
}

impl Subject {
    /// Its id.
    pub fn id(&self) -> String {
        match self {
            Self::NoPayment(id) | Self::NoEvent { payment: id, .. } => id.to_string(),
            Self::NoDelivery { event, .. } => event.to_string(),
            Self::Delivery(story) => story.delivery.to_string(),
            Self::Endpoint(story) => story.endpoint.to_string(),
            Self::MoreEvents(payment, _) => payment.to_string(),
            Self::MoreDeliveries(event, _) => event.to_string(),
        }
    }

    /// The endpoint that it is about, if it is about one.
    pub fn endpoint(&self) -> Option<EndpointId> {
        match self {
            Self::NoPayment(_)
            | Self::NoEvent { .. }
            | Self::NoDelivery { .. }
            | Self::MoreEvents(..)
            | Self::MoreDeliveries(..) => None,
            Self::Delivery(story) => Some(story.endpoint),
            Self::Endpoint(story) => Some(story.endpoint),
        }
    }

    /// The same, but for a delivery that has ended: nothing at its endpoint has to do with it.
    pub fn endpoint_that_matters(&self) -> Option<EndpointId> {
        self.endpoint().filter(|_| !matches!(self, Self::Delivery(story) if story.ended.is_some()))
    }

    /// The event that it is about, if it is about one.
    pub fn event(&self) -> Option<EventId> {
        match self {
            Self::NoPayment(_)
            | Self::NoEvent { .. }
            | Self::Endpoint(_)
            | Self::MoreEvents(..) => None,
            Self::NoDelivery { event, .. } | Self::MoreDeliveries(event, _) => Some(*event),
            Self::Delivery(story) => Some(story.event),
        }
    }

    /// The trace context of the transaction that wrote it.
    pub fn traceparent(&self) -> Option<&str> {
        match self {
            Self::Delivery(story) => story.traceparent.as_deref(),
            Self::NoPayment(_)
            | Self::NoEvent { .. }
            | Self::NoDelivery { .. }
            | Self::MoreEvents(..)
            | Self::MoreDeliveries(..)
            | Self::Endpoint(_) => None,
        }
    }

    /// The answer. `stuck`: what stands in the way of its endpoint's slices on our side, as
    /// Restate has it, and how that ends.
    pub fn why(&self, stuck: Option<&str>, now: OffsetDateTime) -> Why {
        match self {
            Self::NoPayment(payment) => no_payment(*payment),
            Self::NoEvent { at, .. } => no_event(*at),
            Self::NoDelivery { event_type, merchant_id, at, .. } => {
                no_delivery(event_type, merchant_id, *at)
            }
            Self::Delivery(story) => of_delivery(story, stuck, now),
            Self::Endpoint(story) => of_endpoint(story, stuck, now),
            Self::MoreEvents(_, told) => more_events(*told),
            Self::MoreDeliveries(event, told) => more_deliveries(*event, *told),
        }
    }
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// A stable word: `delivered`, `exhausted`, `cancelled`, `paused`, `disabled`, `deleted`,
    /// `stuck`, `unwell`, `blocked`, `aside`, `in_line`, `forgotten`, `well`, `no_endpoint`,
    /// `no_event`, `unknown`, `more`.
    pub is: &'static str,
    /// The sentences, the most important one first.
    pub sentences: Vec<String>,
    /// When something happens by itself; none: never, or at once.
    pub next_at: Option<OffsetDateTime>,
}

impl Why {
    fn new(is: &'static str, sentence: String, next_at: Option<OffsetDateTime>) -> Self {
        Self { is, sentences: vec![sentence], next_at }
    }

    fn and(mut self, sentence: impl Into<String>) -> Self {
        self.sentences.push(sentence.into());
        self
    }
}
