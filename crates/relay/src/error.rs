//! Why the relay cannot go on, for the moment or without a person.

use std::time::Duration;

use pgwire_replication::PgWireError;
use rdkafka::error::KafkaError;
use store::StoreError;

use crate::pgoutput::Unreadable;

/// SQLSTATE of an object that is not there: the slot, or a publication that is younger than it.
const UNDEFINED_OBJECT: &str = "42704";
/// SQLSTATE of a slot whose WAL is gone.
const NOT_IN_PREREQUISITE_STATE: &str = "55000";

/// An error of the relay; the source is kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL of the database cannot be used for replication.
    #[error("--database-url: {0}")]
    DatabaseUrl(String),
    /// The health port cannot be listened on, or broke.
    #[error("health on {address}: {source}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// What the stream carries cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The replication connection.
    #[error("replication: {0}")]
    Replication(#[from] PgWireError),
    /// The stream ended though nobody asked for it.
    #[error("replication: the server ended the stream")]
    StreamEnded,
    /// The server says nothing any more.
    #[error("replication: the server has said nothing for {} s", limit.as_secs())]
    Silent {
        /// For how long.
        limit: Duration,
    },
    /// A step of the replication connection took too long.
    #[error("replication: {step} did not answer within {} s", limit.as_secs())]
    ReplicationTimeout {
        /// What was waited for.
        step: &'static str,
        /// For how long.
        limit: Duration,
    },
    /// There is nothing to stream.
    #[error("the publication `{0}` does not exist: run `posthorn migrate`")]
    NoPublication(&'static str),
    /// Another relay streams.
    #[error("the slot `{slot}` is held by {holder}; this relay takes over when it is free")]
    SlotHeld {
        /// The slot.
        slot: String,
        /// Who streams from it.
        holder: String,
    },
    /// Another producer announces.
    #[error("Sequin announces, this relay stands by; `posthorn cdc switch relay` brings it back")]
    StandsBy,
    /// The slot's name is taken by something else.
    #[error("the slot `{slot}` belongs to {owner}: give this relay another name with --slot")]
    SlotForeign {
        /// The slot.
        slot: String,
        /// What it is.
        owner: String,
    },
    /// A committed transaction stays invisible.
    #[error(
        "the transaction {xid} is in the WAL but readers do not see it after {} s: does \
         synchronous_standby_names wait for a standby that is away, or for this relay?",
        limit.as_secs()
    )]
    Invisible {
        /// The low half of its id.
        xid: u32,
        /// For how long it was waited.
        limit: Duration,
    },
    /// Kafka refused, or is away.
    #[error("Kafka: {0}")]
    Kafka(#[from] KafkaError),
    /// No broker is there.
    #[error("Kafka: no broker answers within {} s", limit.as_secs())]
    NoBroker {
        /// For how long it was waited.
        limit: Duration,
    },
    /// A topic cannot be used.
    #[error("Kafka: the topic `{topic}`: {reason}")]
    Topic {
        /// Its name.
        topic: &'static str,
        /// Why.
        reason: String,
    },
    /// A topic is not there.
    #[error("Kafka has no topic `{0}`; the relay creates ours when it starts")]
    NoTopic(String),
    /// The topics are not the ones that this session found.
    #[error("Kafka's topics were deleted and made anew")]
    TopicsReplaced,
    /// An answer that is no answer to what was asked.
    #[error("Kafka: cannot read what it says of its topics; is it 3.1 or later?")]
    Metadata,
    /// Kafka does not acknowledge.
    #[error("Kafka has acknowledged nothing for {} s", limit.as_secs())]
    KafkaStalled {
        /// For how long.
        limit: Duration,
    },
}

impl Error {
    /// Trying again cannot help: a person must act.
    pub(crate) fn needs_a_person(&self) -> bool {
        matches!(self, Self::DatabaseUrl(_) | Self::Listen { .. } | Self::Unreadable(_))
    }

    /// Is Kafka at fault, and not PostgreSQL?
    pub(crate) fn is_kafka(&self) -> bool {
        matches!(
            self,
            Self::Kafka(_)
                | Self::NoBroker { .. }
                | Self::Topic { .. }
                | Self::NoTopic(_)
                | Self::TopicsReplaced
                | Self::Metadata
                | Self::KafkaStalled { .. }
        )
    }

    /// The slot is there, and can never be read again.
    pub(crate) fn slot_is_unusable(&self) -> bool {
        let Self::Replication(PgWireError::Server(text)) = self else { return false };
        // The client library has the code only inside its text, in this form.
        [UNDEFINED_OBJECT, NOT_IN_PREREQUISITE_STATE]
            .iter()
            .any(|code| text.contains(&format!("(SQLSTATE {code})")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_can_never_be_read_again_is_told_from_one_that_is_busy() {
        let server = |text: &str| Error::Replication(PgWireError::Server(text.to_owned()));
        assert!(server("publication \"p\" does not exist (SQLSTATE 42704)").slot_is_unusable());
        assert!(server("cannot read from … (SQLSTATE 55000)").slot_is_unusable());
        assert!(!server("slot is active for PID 1 (SQLSTATE 55006)").slot_is_unusable());
        assert!(!Error::StreamEnded.slot_is_unusable());
    }
}
