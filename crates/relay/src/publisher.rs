//! The producer: records go to Kafka in the order in which they are given, acknowledgements come
//! back by number.
//!
//! Idempotent, acknowledged by all replicas in sync, without a time limit: a record is either
//! acknowledged, or its whole session is given up and started over from the slot's position. What
//! must never happen: a record that is dropped by the client, or overtaken by a later one.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::error::Error;
use crate::topics;

/// Longest wait for the brokers to say who they are.
const METADATA_TIMEOUT: Duration = Duration::from_secs(3);
/// Records in the client's queue. The announcer stops long before; full means a fault of ours.
const QUEUE_RECORDS_MAX: &str = "50000";

/// What became of a record.
#[derive(Debug)]
pub(crate) struct Acknowledgement {
    /// The number it was sent with.
    pub(crate) number: usize,
    /// Acknowledged, or not.
    pub(crate) result: Result<(), KafkaError>,
}

struct Acknowledge {
    // Bounded by the records in flight, which the announcer bounds.
    to: UnboundedSender<Acknowledgement>,
}

impl ClientContext for Acknowledge {
    fn error(&self, error: KafkaError, reason: &str) {
        // The client reconnects by itself; whether it matters shows in the acknowledgements.
        tracing::debug!(%error, reason, "the Kafka client");
    }
}

impl ProducerContext for Acknowledge {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let result = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.clone()),
        };
        // Nobody listens when the session is over.
        let _ = self.to.send(Acknowledgement { number, result });
    }
}

/// A producer of one session.
pub(crate) struct Publisher {
    producer: Option<ThreadedProducer<Acknowledge>>,
}

/// The Kafka that a publisher found.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// Its id.
    pub(crate) id: String,
    /// A topic was missing, and was created.
    pub(crate) had_no_topics: bool,
}

impl Publisher {
    /// Connects, and creates the topics if they are not there.
    pub(crate) async fn connect(
        kafka: &str,
    ) -> Result<(Self, UnboundedReceiver<Acknowledgement>, Cluster), Error> {
        let (to, acknowledgements) = unbounded_channel();
        let producer = producer(kafka, Acknowledge { to })?;
        // Asking the brokers blocks.
        let asked = tokio::task::spawn_blocking(move || {
            let missing = topics::missing(producer.client(), METADATA_TIMEOUT);
            let id = producer.client().fetch_cluster_id(METADATA_TIMEOUT);
            (Self { producer: Some(producer) }, missing, id)
        });
        let (publisher, missing, id) =
            asked.await.map_err(|_| KafkaError::Canceled).map_err(Error::from)?;
        let missing = missing?;
        if !missing.is_empty() {
            tracing::warn!(?missing, "topics are missing; creating them");
            topics::ensure(kafka).await?;
        }
        let id = id.ok_or(KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut))?;
        Ok((publisher, acknowledgements, Cluster { id, had_no_topics: !missing.is_empty() }))
    }

    /// Gives a record to the producer.
    pub(crate) fn send(
        &self,
        topic: &str,
        key: &str,
        value: &[u8],
        number: usize,
    ) -> Result<(), Error> {
        let Some(producer) = &self.producer else { return Err(KafkaError::Canceled.into()) };
        let record = BaseRecord::with_opaque_to(topic, number).key(key).payload(value);
        producer.send(record).map_err(|(error, _)| error.into())
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // What is still queued is given up, and is sent again by the next session from the slot's
        // position. The client waits for its threads: not on a thread of the runtime.
        if let Some(producer) = self.producer.take() {
            std::thread::spawn(move || drop(producer));
        }
    }
}

fn producer(kafka: &str, context: Acknowledge) -> Result<ThreadedProducer<Acknowledge>, Error> {
    let producer = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("client.id", "posthorn-relay")
        // In order, and without the duplicates of the client's own retries.
        .set("enable.idempotence", "true")
        .set("acks", "all")
        // A record never times out: the session does, as a whole.
        .set("message.timeout.ms", "0")
        .set("linger.ms", "2")
        // The partition of a key is the one that Java's producers would choose.
        .set("partitioner", "murmur2_random")
        .set("queue.buffering.max.messages", QUEUE_RECORDS_MAX)
        .set("queue.buffering.max.kbytes", "131072")
        .set("compression.type", "none")
        .set("socket.nagle.disable", "true")
        .set("socket.keepalive.enable", "true")
        // A broker that comes back is found within a second.
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "1000")
        .create_with_context(context)?;
    Ok(producer)
}
