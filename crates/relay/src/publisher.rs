//! The producer: records go to Kafka in the order in which they are given, acknowledgements come
//! back by number.
//!
//! Idempotent, acknowledged by all replicas in sync, without a time limit: a record is either
//! acknowledged, or its whole session is given up and started over from the slot's position. What
//! must never happen: a record that is dropped by the client, or overtaken by a later one.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::error::Error;
use crate::topic_ids::TopicIds;
use crate::topics;

/// Longest wait for the brokers to say who they are.
const METADATA_TIMEOUT: Duration = Duration::from_secs(3);
/// The client goes on when a topic is made anew under it: how often it is looked at.
const LOOK_AT_TOPICS_EVERY: Duration = Duration::from_secs(5);
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
    all_down: Arc<Notify>,
}

impl ClientContext for Acknowledge {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        // A line for every attempt to connect: what matters is said once, by the session.
        tracing::debug!(?level, facility, line, "the Kafka client");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the Kafka client");
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.all_down.notify_one();
        }
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

/// A client; what is still queued when the last clone is dropped is given up. The next session
/// sends it again, from the slot's position.
#[derive(Clone)]
struct Client(Option<ThreadedProducer<Acknowledge>>);

impl Client {
    fn get(&self) -> Result<&ThreadedProducer<Acknowledge>, Error> {
        self.0.as_ref().ok_or_else(|| KafkaError::Canceled.into())
    }

    /// Asks the brokers something, which blocks, on a thread where that is fine.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&ThreadedProducer<Acknowledge>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let client = self.clone();
        match tokio::task::spawn_blocking(move || question(client.get()?)).await {
            Ok(answer) => answer,
            Err(_) => Err(KafkaError::Canceled.into()),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The client waits for its threads: not on a thread of the runtime.
        if let Some(producer) = self.0.take() {
            std::thread::spawn(move || drop(producer));
        }
    }
}

/// A producer of one session.
pub(crate) struct Publisher {
    client: Client,
}

/// Notices when every broker is away, or the topics are other ones, though nothing is being sent.
pub(crate) struct Brokers {
    client: Client,
    all_down: Arc<Notify>,
}

impl Publisher {
    /// Connects, and creates the topics if they are not there.
    pub(crate) async fn connect(kafka: &str) -> Result<Connected, Error> {
        let (to, acknowledgements) = unbounded_channel();
        let all_down = Arc::new(Notify::new());
        let client =
            Client(Some(producer(kafka, Acknowledge { to, all_down: Arc::clone(&all_down) })?));
        let missing = client.ask(missing_topics).await?;
        if !missing.is_empty() {
            tracing::warn!(?missing, "topics are missing; creating them");
            for oddity in topics::ensure(kafka).await? {
                tracing::warn!("{oddity}");
            }
        }
        Ok(Connected {
            publisher: Self { client: client.clone() },
            acknowledgements,
            brokers: Brokers { client, all_down },
        })
    }

    /// Gives a record to the producer.
    pub(crate) fn send(
        &self,
        topic: &str,
        key: &str,
        value: &[u8],
        number: usize,
    ) -> Result<(), Error> {
        let record = BaseRecord::with_opaque_to(topic, number).key(key).payload(value);
        self.client.get()?.send(record).map_err(|(error, _)| error.into())
    }
}

/// What connecting gave.
pub(crate) struct Connected {
    pub(crate) publisher: Publisher,
    pub(crate) acknowledgements: UnboundedReceiver<Acknowledgement>,
    pub(crate) brokers: Brokers,
}

impl Brokers {
    /// Waits until every broker is away, or has not the topics `found` any more. May be dropped
    /// while it waits.
    pub(crate) async fn are_away(&self, kafka: &str, found: TopicIds) -> Error {
        loop {
            tokio::select! {
                () = self.all_down.notified() => {
                    // An idle connection that the broker closed looks the same, for a moment.
                    if let Err(error) = self.client.ask(missing_topics).await {
                        return error;
                    }
                }
                () = tokio::time::sleep(LOOK_AT_TOPICS_EVERY) => {
                    match TopicIds::of(kafka).await {
                        Ok(ids) if ids != found => return Error::TopicsReplaced,
                        Err(error @ Error::NoTopic(_)) => return error,
                        Ok(_) => {}
                        // One that is frozen closes no connection, so the client notices nothing
                        // while nothing is sent: only an answer tells.
                        Err(_) => {
                            if let Err(error) = self.client.ask(missing_topics).await {
                                return error;
                            }
                        }
                    }
                }
            }
        }
    }
}

fn missing_topics(producer: &ThreadedProducer<Acknowledge>) -> Result<Vec<&'static str>, Error> {
    match topics::missing(producer.client(), METADATA_TIMEOUT) {
        Err(Error::Kafka(KafkaError::MetadataFetch(
            RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::OperationTimedOut,
        ))) => Err(Error::NoBroker { limit: METADATA_TIMEOUT }),
        answer => answer,
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
