//! The two topics, and how they must be.
//!
//! `ensure` creates what is missing and changes nothing that is there: a topic whose settings
//! differ is somebody's decision, and its caller says so loudly. It never deletes anything.

use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use crate::error::Error;

/// One record per delivery, in commit order: for any consumer, and for replay.
pub const EVENTS: &str = "webhook-events";
/// One record per endpoint and window: what the endpoint objects are woken by.
pub const WAKES: &str = "webhook-wakes";

/// Partitions of each topic: as many as Restate has consumers for on a machine of this size.
const PARTITIONS: i32 = 6;
/// −1: as many replicas as the cluster gives by default.
const REPLICAS: i32 = -1;
/// The settings that a topic must have.
const SETTINGS: [(&str, &str); 2] = [
    // 7 days, in milliseconds: an outage of a consumer over a long weekend.
    ("retention.ms", "604800000"),
    // 1 MiB. Ours have less than 2 KiB; a bound on what others may send to the topic.
    ("max.message.bytes", "1048576"),
];
/// Longest wait for the brokers.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Questions for the topics' settings, until they are told, and the pause between two.
const DESCRIBE_TRIES: u32 = 4;
/// See [`DESCRIBE_TRIES`].
const DESCRIBE_PAUSE: Duration = Duration::from_millis(500);

type Described = Result<ConfigResource, RDKafkaErrorCode>;

/// What somebody should know of a topic that was there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Oddity {
    /// Who may write to a topic need not be allowed to read its settings: then none are told.
    Unreadable {
        /// Its name.
        topic: &'static str,
    },
    /// It has another setting than this version would give it.
    OtherSetting {
        /// Its name.
        topic: &'static str,
        /// The setting's, as Kafka has it.
        setting: &'static str,
        /// What this version would set.
        wanted: &'static str,
        /// What is set; none: nothing.
        found: Option<String>,
    },
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { topic } => write!(f, "the settings of {topic} cannot be read"),
            Self::OtherSetting { topic, setting, wanted, found } => {
                let found = found.as_deref().unwrap_or("nothing");
                write!(
                    f,
                    "{topic} has another setting than this version would give it, {setting}={found} \
                     and not {wanted}; it stays as it is"
                )
            }
        }
    }
}

/// Creates the topics that are missing, on the Kafka at `kafka` (host:port, separated by commas);
/// what is odd about those that were there.
///
/// # Errors
/// When Kafka is away, or refuses.
pub async fn ensure(kafka: &str) -> Result<Vec<Oddity>, Error> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("client.id", "posthorn-topics")
        .create()?;
    let options =
        AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT));
    let topics = [EVENTS, WAKES].map(|name| {
        SETTINGS.iter().fold(
            NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(REPLICAS)),
            |topic, (setting, value)| topic.set(setting, value),
        )
    });
    let mut made = Vec::new();
    for (topic, result) in
        [EVENTS, WAKES].into_iter().zip(admin.create_topics(&topics, &options).await?)
    {
        match result {
            Ok(_) => {
                made.push(topic);
                tracing::info!(topic, partitions = PARTITIONS, "created the topic");
            }
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(Error::Topic { topic, reason: code.to_string() }),
        }
    }
    let specifiers = [EVENTS, WAKES].map(ResourceSpecifier::Topic);
    for tries_left in (0..DESCRIBE_TRIES).rev() {
        let described = admin.describe_configs(&specifiers, &options).await?;
        let is_told =
            |described: &Described| described.as_ref().is_ok_and(|it| !it.entries.is_empty());
        // A broker that does not know a new topic yet, whoever made it, tells no setting of it at all.
        if tries_left > 0 && !described.iter().all(is_told) {
            tokio::time::sleep(DESCRIBE_PAUSE).await;
            continue;
        }
        let known = [EVENTS, WAKES].into_iter().zip(described);
        let before = known.filter(|(topic, _)| !made.contains(topic));
        return Ok(before.flat_map(|(topic, described)| oddities(topic, described)).collect());
    }
    Ok(Vec::new())
}

/// Who is in a consumer group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Somebody, and everybody has a place: records are read.
    Placed,
    /// Somebody who waits for a place, or it cannot be told.
    Unsettled,
    /// Nobody, or there is no such group.
    Nobody,
}

/// Who is in the consumer group `group`. One that went without a word is in it for its session's
/// timeout still.
///
/// # Errors
/// When Kafka is away.
pub async fn readers(kafka: &str, group: &str) -> Result<Readers, Error> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("client.id", "posthorn-register")
        .create()?;
    let wanted = group.to_owned();
    let look = move || {
        let groups = admin.inner().fetch_group_list(Some(&wanted), TIMEOUT)?;
        let found = groups.groups().iter().find(|found| found.name() == wanted);
        Ok(found.map_or(Readers::Nobody, |found| {
            match (found.state(), found.members().is_empty()) {
                ("Stable", false) => Readers::Placed,
                ("Empty" | "Dead", true) => Readers::Nobody,
                // Also where its coordinator tells no more than its name.
                _ => Readers::Unsettled,
            }
        }))
    };
    tokio::task::spawn_blocking(look)
        .await
        .unwrap_or(Err(KafkaError::Canceled))
        .map_err(Error::from)
}

fn oddities(topic: &'static str, described: Described) -> Vec<Oddity> {
    let described = described.ok().filter(|described| !described.entries.is_empty());
    let Some(described) = described else { return vec![Oddity::Unreadable { topic }] };
    let found = |setting| described.get(setting).and_then(|entry| entry.value.clone());
    SETTINGS
        .into_iter()
        .map(|(setting, wanted)| (setting, wanted, found(setting)))
        .filter(|(_, wanted, found)| found.as_deref() != Some(wanted))
        .map(|(setting, wanted, found)| Oddity::OtherSetting { topic, setting, wanted, found })
        .collect()
}

/// Which of the two topics are missing on the brokers that `client` knows. Blocks.
pub(crate) fn missing<C: rdkafka::ClientContext>(
    client: &rdkafka::client::Client<C>,
    timeout: Duration,
) -> Result<Vec<&'static str>, Error> {
    let mut missing = Vec::new();
    for topic in [EVENTS, WAKES] {
        let metadata = client.fetch_metadata(Some(topic), timeout)?;
        for found in metadata.topics() {
            match found.error().map(RDKafkaErrorCode::from) {
                None => {}
                Some(
                    RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic,
                ) => missing.push(topic),
                Some(code) => return Err(KafkaError::MetadataFetch(code).into()),
            }
        }
    }
    Ok(missing)
}
