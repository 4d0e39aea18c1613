//! The announcer against a broker that lives inside the Kafka client: real produce requests, real
//! acknowledgements, and faults on demand.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use domain::{DeliveryId, EndpointId};
use futures::future::BoxFuture;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use uuid::Uuid;

use crate::announced::Announced;
use crate::announcer::Announcer;
use crate::error::Error;
use crate::merge::WINDOW;
use crate::publisher::{Connected, Publisher};
use crate::record::Record;
use crate::topics::{EVENTS, WAKES};

const PARTITIONS: i32 = 3;
const READ_TIMEOUT: Duration = Duration::from_secs(10);

fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).expect("a broker");
    for topic in [EVENTS, WAKES] {
        cluster.create_topic(topic, PARTITIONS, 1).expect("a topic");
    }
    cluster
}

async fn announcer(brokers: &str) -> Announcer {
    announcer_that_asks(brokers, |endpoint| Some((endpoint, Some(Uuid::now_v7())))).await
}

/// With a database that answers so.
async fn announcer_that_asks(
    brokers: &str,
    fence: impl Fn(EndpointId) -> Option<(EndpointId, Option<Uuid>)> + Send + Sync + 'static,
) -> Announcer {
    let Connected { publisher, acknowledgements, .. } =
        Publisher::connect(brokers).await.expect("connects");
    let fences = Box::new(move |endpoints: Vec<EndpointId>| {
        let fences = endpoints.into_iter().filter_map(&fence).collect();
        let answer: BoxFuture<'static, _> = Box::pin(std::future::ready(Ok(fences)));
        answer
    });
    Announcer::new(publisher, acknowledgements, Announced::default(), fences)
}

fn record(delivery: u64, endpoint: u64) -> Record {
    let endpoint = EndpointId::from(Uuid::from_u128(u128::from(endpoint)));
    let delivery = DeliveryId::from(Uuid::from_u128(u128::from(delivery)));
    Record {
        delivery,
        endpoint,
        key: endpoint.to_string(),
        value: delivery.to_string().into_bytes(),
    }
}

/// Everything on a topic: partition → (key, value), in order.
fn read(brokers: &str, topic: &str) -> BTreeMap<i32, Vec<(String, String)>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "test")
        .create()
        .expect("a consumer");
    let mut assignment = TopicPartitionList::new();
    let mut expected = 0;
    for partition in 0..PARTITIONS {
        let (low, high) =
            consumer.fetch_watermarks(topic, partition, READ_TIMEOUT).expect("watermarks");
        expected += high - low;
        assignment.add_partition_offset(topic, partition, Offset::Beginning).expect("assigned");
    }
    consumer.assign(&assignment).expect("assigned");
    let mut read: BTreeMap<i32, Vec<(String, String)>> = BTreeMap::new();
    for _ in 0..expected {
        let message = consumer.poll(READ_TIMEOUT).expect("in time").expect("a record");
        let text = |bytes: Option<&[u8]>| {
            String::from_utf8(bytes.expect("present").to_vec()).expect("UTF-8")
        };
        read.entry(message.partition())
            .or_default()
            .push((text(message.key()), text(message.payload())));
    }
    read
}

async fn drain(announcer: &mut Announcer) -> Vec<u64> {
    let mut settled = Vec::new();
    while !announcer.is_idle() {
        settled.extend(announcer.announced().await.expect("acknowledged"));
    }
    settled
}

#[tokio::test]
async fn every_delivery_is_on_both_topics_in_order_before_it_counts_as_announced() {
    const DELIVERIES: u64 = 600;
    const ENDPOINTS: u64 = 7;
    let cluster = cluster();
    let brokers = cluster.bootstrap_servers();
    let mut announcer = announcer(&brokers).await;
    for delivery in 0..DELIVERIES {
        announcer
            .announce(record(delivery, delivery % ENDPOINTS), Some(delivery), None)
            .expect("sent");
    }
    let mut settled = drain(&mut announcer).await;
    settled.sort_unstable();
    assert_eq!(settled, (0..DELIVERIES).collect::<Vec<_>>(), "each once");

    let events = read(&brokers, EVENTS);
    let mut by_key: HashMap<String, Vec<String>> = HashMap::new();
    for (key, value) in events.values().flatten() {
        by_key.entry(key.clone()).or_default().push(value.clone());
    }
    for endpoint in 0..ENDPOINTS {
        let expected: Vec<String> = (endpoint..DELIVERIES)
            .step_by(7)
            .map(|delivery| DeliveryId::from(Uuid::from_u128(u128::from(delivery))).to_string())
            .collect();
        assert_eq!(by_key[&record(0, endpoint).key], expected, "one each, in order");
    }

    let wakes = read(&brokers, WAKES);
    let woken = wakes.values().flatten().fold(0_u64, |count, _| count + 1);
    assert!(woken < DELIVERIES / 2, "{woken} wakes: nothing was merged");
    for endpoint in 0..ENDPOINTS {
        let key = record(0, endpoint).key;
        let last = wakes.values().flatten().rfind(|(k, _)| *k == key).map(|(_, value)| value);
        assert_eq!(last, by_key[&key].last(), "the last one is never swallowed");
    }
    let place = |topic: &BTreeMap<i32, Vec<(String, String)>>| -> BTreeSet<(String, i32)> {
        topic
            .iter()
            .flat_map(|(partition, records)| {
                records.iter().map(|(key, _)| (key.clone(), *partition))
            })
            .collect()
    };
    assert_eq!(place(&events), place(&wakes), "a key has one partition, the same on both");
}

