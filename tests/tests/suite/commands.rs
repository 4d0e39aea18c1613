//! Commands of operators on the real path: they take effect at once, once, and whatever is down.

use std::time::Duration;

use anyhow::{Context, ensure};
use posthorn_tests::{Answer, Api, Receiver, until};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::path::configure;
use crate::{merchant, shared_lab};

const SOON: Duration = Duration::from_secs(45);

struct Shop {
    api: Api,
    receiver: Receiver,
    merchant: String,
    endpoint: String,
    database: String,
}

impl Shop {
    async fn open() -> anyhow::Result<Self> {
        let lab = shared_lab().await?;
        let (api, receiver) = (lab.api()?, Receiver::start().await?);
        let (merchant, database) = (merchant("commands"), lab.database_url()?);
        let endpoint = api.merchant(&merchant, receiver.url()).await?;
        configure(&database, &endpoint, "ordered").await?;
        Ok(Self { api, receiver, merchant, endpoint, database })
    }

    async fn tell(&self, command: &str, body: Value) -> anyhow::Result<Value> {
        self.api.post(&format!("/v1/endpoints/{}/{command}", self.endpoint), &body).await
    }

    async fn pay(&self, amounts: std::ops::RangeInclusive<i64>) -> anyhow::Result<()> {
        for amount in amounts {
            self.api.payment(&self.merchant, amount).await?;
        }
        Ok(())
    }

    /// Amounts of the requests that were answered with success.
    async fn accepted(&self, count: usize) -> anyhow::Result<Vec<i64>> {
        Ok(amounts(&self.receiver.wait_for(count, SOON).await?))
    }

    /// The ids of the deliveries in `table`, in order.
    async fn deliveries(&self, table: &'static str) -> anyhow::Result<Vec<String>> {
        let mut db = PgConnection::connect(&self.database).await?;
        let statement = match table {
            "deliveries" => "select id from deliveries where endpoint_id = $1 order by sequence",
            _ => "select id from finished_deliveries where endpoint_id = $1 order by sequence",
        };
        let ids: Vec<Uuid> = sqlx::query_scalar(statement)
            .bind(Uuid::parse_str(self.endpoint.trim_start_matches("ep_"))?)
            .fetch_all(&mut db)
            .await?;
        Ok(ids.into_iter().map(|id| format!("dlv_{id}")).collect())
    }

    /// Runs `posthorn endpoint …` against the stack.
    fn cli(&self, lab: &posthorn_tests::Lab, command: &str) -> anyhow::Result<String> {
        let flag = ["endpoint", command, &self.endpoint, "--database-url", &self.database].to_vec();
        lab.posthorn(&flag)
    }
}

