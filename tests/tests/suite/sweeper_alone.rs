//! All of Restate's data is gone and so are the topics' records, as after their retention: nobody but
//! the sweeper knows of anything that waits, and every delivery still goes out.

use std::time::Duration;

use anyhow::ensure;
use posthorn_tests::{Lab, Scraped};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::restate_lost::{Waiting, wipe_while_it_runs};

const TOPICS: [&str; 2] = ["webhook-events", "webhook-wakes"];
const SOON: Duration = Duration::from_secs(30);

/// Deletes every record by Kafka's own tool for that; how many there were.
async fn delete_all_records(lab: &Lab) -> anyhow::Result<i64> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", format!("127.0.0.1:{}", lab.ports()?.kafka))
        .create()?;
    let mut all = TopicPartitionList::new();
    for topic in TOPICS {
        let metadata = admin.inner().fetch_metadata(Some(topic), SOON)?;
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            all.add_partition_offset(topic, partition.id(), Offset::End)?;
        }
    }
    let left = || -> anyhow::Result<i64> {
        let mut left = 0;
        for one in all.elements() {
            let (low, high) = admin.inner().fetch_watermarks(one.topic(), one.partition(), SOON)?;
            left += high - low;
        }
        Ok(left)
    };
    let before = left()?;
    let deleted = admin.delete_records(&all, &AdminOptions::new()).await?;
    deleted.elements().iter().try_for_each(|one| one.error())?;
    ensure!(left()? == 0, "{} records are left", left()?);
    Ok(before)
}

/// The lines in which the sweeper says whom it found.
fn found_by_the_sweeper(lab: &Lab) -> anyhow::Result<Vec<String>> {
    let log = std::fs::read_to_string(lab.dir().join("log/worker.log"))?;
    let lines = log.lines().filter(|line| line.contains("the sweeper found endpoints left alone"));
    Ok(lines.map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_delivery_goes_out_though_nobody_but_the_sweeper_knows_of_it() -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let unwell = Waiting::of(&lab, "unwell", 500).await?;
    let refusing = Waiting::of(&lab, "refusing", 422).await?;
    let records = delete_all_records(&lab).await?;
    // Six deliveries, and a wake of each merchant's at least.
    ensure!(records >= 8, "{records} records");
    ensure!(found_by_the_sweeper(&lab)?.is_empty(), "something was lost before");
    wipe_while_it_runs(&lab).await?;
    unwell.has_all(3).await?;
    refusing.has_all(3).await?;
    let found = found_by_the_sweeper(&lab)?;
    for waiting in [unwell, refusing] {
        let is_named = found.iter().any(|line| line.contains(&waiting.endpoint));
        ensure!(is_named, "who else was it? {found:?}");
    }
    let counted = Scraped::of(lab.ports()?.worker_health).await?;
    let times = counted.value("posthorn_sweeper_found_total")?;
    ensure!((2.0..=6.0).contains(&times), "two endpoints, {times} times");
    ensure!(counted.value("posthorn_sweeper_rounds_total{result=\"swept\"}")? >= 1.0);
    Ok(())
}
