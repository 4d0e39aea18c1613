//! Behind a CDC that is not ours: its records as they come at their worst, through the real Kafka
//! and the real Restate, with the subscription on `webhook-events`.
//!
//! Our relay is held still. Records are made as Sequin makes them (one for each row, no merging,
//! no waiting for the row), then doubled, reordered, late, early, and all over again.

use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use posthorn_tests::{Api, Lab, Receiver, until};
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::merchant;
use crate::traces::{of_caller, pay};

/// Less than the minute after which the sweeper would come.
const BEFORE_THE_SWEEPER: Duration = Duration::from_secs(25);
const SOON: Duration = Duration::from_secs(30);
const TOPIC: &str = "webhook-events";
/// The contract's record of each of a merchant's rows, in the order of the outbox.
const RECORDS: &str = "
    select 'ep_' || endpoint_id as key, json_build_object(
        'delivery_id', 'dlv_' || id, 'event_id', 'evt_' || event_id,
        'endpoint_id', 'ep_' || endpoint_id, 'merchant_id', merchant_id,
        'event_type', event_type, 'object_id', object_id,
        'occurred_at', to_char(occurred_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
        'traceparent', traceparent)::text as value
    from deliveries where merchant_id = $1 order by sequence";

/// Key and value.
pub(crate) type Record = (String, String);

pub(crate) struct Foreign {
    pub(crate) lab: Lab,
    producer: FutureProducer,
    relay: Pid,
}

impl Foreign {
    /// A stack whose relay is held still, and whose subscription is the foreign CDC's.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let lab = Lab::start().await?;
        let ports = lab.ports()?;
        let kafka = format!("127.0.0.1:{}", ports.kafka);
        let services = lab.status()?.services;
        let relay = services.iter().find(|service| service.name == "relay").context("no relay")?;
        let relay = Pid::from_raw(i32::try_from(relay.pid.context("no pid")?)?);
        kill(relay, Signal::SIGSTOP)?;
        let admin = format!("http://127.0.0.1:{}", ports.restate_admin);
        let restate = Api::new(&admin)?;
        let known = restate.get("/subscriptions").await?;
        for subscription in known["subscriptions"].as_array().context("subscriptions")? {
            let id = subscription["id"].as_str().context("no id")?;
            restate.send("DELETE", &format!("/subscriptions/{id}"), &[], "").await?;
        }
        let worker = format!("http://127.0.0.1:{}", ports.worker);
        let database_url = lab.database_url()?;
        let options = ["--restate-admin-url", &admin, "--kafka", &kafka, "--worker-url", &worker];
        let register = ["register", "--topic", TOPIC, "--database-url", &database_url];
        lab.posthorn(&[&register[..], &options].concat())?;
        let producer = ClientConfig::new().set("bootstrap.servers", kafka).create()?;
        Ok(Self { lab, producer, relay })
    }

    pub(crate) async fn send(
        &self,
        records: impl IntoIterator<Item = &Record>,
    ) -> anyhow::Result<()> {
        send(&self.producer, records).await
    }

    /// Without waiting for one before the next is sent.
    pub(crate) async fn send_at_once(&self, records: &[Record]) -> anyhow::Result<()> {
        let mut sent = Vec::new();
        for (key, value) in records {
            let record = FutureRecord::to(TOPIC).key(key).payload(value);
            sent.push(self.producer.send_result(record).map_err(|(error, _)| error)?);
        }
        for sent in sent {
            sent.await?.map_err(|(error, _)| error)?;
        }
        Ok(())
    }
}

pub(crate) async fn send(
    producer: &FutureProducer,
    records: impl IntoIterator<Item = &Record>,
) -> anyhow::Result<()> {
    for (key, value) in records {
        let record = FutureRecord::to(TOPIC).key(key).payload(value);
        producer.send(record, SOON).await.map_err(|(error, _)| error)?;
    }
    Ok(())
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // So that the stack stops in order.
        let _ = kill(self.relay, Signal::SIGCONT);
    }
}

pub(crate) async fn records(db: &mut PgConnection, merchant: &str) -> anyhow::Result<Vec<Record>> {
    Ok(sqlx::query_as(RECORDS).bind(merchant).fetch_all(db).await?)
}

