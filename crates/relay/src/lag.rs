//! How far Restate's subscription is behind on its topic: a gauge, looked up now and then.
//!
//! The client asks for the group's commits without joining it, so it disturbs nobody. A group of
//! before (of another topic by the same name) has no members: it counts only while no group has.

use std::time::{Duration, Instant};

use observability::metrics::{Figure, Figures, figure};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use crate::topics;

/// What the name of a subscription's group begins with, before the topic's; see the registration with
/// Restate.
const GROUP: &str = "posthorn-restate";
/// Whose figures these are.
const SOURCE: &str = "kafka";
/// Between two looks.
const PAUSE: Duration = Duration::from_secs(15);
/// Longest wait for one answer of the brokers.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Looks until `shutdown`.
pub(crate) async fn watch(kafka: String, shutdown: CancellationToken) {
    Figures::of_this_process().begin(SOURCE);
    loop {
        let (began, kafka) = (Instant::now(), kafka.clone());
        // The client's questions block.
        match tokio::task::spawn_blocking(move || look(&kafka)).await {
            Ok(Ok(found)) => {
                Figures::of_this_process().replace(SOURCE, found, began.elapsed());
            }
            // Kafka's being away is said by those who need it; the figures grow old, which shows.
            Ok(Err(error)) => tracing::debug!(%error, "the consumer's lag could not be looked up"),
            Err(error) => tracing::error!(%error, "looking up the consumer's lag broke"),
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

fn look(kafka: &str) -> KafkaResult<Vec<Figure>> {
    let client = client(kafka, GROUP)?;
    let list = client.fetch_group_list(None, TIMEOUT)?;
    let ours = || list.groups().iter().filter(|group| group.name().starts_with(GROUP));
    let any_has_members = ours().any(|group| !group.members().is_empty());
    let mut found = Vec::new();
    for group in ours().filter(|group| !any_has_members || !group.members().is_empty()) {
        let reads = |topic: &str| group.name().starts_with(&format!("{GROUP}-{topic}-"));
        let Some(topic) = [topics::WAKES, topics::EVENTS].into_iter().find(|topic| reads(topic))
        else {
            continue;
        };
        let lag = lag(&self::client(kafka, group.name())?, topic)?;
        found.push(figure::kafka_lag(group.name(), topic, lag));
    }
    Ok(found)
}

/// Records that the consumer's group has not committed. One that never committed any begins with the
/// first, as Restate does.
fn lag(consumer: &BaseConsumer, topic: &str) -> KafkaResult<f64> {
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT)?;
    let mut asked = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        asked.add_partition(topic, partition.id());
    }
    let committed = consumer.committed_offsets(asked, TIMEOUT)?;
    let mut behind = 0;
    for one in committed.elements() {
        let (first, end) = consumer.fetch_watermarks(topic, one.partition(), TIMEOUT)?;
        // What retention has removed is not behind; without a commit, all that is there is.
        let at = if let Offset::Offset(at) = one.offset() { at.max(first) } else { first };
        behind += end - at;
    }
    // Far below where a float would round it.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    Ok(behind.max(0) as f64)
}

fn client(kafka: &str, group: &str) -> KafkaResult<BaseConsumer> {
    ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("client.id", "posthorn-lag")
        // Asked about, never joined: it subscribes to nothing.
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("log_level", "0")
        .create()
}