fn amounts(requests: &[posthorn_tests::Request]) -> Vec<i64> {
    requests.iter().filter_map(|request| request.json()["data"]["amount"].as_i64()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_collects_and_a_resume_sends_in_order() -> anyhow::Result<()> {
    let shop = Shop::open().await?;
    let paused = shop.tell("pause", json!({ "actor": "ada" })).await?;
    ensure!(paused["status"] == "paused" && paused["changed"] == true, "{paused}");
    shop.pay(1..=5).await?;
    let status = shop.api.get(&format!("/v1/endpoints/{}/status", shop.endpoint)).await?;
    ensure!(status["waiting"] == 5 && status["status"] == "paused", "{status}");
    ensure!(shop.receiver.requests().is_empty(), "something was sent");
    shop.tell("resume", json!({})).await?;
    let accepted = shop.accepted(5).await?;
    ensure!(accepted == [1, 2, 3, 4, 5], "{accepted:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_while_the_merchant_hangs_is_answered_at_once_and_nothing_follows()
-> anyhow::Result<()> {
    let shop = Shop::open().await?;
    shop.receiver.rule(|amount| (amount == 1).then_some(Answer::Hang));
    shop.pay(1..=3).await?;
    until("the first one hangs", SOON, async || {
        ensure!(!shop.receiver.requests().is_empty(), "nothing came");
        Ok(())
    })
    .await?;
    let began = std::time::Instant::now();
    shop.tell("pause", json!({})).await?;
    ensure!(began.elapsed() < Duration::from_secs(5), "it queued behind the merchant");
    // The attempt that hangs is settled; the line behind it stays where it is.
    until("the attempt under way has ended", SOON, async || {
        let mut db = PgConnection::connect(&shop.database).await?;
        let ended: i64 = sqlx::query_scalar("select count(*) from attempts where endpoint_id = $1")
            .bind(Uuid::parse_str(shop.endpoint.trim_start_matches("ep_"))?)
            .fetch_one(&mut db)
            .await?;
        ensure!(ended == 1, "{ended} attempts");
        Ok(())
    })
    .await?;
    ensure!(shop.receiver.requests().len() == 1, "{:?}", amounts(&shop.receiver.requests()));
    ensure!(shop.deliveries("deliveries").await?.len() == 3, "one is gone");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_of_a_command_changes_nothing_and_hears_the_same() -> anyhow::Result<()> {
    let shop = Shop::open().await?;
    let id = Uuid::now_v7().to_string();
    let first = shop.tell("pause", json!({ "command_id": id })).await?;
    shop.tell("resume", json!({})).await?;
    let again = shop.tell("pause", json!({ "command_id": id })).await?;
    ensure!(first == again, "{first} and then {again}");
    let status = shop.api.get(&format!("/v1/endpoints/{}/status", shop.endpoint)).await?;
    ensure!(status["status"] == "active", "the repeat paused it again: {status}");
    // The same id for something else is a mistake, and it says so.
    let path = format!("/v1/endpoints/{}/disable", shop.endpoint);
    let body = json!({ "command_id": id }).to_string();
    let (code, answer) = shop.api.send("POST", &path, &[], body).await?;
    ensure!(code == 409 && answer.to_string().contains("command_id"), "{code} {answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_delivery_is_skipped_and_comes_back_when_it_is_redelivered() -> anyhow::Result<()> {
    let shop = Shop::open().await?;
    shop.tell("pause", json!({})).await?;
    shop.pay(1..=3).await?;
    let waiting = shop.deliveries("deliveries").await?;
    let second = waiting.get(1).context("no second one")?;
    shop.tell("skip", json!({ "delivery_id": second })).await?;
    shop.tell("resume", json!({})).await?;
    let accepted = shop.accepted(2).await?;
    ensure!(accepted == [1, 3], "{accepted:?}");
    let back = shop.tell("redeliver", json!({ "delivery_id": second })).await?;
    ensure!(back["redelivered"] == 1, "{back}");
    let accepted = shop.accepted(3).await?;
    ensure!(accepted == [1, 3, 2], "{accepted:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_comes_back_in_order_and_the_journal_still_adds_up() -> anyhow::Result<()>
{
    let shop = Shop::open().await?;
    shop.receiver.rule(|_| Some(Answer::Status(400)));
    shop.pay(1..=3).await?;
    until("all are given up", SOON, async || {
        let finished = shop.deliveries("finished_deliveries").await?.len();
        ensure!(finished == 3, "{finished} are");
        Ok(())
    })
    .await?;
    shop.receiver.rule(|_| None);
    let back = shop.tell("redeliver", json!({ "actor": "ada" })).await?;
    ensure!(back["redelivered"] == 3 && back["more"] == false, "{back}");
    let accepted = shop.accepted(3).await?;
    ensure!(accepted == [1, 2, 3], "{accepted:?}");
    let lab = shared_lab().await?;
    let story = shop.cli(lab, "history")?;
    ensure!(story.contains("3 deliveries were put back in line (ada)"), "{story}");
    let rebuilt = shop.cli(lab, "rebuild")?;
    ensure!(rebuilt.contains("is what its journal says"), "{rebuilt}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn redelivering_many_goes_step_by_step_and_takes_only_what_was_asked_for()
-> anyhow::Result<()> {
    let shop = Shop::open().await?;
    shop.tell("pause", json!({})).await?;
    let mut db = PgConnection::connect(&shop.database).await?;
    // More than two steps of one type, some of another, and some that are no business of it.
    sqlx::query(
        "insert into finished_deliveries (id, sequence, endpoint_id, event_id, merchant_id,
             event_type, object_id, occurred_at, xid, created_at, attempts, refusals, poisonous,
             state, reason)
         select uuidv7(), n, $1, uuidv7(), $2,
             case when n <= 1200 then 'payment.refunded' else 'payment.succeeded' end,
             'pay_' || uuidv7(), now(), pg_current_xact_id(), now(), 3, 3, false,
             case when n <= 1200 then 'exhausted' when n <= 1300 then 'cancelled' else 'delivered' end,
             case when n <= 1200 then 'refused' when n <= 1300 then 'skipped' else 'accepted' end
         from generate_series(1, 2000) n",
    )
    .bind(Uuid::parse_str(shop.endpoint.trim_start_matches("ep_"))?)
    .bind(&shop.merchant)
    .execute(&mut db)
    .await?;
    let lab = shared_lab().await?;
    let redeliver = |more: &[&str]| {
        let fixed = ["endpoint", "redeliver", &shop.endpoint, "--api-url", shop.api.base()];
        lab.posthorn(&[&fixed, more].concat())
    };
    ensure!(redeliver(&["--since", "2999-01-01T00:00:00Z"])? == "0 put back in line.\n");
    ensure!(redeliver(&["--event-type", "payment.refunded"])? == "1200 put back in line.\n");
    ensure!(redeliver(&["--ended", "refused"])? == "0 put back in line.\n");
    ensure!(redeliver(&["--ended", "skipped"])? == "100 put back in line.\n");
    ensure!(redeliver(&[])? == "0 put back in line.\n");
    ensure!(shop.deliveries("deliveries").await?.len() == 1300);
    let path = format!("/v1/endpoints/{}/redeliver", shop.endpoint);
    let (code, answer) = shop.api.send("POST", &path, &[], "{\"ended\":\"lost\"}").await?;
    ensure!(code == 400 && answer["error"]["field"] == "ended", "{code} {answer}");
    // 1,300 deliveries to payments that do not exist: nobody shall try them.
    shop.api.send("DELETE", &format!("/v1/endpoints/{}", shop.endpoint), &[], "").await?;
    Ok(())
}
