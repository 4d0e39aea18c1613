//! `posthorn cdc switch` where the installation began behind Sequin, and where Sequin does not stand.
//!
//! What stands for Sequin is the server of `cdc_switch`.

use std::time::Duration;

use anyhow::{Context, ensure};
use posthorn_tests::{Lab, Receiver};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientConfig, Message as _};
use sqlx::{Connection, Executor, PgConnection};
use tokio::task::JoinHandle;

use crate::cdc_each_once::{EVENTS, NOBODY};
use crate::cdc_switch::{Installation, Shared, lock, sequin_beside, stands};
use crate::merchant;

const SOON: Duration = Duration::from_secs(30);

/// Subscribed to Sequin's topic alone, Sequin's slot alone, and our relay never took part.
async fn begin_behind_sequin(installation: &Installation, sequin: &Shared) -> anyhow::Result<()> {
    let streams = "select count(*) from pg_replication_slots where slot_name = $1 and active";
    // While nobody is noted: it is our relay's code, which would stand by.
    lock(sequin).start()?;
    posthorn_tests::until("the fake streams", SOON, async || {
        let mut db = PgConnection::connect(&installation.lab.database_url()?).await?;
        let count: i64 = sqlx::query_scalar(streams).bind("sequin_slot").fetch_one(&mut db).await?;
        ensure!(count == 1, "not yet");
        Ok(())
    })
    .await?;
    let admin = format!("http://127.0.0.1:{}", installation.lab.ports()?.restate_admin);
    let restate = posthorn_tests::Api::new(&admin)?;
    let known = restate.get("/subscriptions").await?;
    for subscription in known["subscriptions"].as_array().context("subscriptions")? {
        let id = subscription["id"].as_str().context("no id")?;
        restate.send("DELETE", &format!("/subscriptions/{id}"), &[], "").await?;
    }
    register_and_let_the_relay_go(installation).await
}

