//! A settle that fails while other attempts are in flight: what those come to is kept, because
//! their requests were made.

use std::time::Duration;

use anyhow::ensure;
use posthorn_tests::{Answer, Api, Receiver, until};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::{merchant, shared_lab};

const SOON: Duration = Duration::from_secs(90);
/// How long merchants take to answer the first payment, and the two others: the first leaves time for
/// what is done to the turn meanwhile, and both are less than an attempt may take.
const FIRST: Duration = Duration::from_secs(8);
const OTHERS: Duration = Duration::from_secs(11);

struct Shop {
    api: Api,
    receiver: Receiver,
    endpoint: String,
    id: Uuid,
    url: String,
}

impl Shop {
    /// An unordered endpoint with three payments, and the turn that sends them not begun.
    async fn held() -> anyhow::Result<Self> {
        let lab = shared_lab().await?;
        let (api, receiver, name) = (lab.api()?, Receiver::start().await?, merchant("turn-lost"));
        api.post("/v1/merchants", &json!({ "merchant_id": name, "name": "A" })).await?;
        let made = json!({ "merchant_id": name, "url": receiver.url(), "ordering": "unordered" });
        let (endpoint, _) = api.endpoint(&made).await?;
        let id = Uuid::parse_str(endpoint.trim_start_matches("ep_"))?;
        api.post(&format!("/v1/endpoints/{endpoint}/pause"), &json!({})).await?;
        for amount in 1..=3 {
            api.payment(&name, amount).await?;
        }
        receiver.rule(|amount| Some(Answer::Late(if amount == 1 { FIRST } else { OTHERS })));
        Ok(Self { api, receiver, endpoint, id, url: lab.database_url()? })
    }

    /// Lets them go, and waits until all three are under way.
    async fn send(&self) -> anyhow::Result<()> {
        self.api.post(&format!("/v1/endpoints/{}/resume", self.endpoint), &json!({})).await?;
        until("three requests at once", SOON, async || {
            let requests = self.receiver.requests().len();
            ensure!(requests >= 3, "{requests} requests");
            Ok(())
        })
        .await
    }

    async fn db(&self) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect(&self.url).await?)
    }

    /// Waits until a count over this endpoint is reached.
    async fn reaches(&self, sql: &'static str, count: i64) -> anyhow::Result<()> {
        until(sql, SOON, async || {
            let mut db = self.db().await?;
            let now: i64 = sqlx::query_scalar(sql).bind(self.id).fetch_one(&mut db).await?;
            ensure!(now == count, "{now}, not {count}");
            Ok(())
        })
        .await
    }

    /// How many requests came about this payment.
    fn requests(&self, amount: i64) -> usize {
        let requests = self.receiver.requests();
        requests.iter().filter(|request| request.json()["data"]["amount"] == amount).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_of_a_turn_that_is_lost_is_among_the_attempts() -> anyhow::Result<()> {
    let shop = Shop::held().await?;
    shop.send().await?;
    let stolen = "update endpoint_runtime set fence = gen_random_uuid() where endpoint_id = $1";
    sqlx::query(stolen).bind(shop.id).execute(&mut shop.db().await?).await?;
    shop.reaches("select count(*) from attempts where endpoint_id = $1 and fence_lost", 3).await?;
    // And the rightful run starts over.
    shop.receiver.rule(|_| None);
    shop.reaches("select count(*) from finished_deliveries where endpoint_id = $1", 3).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_settled_is_when_one_outcome_cannot() -> anyhow::Result<()> {
    let shop = Shop::held().await?;
    let mut db = shop.db().await?;
    let first = "select id from deliveries where endpoint_id = $1 order by sequence limit 1";
    let first: Uuid = sqlx::query_scalar(first).bind(shop.id).fetch_one(&mut db).await?;
    // Its attempts cannot be written: a fault of ours, and of this one alone.
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "create or replace function refuses() returns trigger language plpgsql
             as 'begin raise exception ''refused''; end';
         create trigger refuses before insert on attempts for each row
             when (new.delivery_id = '{first}') execute function refuses()"
    )))
    .execute(&mut db)
    .await?;
    shop.send().await?;
    let others = "select count(*) from finished_deliveries where endpoint_id = $1";
    let settled = shop.reaches(others, 2).await;
    sqlx::raw_sql("drop trigger refuses on attempts").execute(&mut db).await?;
    settled?;
    shop.receiver.rule(|_| None);
    shop.reaches(others, 3).await?;
    for amount in [2, 3] {
        let requests = shop.requests(amount);
        ensure!(requests == 1, "{requests} requests about {amount}");
    }
    Ok(())
}