fn amounts(receiver: &Receiver) -> Vec<i64> {
    let amount = |body: Value| body["data"]["amount"].as_i64();
    receiver.accepted().iter().filter_map(|request| amount(request.json())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_foreign_cdc_lose_nothing_at_their_worst() -> anyhow::Result<()> {
    let foreign = Foreign::start().await?;
    let mut db = PgConnection::connect(&foreign.lab.database_url()?).await?;
    doubled_and_reordered(&foreign, &mut db).await?;
    before_their_row(&foreign, &mut db).await?;
    one_that_never_gets_a_row(&foreign, &mut db).await?;
    turns_are_named_after_the_topic(&foreign, &mut db).await
}

/// Each record twice, the newest first, then all of them again: once each, in order.
async fn doubled_and_reordered(foreign: &Foreign, db: &mut PgConnection) -> anyhow::Result<()> {
    let (api, receiver) = (foreign.lab.api()?, Receiver::start().await?);
    let merchant = merchant("foreign");
    api.merchant(&merchant, receiver.url()).await?;
    for amount in 1..=40 {
        api.payment(&merchant, amount).await?;
    }
    let all = records(db, &merchant).await?;
    ensure!(all.len() == 40, "nobody else announces: {}", all.len());
    // What has not been announced by then is late.
    let (late, early) = all.split_at(10);
    foreign.send(early.iter().rev().flat_map(|record| [record, record])).await?;
    foreign.send(late).await?;
    receiver.wait_for(40, BEFORE_THE_SWEEPER).await?;
    // A backfill: every row that was ever there.
    foreign.send(&all).await?;
    let last = api.payment(&merchant, 41).await?;
    foreign.send(&records(db, &merchant).await?).await?;
    receiver.wait_for(41, BEFORE_THE_SWEEPER).await?;
    let seen = amounts(&receiver);
    ensure!(seen == (1..=41).collect::<Vec<i64>>(), "{seen:?}, the last is {last}");
    Ok(())
}

/// The record is on Kafka while its transaction is still open.
async fn before_their_row(foreign: &Foreign, db: &mut PgConnection) -> anyhow::Result<()> {
    let (api, receiver) = (foreign.lab.api()?, Receiver::start().await?);
    let merchant = merchant("foreign-early");
    api.merchant(&merchant, receiver.url()).await?;
    for amount in 1..=5 {
        let mut tx = db.begin().await?;
        sqlx::query("insert into payments (merchant_id, amount, currency) values ($1, $2, 'USD')")
            .bind(&merchant)
            .bind(amount)
            .execute(&mut *tx)
            .await?;
        let record = records(&mut tx, &merchant).await?.pop().context("no row")?;
        foreign.send([&record]).await?;
        // Restate has called `notify` for it, which found nothing.
        let waits = format!(
            "select id from sys_invocation where target_service_key = '{}' \
             and target_handler_name = 'appear' and status = 'scheduled'",
            record.0
        );
        until("it comes back for its row", SOON, async || {
            ensure!(query(foreign, &waits).await? >= 1, "nothing is scheduled");
            Ok(())
        })
        .await?;
        tx.commit().await?;
        receiver.wait_for(usize::try_from(amount)?, BEFORE_THE_SWEEPER).await?;
    }
    ensure!(amounts(&receiver) == [1, 2, 3, 4, 5], "{:?}", amounts(&receiver));
    Ok(())
}

/// A record of a row that was rolled back costs looks, and holds up nobody.
async fn one_that_never_gets_a_row(foreign: &Foreign, db: &mut PgConnection) -> anyhow::Result<()> {
    let (api, receiver) = (foreign.lab.api()?, Receiver::start().await?);
    let merchant = merchant("foreign-never");
    let endpoint = api.merchant(&merchant, receiver.url()).await?;
    let ghost = json!({
        "delivery_id": format!("dlv_{}", uuid::Uuid::now_v7()),
        "endpoint_id": endpoint,
    });
    foreign.send([&(endpoint, ghost.to_string())]).await?;
    api.payment(&merchant, 1).await?;
    foreign.send(&records(db, &merchant).await?).await?;
    receiver.wait_for(1, BEFORE_THE_SWEEPER).await?;
    ensure!(amounts(&receiver) == [1], "{:?}", amounts(&receiver));
    Ok(())
}

/// A trace names the topic that Restate reads, and not the one that nobody does.
async fn turns_are_named_after_the_topic(
    foreign: &Foreign,
    db: &mut PgConnection,
) -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let merchant = merchant("foreign-traced");
    foreign.lab.api()?.merchant(&merchant, receiver.url()).await?;
    let (id, header) = of_caller();
    pay(&foreign.lab, &merchant, &header).await?;
    foreign.send(&records(db, &merchant).await?).await?;
    let traces = foreign.lab.traces()?;
    traces.read(&id, |trace| trace.only("process webhook-events").map(|_| ())).await?;
    Ok(())
}

/// How many rows Restate's own SQL gives.
async fn query(foreign: &Foreign, sql: &str) -> anyhow::Result<usize> {
    let admin = Api::new(&format!("http://127.0.0.1:{}", foreign.lab.ports()?.restate_admin))?;
    let headers = [("accept", "application/json")];
    let body = json!({ "query": sql }).to_string();
    let (status, answer) = admin.send("POST", "/query", &headers, body).await?;
    ensure!(status == 200, "{status} {answer}");
    Ok(answer["rows"].as_array().context("no rows")?.len())
}
