//! Records that are no announcements, and a slot that is gone.

use std::time::Duration;

use anyhow::{Context, ensure};
use posthorn_tests::{Lab, Receiver, until};
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::Value;
use sqlx::{Connection, PgConnection};

use crate::crash;
use crate::{merchant, shared_lab};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_understood_is_parked_and_the_next_ones_go_on() -> anyhow::Result<()>
{
    let lab = shared_lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("parked");
    let endpoint = api.merchant(&merchant, receiver.url()).await?;
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", format!("127.0.0.1:{}", lab.ports()?.kafka))
        .create()?;
    let marker = format!("not json, for {endpoint}");
    let after = format!("after one, for {endpoint}");
    let other = "ep_0198c5a4-1111-7abc-8def-0123456789ab";
    let absurd = "x".repeat(900_000);
    for (key, value) in [
        (endpoint.as_str(), marker.as_str()),
        ("demo", &marker),
        (other, "{}"),
        ("", &marker),
        (&endpoint, &absurd),
        (&absurd[..300_000], &marker),
    ] {
        let record = FutureRecord::to("webhook-wakes").key(key).payload(value);
        let sent = producer.send(record, SOON).await.map_err(|(error, _)| error)?;
        // And one that follows it on its partition.
        let next = FutureRecord::to("webhook-wakes").partition(sent.partition);
        let next = next.key("demo").payload(&after);
        producer.send(next, SOON).await.map_err(|(error, _)| error)?;
    }
    api.payment(&merchant, 1).await?;
    receiver.wait_for(1, SOON).await?;
    until("what follows the last broken one is parked", SOON, async || {
        let follow = parked(lab, &after).await?.len();
        ensure!(follow == 6, "{follow} of 6 are");
        Ok(())
    })
    .await?;
    let parked = parked(lab, &marker).await?;
    ensure!(parked.len() == 4, "{parked:?}");
    ensure!(parked.iter().all(|row| row.0 == "webhook-wakes" && row.1 >= 0 && row.2 >= 0));
    let reasons: Vec<&str> = parked.iter().map(|row| row.3.as_str()).collect();
    let begin = ["the key", "the key", "the value", "the key"];
    ensure!(
        reasons.iter().zip(begin).all(|(reason, begin)| reason.starts_with(begin)),
        "{reasons:?}"
    );
    ensure!(reasons.iter().all(|reason| reason.len() < 400), "a reason is no copy of the record");
    is_listed(lab, &endpoint, &marker)
}

/// Topic, partition, offset and reason of what is parked with this value, by key.
async fn parked(lab: &Lab, value: &str) -> anyhow::Result<Vec<(String, i32, i64, String)>> {
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    let rows = sqlx::query_as(
        "select topic, partition, record_offset, reason from parked_records
         where excerpt = convert_to($1, 'UTF8') order by key",
    )
    .bind(value)
    .fetch_all(&mut db)
    .await?;
    Ok(rows)
}

/// What an operator reads of them.
fn is_listed(lab: &Lab, endpoint: &str, marker: &str) -> anyhow::Result<()> {
    let url = lab.database_url()?;
    let parked = |arguments: &[&str]| {
        lab.posthorn(&[&["parked"], arguments, &["--database-url", &url]].concat())
    };
    let lines = parked(&["list", "--json", "--limit", "1000"])?;
    let records: Vec<Value> = lines
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .context("a line is an object")?;
    let of_endpoint = |wanted: &str| {
        records.iter().find(|record| {
            record["key"] == endpoint
                && record["excerpt"].as_str().is_some_and(|text| text.starts_with(wanted))
        })
    };
    let absurd = of_endpoint("xxx").context("the one of an absurd size")?;
    ensure!(absurd["reason"] == "900000 bytes; at most 65536 are read", "{}", absurd["reason"]);
    let record = of_endpoint(marker).context("the one that is no JSON")?;
    let shown = parked(&["show", record["id"].as_str().context("an id")?])?;
    for line in [
        "topic      webhook-wakes".to_owned(),
        format!("partition  {}", record["partition"]),
        format!("offset     {}", record["offset"]),
        format!("key        {endpoint}"),
        format!("value      {marker}"),
    ] {
        ensure!(shown.lines().any(|shown| shown == line), "{line} is not in:\n{shown}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_gone_is_made_anew_and_nothing_is_missed() -> anyhow::Result<()> {
    let lab = crash::lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("slot");
    api.merchant(&merchant, receiver.url()).await?;
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    // The walsender is ended and the slot dropped before the relay is back at it.
    until("the slot is gone", SOON, async || {
        let mut db = PgConnection::connect(&lab.database_url()?).await?;
        sqlx::query("select pg_terminate_backend(active_pid) from pg_replication_slots")
            .execute(&mut db)
            .await?;
        sqlx::query("select pg_drop_replication_slot(slot_name) from pg_replication_slots")
            .execute(&mut db)
            .await
            .context("still in use")?;
        // In the very moment in which no slot would tell of it.
        sqlx::query("insert into payments (merchant_id, amount, currency) values ($1, 1, 'USD')")
            .bind(&merchant)
            .execute(&mut db)
            .await?;
        Ok(())
    })
    .await?;
    sqlx::query("insert into payments (merchant_id, amount, currency) values ($1, 2, 'USD')")
        .bind(&merchant)
        .execute(&mut db)
        .await?;
    let seen = receiver.wait_for(2, Duration::from_secs(45)).await?;
    let amounts: Vec<i64> =
        seen.iter().filter_map(|request| request.json()["data"]["amount"].as_i64()).collect();
    ensure!(amounts == [1, 2], "{amounts:?}");
    Ok(())
}