async fn register_and_let_the_relay_go(installation: &Installation) -> anyhow::Result<()> {
    installation.register_behind_sequin().await?;
    let mut db = PgConnection::connect(&installation.lab.database_url()?).await?;
    // It reads who announces when a session begins.
    db.execute(
        "select pg_terminate_backend(active_pid) from pg_replication_slots
         where slot_name = 'posthorn_relay'",
    )
    .await?;
    posthorn_tests::until("the relay stands by", SOON, async || {
        let mut db = PgConnection::connect(&installation.lab.database_url()?).await?;
        db.execute("select pg_drop_replication_slot('posthorn_relay')").await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_that_began_behind_sequin_is_known_as_one_and_moves_to_the_relay()
-> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let (shared, url) = sequin_beside(&lab).await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("began");
    api.merchant(&merchant, receiver.url()).await?;
    let installation = Installation { lab, url };
    begin_behind_sequin(&installation, &shared).await?;
    let behind_sequin = stands("sequin_slot", "webhook-events");
    ensure!(installation.stands().await? == behind_sequin);
    let mut db = PgConnection::connect(&installation.lab.database_url()?).await?;

    // Nobody noted who announces, so the relay comes back beside Sequin: nothing is touched.
    db.execute("delete from cdc_producer").await?;
    let began = "select count(*) from pg_replication_slots where active";
    posthorn_tests::until("two announce", SOON, async || {
        let mut db = PgConnection::connect(&installation.lab.database_url()?).await?;
        let count: i64 = sqlx::query_scalar(began).fetch_one(&mut db).await?;
        ensure!(count == 2, "not yet");
        Ok(())
    })
    .await?;
    let found = installation.stands().await?;
    for words in [&["relay"][..], &["sequin", "--relay-slot", "no_such_slot"]] {
        let (is_done, said) = installation.typed(words).await?;
        let is_helpful = said.contains("register --topic webhook-events");
        ensure!(!is_done && is_helpful, "{words:?}: {said}");
        ensure!(installation.stands().await? == found, "{words:?}: {said}");
    }
    ensure!(lock(&shared).asked.is_empty(), "Sequin was told something");

    register_and_let_the_relay_go(&installation).await?;
    let said = installation.switch("relay").await?;
    let found = installation.stands().await?;
    ensure!(found == stands("posthorn_relay", "webhook-wakes"), "{found:?}\n{said}");
    api.payment(&merchant, 1).await?;
    receiver.wait_for(1, SOON).await.with_context(|| said)?;
    Ok(())
}

/// Says once more what is said next of a row that nobody sees.
async fn repeat_the_next_about_nobody(
    installation: &Installation,
) -> anyhow::Result<JoinHandle<anyhow::Result<()>>> {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", format!("127.0.0.1:{}", installation.lab.ports()?.kafka));
    client.set("group.id", "the-test");
    let (producer, consumer): (FutureProducer, BaseConsumer) = (client.create()?, client.create()?);
    let consumer = tokio::task::spawn_blocking(move || {
        at_its_end(&consumer)?;
        anyhow::Ok(consumer)
    });
    let consumer = consumer.await??;
    Ok(tokio::spawn(async move {
        let record = tokio::task::spawn_blocking(move || {
            loop {
                let record = consumer.poll(SOON).context("nothing about nobody came")??.detach();
                if record.key() == Some(NOBODY.as_bytes()) {
                    return anyhow::Ok(record);
                }
            }
        });
        let record = record.await??;
        let value = record.payload().context("no value")?;
        let again = FutureRecord::to(EVENTS).key(NOBODY).payload(value);
        producer.send(again, SOON).await.map_err(|(error, _)| error)?;
        Ok(())
    }))
}

fn at_its_end(consumer: &BaseConsumer) -> anyhow::Result<()> {
    let metadata = consumer.fetch_metadata(Some(EVENTS), SOON)?;
    let mut ends = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let (_, end) = consumer.fetch_watermarks(EVENTS, partition.id(), SOON)?;
        ends.add_partition_offset(EVENTS, partition.id(), Offset::Offset(end))?;
    }
    Ok(consumer.assign(&ends)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequin_that_never_streams_or_announces_is_taken_back_and_a_dead_one_can_be_left()
-> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let (shared, url) = sequin_beside(&lab).await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("mute");
    api.merchant(&merchant, receiver.url()).await?;
    let mut installation = Installation { lab, url };
    let behind_relay = stands("posthorn_relay", "webhook-wakes");

    lock(&shared).is_mute = true;
    let (is_done, said) = installation.typed(&["sequin", "--step-seconds", "2"]).await?;
    ensure!(!is_done && said.contains("everything is as it was"), "{said}");
    ensure!(installation.stands().await? == behind_relay, "{said}");
    let asked = lock(&shared).asked.clone();
    ensure!(asked.ends_with(&["delete webhook-events", "delete posthorn"].map(String::from)));
    api.payment(&merchant, 1).await?;
    receiver.wait_for(1, SOON).await?;

    lock(&shared).is_mute = false;
    lock(&shared).is_silent = true;
    // A relay that begins anew announces again what it had announced: that is not Sequin yet.
    let repeated = repeat_the_next_about_nobody(&installation).await?;
    let (is_done, said) = installation.typed(&["sequin", "--step-seconds", "6"]).await?;
    repeated.await??;
    let is_told = said.contains("announced nothing") && said.contains("everything is as it was");
    ensure!(!is_done && is_told, "{said}");
    ensure!(installation.stands().await? == behind_relay, "{said}");
    api.payment(&merchant, 2).await?;
    receiver.wait_for(2, SOON).await?;

    lock(&shared).is_silent = false;
    installation.switch("sequin").await?;
    lock(&shared).stop();
    installation.url = "http://127.0.0.1:9".to_owned();
    api.payment(&merchant, 3).await?;
    let (is_done, said) = installation.typed(&["relay"]).await?;
    ensure!(!is_done && said.contains("--sequin-is-gone"), "{said}");
    let (is_done, said) = installation.typed(&["relay", "--sequin-is-gone"]).await?;
    ensure!(is_done, "{said}");
    ensure!(installation.stands().await? == behind_relay, "{said}");
    receiver.wait_for(3, SOON).await.with_context(|| said)?;
    Ok(())
}
