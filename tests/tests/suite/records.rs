//! Records that are no announcements, and a slot that is gone.

use std::time::Duration;

use anyhow::{Context, ensure};
use posthorn_tests::{Receiver, until};
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
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
    let other = "ep_0198c5a4-1111-7abc-8def-0123456789ab";
    for (key, value) in [(endpoint.as_str(), marker.as_str()), ("demo", &marker), (other, "{}")] {
        let record = FutureRecord::to("webhook-wakes").key(key).payload(value);
        producer.send(record, SOON).await.map_err(|(error, _)| error)?;
    }
    api.payment(&merchant, 1).await?;
    receiver.wait_for(1, SOON).await?;
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    let parked: Vec<(String, i32, i64, String)> = sqlx::query_as(
        "select topic, partition, record_offset, reason from parked_records
         where convert_from(excerpt, 'UTF8') = $1 order by key",
    )
    .bind(&marker)
    .fetch_all(&mut db)
    .await?;
    ensure!(parked.len() == 2, "{parked:?}");
    let reasons: Vec<&str> = parked.iter().map(|row| row.3.as_str()).collect();
    ensure!(
        reasons[0].starts_with("the key") && reasons[1].starts_with("the value"),
        "{reasons:?}"
    );
    ensure!(parked.iter().all(|row| row.0 == "webhook-wakes" && row.1 >= 0 && row.2 >= 0));
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
