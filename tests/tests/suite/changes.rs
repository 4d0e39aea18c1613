//! Endpoints changed and deleted, on the real path.

use std::time::Duration;

use anyhow::{Context, ensure};
use posthorn_tests::{Answer, Api, Lab, Receiver, Request, invocations_of, until};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::{merchant, shared_lab};

/// Less than the minute that a 503 makes everything wait.
const SOON: Duration = Duration::from_secs(45);

struct Shop {
    lab: &'static Lab,
    api: Api,
    receiver: Receiver,
    merchant: String,
    endpoint: String,
}

impl Shop {
    /// A shop whose endpoint has this policy.
    async fn open(policy: Value) -> anyhow::Result<Self> {
        let lab = shared_lab().await?;
        let (api, receiver, merchant) = (lab.api()?, Receiver::start().await?, merchant("changes"));
        api.post("/v1/merchants", &json!({ "merchant_id": merchant, "name": "A" })).await?;
        let made = json!({ "merchant_id": merchant, "url": receiver.url(), "policy": policy });
        let (endpoint, _) = api.endpoint(&made).await?;
        Ok(Self { lab, api, receiver, merchant, endpoint })
    }

    async fn pay(&self, amounts: std::ops::RangeInclusive<i64>) -> anyhow::Result<()> {
        for amount in amounts {
            self.api.payment(&self.merchant, amount).await?;
        }
        Ok(())
    }

    async fn send(&self, method: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        let path = format!("/v1/endpoints/{}", self.endpoint);
        self.api.send(method, &path, &[], body.to_string()).await
    }

    async fn change(&self, body: Value) -> anyhow::Result<Value> {
        let (status, answer) = self.send("PATCH", &body).await?;
        ensure!(status == 200, "{status} {answer}");
        Ok(answer)
    }

    async fn db(&self) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect(&self.lab.database_url()?).await?)
    }

    fn id(&self) -> anyhow::Result<Uuid> {
        Ok(Uuid::parse_str(self.endpoint.trim_start_matches("ep_"))?)
    }

    /// How many of its deliveries ended like this.
    async fn ended(&self, state: &str, reason: &str) -> anyhow::Result<i64> {
        let count = sqlx::query_scalar(
            "select count(*) from finished_deliveries
             where endpoint_id = $1 and state = $2 and reason = $3",
        )
        .bind(self.id()?)
        .bind(state)
        .bind(reason)
        .fetch_one(&mut self.db().await?)
        .await?;
        Ok(count)
    }
}