#[tokio::test]
async fn a_broker_that_stumbles_costs_neither_a_record_nor_the_order() {
    let cluster = cluster();
    let brokers = cluster.bootstrap_servers();
    let mut announcer = announcer(&brokers).await;
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 3],
    );
    for delivery in 0..50 {
        announcer.announce(record(delivery, 1), Some(delivery), None).expect("sent");
    }
    assert_eq!(drain(&mut announcer).await.len(), 50);
    let events: Vec<String> =
        read(&brokers, EVENTS).into_values().flatten().map(|(_, value)| value).collect();
    let expected: Vec<String> =
        (0..50).map(|delivery| record(delivery, 1).delivery.to_string()).collect();
    assert_eq!(events, expected);
}

#[tokio::test]
async fn a_record_that_is_refused_ends_the_session_and_is_never_counted() {
    let cluster = cluster();
    let mut announcer = announcer(&cluster.bootstrap_servers()).await;
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 20],
    );
    announcer.announce(record(1, 1), Some(1), None).expect("sent");
    let error = announcer.announced().await.expect_err("refused");
    assert!(matches!(error, Error::Kafka(_)), "{error}");
    assert!(!announcer.is_idle());
}

#[tokio::test]
async fn what_kafka_does_not_acknowledge_in_time_ends_the_session() {
    let cluster = cluster();
    let mut announcer = announcer(&cluster.bootstrap_servers()).await;
    cluster.broker_down(1).expect("down");
    announcer.announce(record(1, 1), Some(1), None).expect("sent");
    let error = announcer.announced().await.expect_err("gives up");
    assert!(matches!(error, Error::KafkaStalled { .. }), "{error}");
}

/// Announces as many, one after the other, each in a window of its own.
async fn announce_slowly(announcer: &mut Announcer, deliveries: u64) -> Vec<u64> {
    let mut settled = Vec::new();
    for delivery in 0..deliveries {
        announcer.announce(record(delivery, 1), Some(delivery), None).expect("sent");
        settled.extend(drain(announcer).await);
        tokio::time::sleep(WINDOW).await;
    }
    settled
}

#[tokio::test]
async fn while_nobody_looks_a_handful_of_wakes_stands_for_everything_that_is_announced() {
    let cluster = cluster();
    let brokers = cluster.bootstrap_servers();
    let same = Uuid::from_u128(1);
    let mut announcer =
        announcer_that_asks(&brokers, move |endpoint| Some((endpoint, Some(same)))).await;
    let settled = announce_slowly(&mut announcer, 40).await;
    assert_eq!(settled, (0..40).collect::<Vec<_>>(), "all count as announced, in order");
    let count = |topic| read(&brokers, topic).values().map(Vec::len).sum::<usize>();
    assert_eq!(count(EVENTS), 40);
    let woken = count(WAKES);
    assert!(woken <= 6, "{woken} wakes");
}

#[tokio::test]
async fn whom_somebody_looks_at_or_nobody_knows_gets_every_wake() {
    let looking = |endpoint| Some((endpoint, None));
    let unknown = |_: EndpointId| None;
    for fence in [looking as fn(EndpointId) -> _, unknown] {
        let cluster = cluster();
        let brokers = cluster.bootstrap_servers();
        let mut announcer = announcer_that_asks(&brokers, fence).await;
        let settled = announce_slowly(&mut announcer, 20).await;
        assert_eq!(settled, (0..20).collect::<Vec<_>>());
        let woken: usize = read(&brokers, WAKES).values().map(Vec::len).sum();
        assert_eq!(woken, 20);
    }
}
