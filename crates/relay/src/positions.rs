//! Where a consumer group of somebody else's begins: at the end of a topic, as it is now.
//!
//! For a group that nobody is in: a switch of producers places it before it is used.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::error::Error;

/// Longest wait for the brokers.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Places `group` at the end of each of `topic`'s partitions.
///
/// # Errors
/// When Kafka is away, or somebody is in the group.
pub async fn begin_at_end(kafka: &str, group: &str, topic: &'static str) -> Result<(), Error> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("client.id", "posthorn-cdc")
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .create()?;
    let placed = move || -> Result<(), Error> {
        let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT)?;
        let mut ends = TopicPartitionList::new();
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            let (_, end) = consumer.fetch_watermarks(topic, partition.id(), TIMEOUT)?;
            ends.add_partition_offset(topic, partition.id(), Offset::Offset(end))?;
        }
        Ok(consumer.commit(&ends, CommitMode::Sync)?)
    };
    let away = |_| Error::NoBroker { limit: TIMEOUT };
    tokio::task::spawn_blocking(placed).await.map_err(away)?
}