fn amounts(requests: &[Request]) -> Vec<i64> {
    requests.iter().filter_map(|request| request.json()["data"]["amount"].as_i64()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_url_holds_from_the_next_attempt_on_and_no_place_in_the_line_is_lost()
-> anyhow::Result<()> {
    let shop = Shop::open(json!({ "attempt_timeout_ms": 5_000 })).await?;
    shop.receiver.rule(|_| Some(Answer::Hang));
    shop.pay(1..=3).await?;
    until("the old merchant hangs", SOON, async || {
        ensure!(shop.receiver.requests().len() == 1, "nothing came");
        Ok(())
    })
    .await?;
    let moved = Receiver::start().await?;
    let answer = shop.change(json!({ "url": moved.url(), "actor": "ada" })).await?;
    ensure!(answer["url"] == moved.url() && answer["changed"] == true, "{answer}");
    let accepted = moved.wait_for(3, SOON).await?;
    ensure!(amounts(&accepted) == [1, 2, 3], "{:?}", amounts(&accepted));
    ensure!(shop.receiver.requests().len() == 1, "the old URL was asked again");
    let url = shop.lab.database_url()?;
    let journal = ["endpoint", "history", &shop.endpoint, "--database-url", &url];
    let story = shop.lab.posthorn(&journal)?;
    ensure!(story.contains("it has a new URL") && story.contains("(ada)"), "{story}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_url_is_tried_at_once_whatever_the_old_one_waited_for() -> anyhow::Result<()> {
    let shop = Shop::open(json!({})).await?;
    // 503 waits a minute at least.
    shop.receiver.rule(|_| Some(Answer::Status(503)));
    shop.pay(1..=2).await?;
    until("it waits", SOON, async || {
        let status = shop.api.get(&format!("/v1/endpoints/{}/status", shop.endpoint)).await?;
        ensure!(status["not_before"].is_string(), "{status}");
        Ok(())
    })
    .await?;
    let moved = Receiver::start().await?;
    shop.change(json!({ "url": moved.url() })).await?;
    ensure!(amounts(&moved.wait_for(2, SOON).await?) == [1, 2]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_url_enables_what_410_had_disabled_and_says_so_and_not_what_an_operator_had()
-> anyhow::Result<()> {
    let shop = Shop::open(json!({})).await?;
    shop.receiver.rule(|_| Some(Answer::Status(410)));
    shop.pay(1..=2).await?;
    until("it is disabled", SOON, async || {
        let status = shop.api.get(&format!("/v1/endpoints/{}/status", shop.endpoint)).await?;
        ensure!(status["status"] == "disabled", "{status}");
        Ok(())
    })
    .await?;
    let moved = Receiver::start().await?;
    let change = json!({ "url": moved.url(), "command_id": Uuid::now_v7() });
    let answer = shop.change(change.clone()).await?;
    ensure!(answer["status"] == "active" && answer["enabled_again"] == true, "{answer}");
    ensure!(shop.change(change).await? == answer, "a repeat hears the same");
    ensure!(amounts(&moved.wait_for(2, SOON).await?) == [1, 2]);
    let url = shop.lab.database_url()?;
    let journal = ["endpoint", "history", &shop.endpoint, "--database-url", &url];
    let story = shop.lab.posthorn(&journal)?;
    ensure!(story.contains("enabled again, because it has a new URL"), "{story}");

    shop.api.post(&format!("/v1/endpoints/{}/disable", shop.endpoint), &json!({})).await?;
    let answer = shop.change(json!({ "url": shop.receiver.url() })).await?;
    ensure!(answer["status"] == "disabled" && answer["enabled_again"] == false, "{answer}");
    let update = ["endpoint", "update", &shop.endpoint, "--url", moved.url()];
    let told = shop.lab.posthorn(&[&update[..], &["--api-url", shop.api.base()]].concat())?;
    ensure!(told.contains("was changed; it is disabled."), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn in_strict_who_had_stepped_aside_takes_its_place_again() -> anyhow::Result<()> {
    let shop = Shop::open(json!({ "schedule_s": [3_600] })).await?;
    shop.receiver.rule(|amount| (amount == 1).then_some(Answer::Status(400)));
    shop.pay(1..=2).await?;
    ensure!(amounts(&shop.receiver.wait_for(1, SOON).await?) == [2], "the first one steps aside");
    shop.receiver.rule(|_| None);
    let answer = shop.change(json!({ "ordering": "strict" })).await?;
    ensure!(answer["ordering"] == "strict" && answer["changed"] == true, "{answer}");
    // An hour before its time.
    ensure!(amounts(&shop.receiver.wait_for(2, SOON).await?) == [2, 1]);
    let again = shop.change(json!({ "ordering": "strict" })).await?;
    ensure!(again["changed"] == false, "{again}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_else_is_changed_too_and_a_repeat_changes_nothing() -> anyhow::Result<()> {
    let shop = Shop::open(json!({})).await?;
    let id = Uuid::now_v7();
    let change = json!({
        "event_types": ["payment.refunded"],
        "headers": { "x-shop": "7" },
        "policy": { "backoff_max_ms": 60_000, "parallelism": 2 },
        "send_traceparent": true,
        "signature_scheme": "both",
        "command_id": id,
    });
    let first = shop.change(change.clone()).await?;
    ensure!(first["event_types"] == json!(["payment.refunded"]), "{first}");
    ensure!(first["policy"] == json!({ "backoff_max_ms": 60_000, "parallelism": 2 }), "{first}");
    ensure!(first["signature_scheme"] == "both" && first["send_traceparent"] == true, "{first}");
    ensure!(first["secret"].is_null(), "the old one stays: {first}");
    let key = first["public_key"].as_str().context("a public key")?;
    ensure!(key.starts_with("whpk_") && first["changed"] == true, "{first}");
    ensure!(shop.change(change).await? == first, "a repeat hears the same");
    let (status, other) =
        shop.send("PATCH", &json!({ "ordering": "strict", "command_id": id })).await?;
    ensure!(status == 409 && other["error"]["message"].to_string().contains("command_id"));
    // The same id for a command of another kind.
    let path = format!("/v1/endpoints/{}/pause", shop.endpoint);
    let body = json!({ "command_id": id }).to_string();
    let (status, answer) = shop.api.send("POST", &path, &[], body).await?;
    ensure!(status == 409, "{status} {answer}");

    let payment = shop.api.payment(&shop.merchant, 1).await?;
    shop.api.post(&format!("/payments/{payment}/refund"), &json!({})).await?;
    let seen = shop.receiver.wait_for(1, SOON).await?.remove(0);
    ensure!(seen.json()["type"] == "payment.refunded", "{}", seen.json());
    ensure!(seen.header("x-shop") == "7");
    let signature = seen.header("webhook-signature");
    ensure!(signature.contains("v1,") && signature.contains("v1a,"), "{signature}");
    // Back to one kind: the key pair ends at once, and nothing new is made.
    let back = shop.change(json!({ "signature_scheme": "v1", "event_types": [] })).await?;
    ensure!(back["public_key"].is_null() && back["secret"].is_null(), "{back}");
    shop.pay(2..=2).await?;
    let seen = shop.receiver.wait_for(2, SOON).await?.remove(1);
    ensure!(!seen.header("webhook-signature").contains("v1a,"));
    ensure!(seen.header("x-shop") == "7", "what a change does not name stays");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_is_refused_by_the_fields_name() -> anyhow::Result<()> {
    let shop = Shop::open(json!({})).await?;
    for (body, field) in [
        (json!({ "url": "ftp://example.com" }), "url"),
        (json!({ "url": "" }), "url"),
        (json!({ "ordering": "fifo" }), "ordering"),
        (json!({ "policy": { "attempt_timeout_ms": 31_000 } }), "policy.attempt_timeout_ms"),
        (json!({ "policy": { "retries": 3 } }), "policy.retries"),
        (json!({ "policy": { "schedule_s": [] } }), "policy.schedule_s"),
        (json!({ "headers": { "host": "x" } }), "headers"),
        (json!({ "signature_scheme": "v2" }), "signature_scheme"),
        (json!({ "event_types": ["a b"] }), "event_types[0]"),
        (json!({ "merchant_id": "demo" }), "merchant_id"),
    ] {
        let (status, answer) = shop.send("PATCH", &body).await?;
        ensure!(status == 400 && answer["error"]["field"] == field, "{body}: {status} {answer}");
    }
    let before = shop.api.get(&format!("/v1/endpoints/{}", shop.endpoint)).await?;
    ensure!(before["created_at"] == before["updated_at"], "nothing was written: {before}");
    let nobody = format!("/v1/endpoints/ep_{}", Uuid::now_v7());
    ensure!(shop.api.send("PATCH", &nobody, &[], "{}").await?.0 == 404);
    ensure!(shop.api.send("DELETE", &nobody, &[], "").await?.0 == 404);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_endpoint_cancels_what_waits_also_what_commits_after_it() -> anyhow::Result<()> {
    let shop = Shop::open(json!({})).await?;
    shop.change(json!({ "headers": { "authorization": "Bearer x" } })).await?;
    shop.receiver.rule(|amount| (amount > 1).then_some(Answer::Status(503)));
    shop.pay(1..=3).await?;
    let restate = Api::new(&format!("http://127.0.0.1:{}", shop.lab.ports()?.restate_admin))?;
    until("its timer", SOON, async || {
        let left = invocations_of(&restate, &shop.endpoint).await?;
        ensure!(left.len() == 1 && left[0]["status"] == "scheduled", "{left:?}");
        Ok(())
    })
    .await?;
    ensure!(keys_of(&restate, &shop.endpoint).await? > 0, "an object with a state");

    // A transaction that saw the endpoint, and commits after it is gone.
    let mut open = shop.db().await?;
    sqlx::raw_sql("begin").execute(&mut open).await?;
    sqlx::query("insert into payments (merchant_id, amount, currency) values ($1, 4, 'USD')")
        .bind(&shop.merchant)
        .execute(&mut open)
        .await?;
    let (status, deleted) = shop.send("DELETE", &json!({ "actor": "ada" })).await?;
    ensure!(status == 200 && deleted["status"] == "deleted", "{status} {deleted}");
    ensure!(deleted["changed"] == true && shop.ended("cancelled", "deleted").await? == 2);
    until("nothing of the object is left", SOON, async || {
        let left = invocations_of(&restate, &shop.endpoint).await?;
        ensure!(left.is_empty(), "{left:?}");
        ensure!(keys_of(&restate, &shop.endpoint).await? == 0, "its state is there");
        Ok(())
    })
    .await?;
    sqlx::raw_sql("commit").execute(&mut open).await?;
    // It comes by the way of every delivery; the sweeper would take a minute.
    until("the late one is cancelled too", SOON, async || {
        let count = shop.ended("cancelled", "deleted").await?;
        ensure!(count == 3, "{count} are");
        Ok(())
    })
    .await?;
    until("and leaves nothing", SOON, async || {
        ensure!(keys_of(&restate, &shop.endpoint).await? == 0, "its state is there");
        Ok(())
    })
    .await?;
    shop.pay(5..=5).await?;
    ensure!(shop.ended("delivered", "accepted").await? == 1, "what is finished stays");
    is_gone(&shop).await
}

/// What a deleted endpoint answers, and what is kept of it.
async fn is_gone(shop: &Shop) -> anyhow::Result<()> {
    let path = format!("/v1/endpoints/{}", shop.endpoint);
    for (method, path, body) in [
        ("GET", path.clone(), ""),
        ("GET", format!("{path}/status"), ""),
        ("PATCH", path.clone(), "{\"ordering\":\"strict\"}"),
        ("POST", format!("{path}/pause"), "{}"),
        ("POST", format!("{path}/redeliver"), "{}"),
        ("POST", format!("{path}/rotate-secret"), "{}"),
    ] {
        let (status, answer) = shop.api.send(method, &path, &[], body).await?;
        ensure!(status == 404, "{method} {path}: {status} {answer}");
        ensure!(answer["error"]["message"].to_string().contains("was deleted at"), "{answer}");
    }
    let (status, again) = shop.send("DELETE", &json!({})).await?;
    ensure!(status == 200 && again["changed"] == false, "{status} {again}");
    let mut db = shop.db().await?;
    let (secrets, headers, waiting): (i64, Option<Vec<u8>>, i64) = sqlx::query_as(
        "select (select count(*) from endpoint_secrets where endpoint_id = $1),
             (select headers_ciphertext from endpoints where id = $1),
             (select count(*) from deliveries where endpoint_id = $1)",
    )
    .bind(shop.id()?)
    .fetch_one(&mut db)
    .await?;
    ensure!(secrets == 0 && headers.is_none() && waiting == 0, "{secrets} {waiting}");
    let url = shop.lab.database_url()?;
    let journal = ["endpoint", "history", &shop.endpoint, "--database-url", &url];
    let story = shop.lab.posthorn(&journal)?;
    ensure!(story.contains("deleted; what waited was cancelled (ada)"), "{story}");
    Ok(())
}

/// How many keys the object's state has.
async fn keys_of(restate: &Api, endpoint: &str) -> anyhow::Result<usize> {
    let query = format!(
        "select key from state where service_name = 'Endpoint' and service_key = '{endpoint}'"
    );
    let body = json!({ "query": query }).to_string();
    let (_, answer) =
        restate.send("POST", "/query", &[("accept", "application/json")], body).await?;
    Ok(answer["rows"].as_array().with_context(|| answer.to_string())?.len())
}
