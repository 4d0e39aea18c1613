//! Who announces: records about nobody, counted as they come out of a topic.
//!
//! Whoever reads the WAL announces a row that nobody ever sees (`store::Store::announce_nothing`).
//! So a record about it says that its producer reads, writes what the contract says, and reaches
//! Kafka; as many as there are producers. What must never happen here: a group is joined, or a
//! position kept.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use domain::{DeliveryId, EndpointId};
use rdkafka::ClientConfig;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::error::Error;

/// Longest wait for the brokers.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long one look takes: the stream may never pause.
const LOOK: Duration = Duration::from_millis(200);

/// How often each announcement about nobody came, from when this was made.
pub struct Heard {
    consumer: BaseConsumer,
    counts: HashMap<DeliveryId, u32>,
}

impl Heard {
    /// Listens to `topic` from its end on.
    ///
    /// # Errors
    /// When Kafka is away.
    pub async fn from_here_on(kafka: &str, topic: &'static str) -> Result<Self, Error> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", kafka)
            .set("client.id", "posthorn-cdc")
            // Needed to be a consumer at all; it is never joined.
            .set("group.id", "posthorn-cdc")
            .set("enable.auto.commit", "false")
            .create()?;
        blocking(move || {
            let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT)?;
            let mut ends = TopicPartitionList::new();
            for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
                let (_, end) = consumer.fetch_watermarks(topic, partition.id(), TIMEOUT)?;
                ends.add_partition_offset(topic, partition.id(), Offset::Offset(end))?;
            }
            consumer.assign(&ends)?;
            Ok(Self { consumer, counts: HashMap::new() })
        })
        .await
    }

    /// Reads what has come since, and how often the announcement that came most often did.
    ///
    /// # Errors
    /// When Kafka is away.
    pub async fn look(mut self) -> Result<(Self, u32), Error> {
        blocking(move || {
            let end = Instant::now() + LOOK;
            while let Some(rest) = end.checked_duration_since(Instant::now()) {
                // The client goes on by itself where a broker hangs up.
                let Some(Ok(record)) = self.consumer.poll(rest) else { continue };
                if let Some(delivery) = about_nobody(record.key(), record.payload()) {
                    *self.counts.entry(delivery).or_default() += 1;
                }
            }
            let most = self.counts.values().copied().max().unwrap_or(0);
            Ok((self, most))
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let away = |_| Error::NoBroker { limit: TIMEOUT };
    tokio::task::spawn_blocking(work).await.map_err(away)?
}

/// The announcement that a record about nobody is; none: it is about somebody, or not understood.
fn about_nobody(key: Option<&[u8]>, value: Option<&[u8]>) -> Option<DeliveryId> {
    #[derive(serde::Deserialize)]
    struct Value {
        delivery_id: DeliveryId,
        endpoint_id: EndpointId,
    }
    let key: EndpointId = std::str::from_utf8(key?).ok()?.parse().ok()?;
    if key != EndpointId::NOBODY {
        return None;
    }
    let value: Value = serde_json::from_slice(value?).ok()?;
    (value.endpoint_id == key).then_some(value.delivery_id)
}
