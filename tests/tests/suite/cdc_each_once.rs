//! `posthorn cdc switch` where nothing heals a gap: many endpoints, each paid once around it. What
//! one merchant's next payment would bring along is missed here.

use std::collections::HashSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use posthorn_tests::{Api, Lab, Receiver, until};
use rdkafka::ClientConfig;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;
use sqlx::{Connection, Executor, PgConnection};

use crate::cdc_at_once::half_way;
use crate::cdc_switch::{Installation, hold_the_relay, sequin_beside, stands};
use crate::merchant;

const SOON: Duration = Duration::from_secs(30);
/// A switch that does not wait would have ended by then.
const LONG: Duration = Duration::from_secs(4);
pub(crate) const EVENTS: &str = "webhook-events";
pub(crate) const NOBODY: &str = "ep_00000000-0000-0000-0000-000000000000";

struct Shop {
    installation: Installation,
    api: Api,
    receiver: Receiver,
    paid: usize,
}

impl Shop {
    /// So many payments, each of a merchant of its own.
    async fn pay(&mut self, count: usize) -> anyhow::Result<()> {
        for _ in 0..count {
            let merchant = merchant("once");
            self.api.merchant(&merchant, self.receiver.url()).await?;
            self.api.payment(&merchant, 1).await?;
            self.paid += 1;
        }
        Ok(())
    }

    async fn all_came(&self) -> anyhow::Result<()> {
        self.receiver.wait_for(self.paid, SOON).await.map(drop)
    }

    /// The deliveries, when all are settled: that comes after a merchant's answer.
    async fn finished(&self) -> anyhow::Result<Vec<String>> {
        until("all are settled", SOON, async || {
            let all = sqlx::query_scalar("select id::text from finished_deliveries");
            let all: Vec<String> = all.fetch_all(&mut self.db().await?).await?;
            ensure!(all.len() == self.paid, "{} of {}", all.len(), self.paid);
            Ok(all)
        })
        .await
    }

    fn kafka(&self) -> anyhow::Result<String> {
        Ok(format!("127.0.0.1:{}", self.installation.lab.ports()?.kafka))
    }

    async fn db(&self) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect(&self.installation.lab.database_url()?).await?)
    }

    /// Whoever reads Sequin's topic from here on, or from before, parks this.
    async fn leave_a_broken_record(&self) -> anyhow::Result<()> {
        let producer: FutureProducer =
            ClientConfig::new().set("bootstrap.servers", self.kafka()?).create()?;
        let broken = FutureRecord::to(EVENTS).key("no endpoint").payload("{}");
        producer.send(broken, SOON).await.map_err(|(error, _)| error)?;
        Ok(())
    }

    async fn parked(&self) -> anyhow::Result<i64> {
        let mut db = self.db().await?;
        let count = sqlx::query_scalar("select count(*) from parked_records");
        Ok(count.fetch_one(&mut db).await?)
    }

    /// The deliveries that stand on Sequin's topic, but for the first `skipped` of each partition.
    async fn announced(&self, skipped: &[i64]) -> anyhow::Result<(Vec<i64>, HashSet<String>)> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.kafka()?)
            .set("group.id", "the-test")
            .create()?;
        let skipped = skipped.to_vec();
        tokio::task::spawn_blocking(move || read(&consumer, &skipped)).await?
    }
}

fn read(consumer: &BaseConsumer, skipped: &[i64]) -> anyhow::Result<(Vec<i64>, HashSet<String>)> {
    let metadata = consumer.fetch_metadata(Some(EVENTS), SOON)?;
    let partitions = metadata.topics()[0].partitions().len();
    let (mut ends, mut missing, mut from) = (Vec::new(), 0, TopicPartitionList::new());
    for partition in 0..partitions {
        let id = i32::try_from(partition)?;
        let (_, end) = consumer.fetch_watermarks(EVENTS, id, SOON)?;
        let begin = skipped.get(partition).copied().unwrap_or(0);
        from.add_partition_offset(EVENTS, id, Offset::Offset(begin))?;
        missing += end - begin;
        ends.push(end);
    }
    consumer.assign(&from)?;
    let mut seen = HashSet::new();
    while missing > 0 {
        let record = consumer.poll(SOON).context("the topic has less than it says")??;
        missing -= 1;
        if record.key() == Some(NOBODY.as_bytes()) {
            continue;
        }
        let value: Value = serde_json::from_slice(record.payload().unwrap_or_default())?;
        let delivery = value["delivery_id"].as_str().unwrap_or_default();
        seen.insert(delivery.trim_start_matches("dlv_").to_owned());
    }
    Ok((ends, seen))
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_are_paid_once_around_a_switch_all_get_their_payment() -> anyhow::Result<()>
{
    let lab = Lab::start().await?;
    let (_shared, url) = sequin_beside(&lab).await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let mut shop = Shop { installation: Installation { lab, url }, api, receiver, paid: 0 };
    to_sequin(&mut shop).await?;
    to_the_relay(&mut shop).await?;
    back_at_once(&mut shop).await
}

async fn to_sequin(shop: &mut Shop) -> anyhow::Result<()> {
    shop.pay(10).await?;
    shop.all_came().await?;
    shop.leave_a_broken_record().await?;

    let relay = hold_the_relay(&shop.installation)?;
    shop.pay(20).await?;
    let switch = half_way(&shop.installation).await?;
    // Neither of them ever announces this one: as if its record had not been read in time.
    let mut db = shop.db().await?;
    db.execute("alter publication posthorn_deliveries drop table deliveries").await?;
    shop.pay(1).await?;
    let unannounced: String =
        sqlx::query_scalar("select max(id::text) from deliveries").fetch_one(&mut db).await?;
    db.execute("alter publication posthorn_deliveries add table deliveries").await?;
    tokio::time::sleep(LONG).await;
    let (slots, _) = shop.installation.stands().await?;
    ensure!(slots == ["posthorn_relay", "sequin_slot"], "the relay owes its last word: {slots:?}");
    kill(relay, Signal::SIGCONT)?;
    shop.pay(10).await?;
    let switch = switch.wait_with_output().await?;
    let said = String::from_utf8_lossy(&switch.stdout).into_owned();
    ensure!(switch.status.success(), "{said}");
    ensure!(shop.installation.stands().await? == stands("sequin_slot", EVENTS), "{said}");
    shop.pay(10).await?;
    shop.all_came().await.with_context(|| said.clone())?;

    let (_, announced) = shop.announced(&[]).await?;
    let deliveries = shop.finished().await?;
    let missing: Vec<_> = deliveries.iter().filter(|id| !announced.contains(*id)).collect();
    ensure!(missing == [&unannounced], "not on {EVENTS}: {missing:?}, {unannounced}\n{said}");
    ensure!(shop.parked().await? == 0, "Restate read {EVENTS} from its beginning\n{said}");
    Ok(())
}

/// The consumer that went a moment ago is still in its group: its place is the end all the same.
async fn back_at_once(shop: &mut Shop) -> anyhow::Result<()> {
    shop.leave_a_broken_record().await?;
    let said = shop.installation.switch("sequin").await?;
    shop.pay(5).await?;
    shop.all_came().await.with_context(|| said.clone())?;
    ensure!(shop.parked().await? == 0, "Restate read {EVENTS} from where it was before\n{said}");
    Ok(())
}

async fn to_the_relay(shop: &mut Shop) -> anyhow::Result<()> {
    let old = shop.finished().await?;
    let (ends, _) = shop.announced(&[]).await?;
    let begun = Instant::now();
    let switch = shop.installation.command(&["relay"])?.stdout(Stdio::piped()).spawn()?;
    shop.pay(20).await?;
    let switch = switch.wait_with_output().await?;
    let said = String::from_utf8_lossy(&switch.stdout).into_owned();
    ensure!(switch.status.success(), "after {:?}: {said}", begun.elapsed());
    let behind_relay = stands("posthorn_relay", "webhook-wakes");
    ensure!(shop.installation.stands().await? == behind_relay, "{said}");
    shop.pay(10).await?;
    shop.all_came().await.with_context(|| said.clone())?;
    // Sequin announced what finished before: nothing of it is announced again.
    let (_, announced) = shop.announced(&ends).await?;
    let again = old.iter().filter(|id| announced.contains(*id)).count();
    ensure!(again == 0, "{again} of {} were announced again\n{said}", old.len());
    ensure!(announced.len() >= 30, "{}", announced.len());
    Ok(())
}
