//! `posthorn why` on the real path: for each thing that can be the matter with a delivery, the
//! answer's word, its sentence and when it goes on. By the command and by `GET /v1/why/{id}`.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use domain::endpoint::Asked;
use posthorn_tests::{Answer, Lab, Receiver, until};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use store::Store;
use uuid::Uuid;

use crate::traces::{of_caller, pay};
use crate::turn::bench;
use crate::{merchant, shared_lab};

const SOON: Duration = Duration::from_secs(40);

/// The first answer of `posthorn why id --json`.
fn why(lab: &Lab, id: &str) -> anyhow::Result<Value> {
    let database = lab.database_url()?;
    let restate = format!("http://127.0.0.1:{}", lab.ports()?.restate_admin);
    let text = lab.posthorn(&[
        "why",
        id,
        "--json",
        "--database-url",
        &database,
        "--restate-admin-url",
        &restate,
    ])?;
    Ok(serde_json::from_str::<Value>(&text)?["answers"][0].take())
}

/// Waits until the answer about `id` is `is` and its first sentence has `part`.
pub(crate) async fn told(lab: &Lab, id: &str, is: &str, part: &str) -> anyhow::Result<Value> {
    until(&format!("{id} is {is}"), SOON, async || {
        let answer = why(lab, id)?;
        let sentence = answer["sentences"][0].as_str().unwrap_or_default();
        ensure!(answer["is"] == is && sentence.contains(part), "{answer}");
        // The front knows the same, but for what only Restate has.
        if is != "stuck" {
            let front = lab.api()?.get(&format!("/v1/why/{id}")).await?["answers"][0].take();
            for name in ["id", "is", "next_at", "endpoint_id", "event_id", "trace_id"] {
                ensure!(front.get(name) == answer.get(name), "{name}: {front}, {answer}");
            }
        }
        Ok(answer)
    })
    .await
}

/// A merchant whose endpoint answers `status`, or 200; its name, its endpoint, the receiver.
pub(crate) async fn endpoint(
    lab: &Lab,
    name: &str,
    status: u16,
) -> anyhow::Result<(String, String, Receiver)> {
    let (merchant, receiver) = (merchant(name), Receiver::start().await?);
    receiver.script(std::iter::repeat_n(Answer::Status(status), 10_000));
    let endpoint = lab.api()?.merchant(&merchant, receiver.url()).await?;
    Ok((merchant, endpoint, receiver))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_says_when_and_by_how_many_attempts() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (merchant, endpoint, _receiver) = endpoint(lab, "why-delivered", 200).await?;
    let payment = lab.api()?.payment(&merchant, 1).await?;
    let answer = told(lab, &payment, "delivered", "by 1 attempt").await?;
    ensure!(answer["endpoint_id"] == endpoint.as_str(), "{answer}");
    // Asked by its event and by its delivery, it is the same one.
    for name in ["event_id", "id"] {
        let id = answer[name].as_str().context("no id")?;
        ensure!(why(lab, id)?["id"] == answer["id"], "{id}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_named_only_when_it_is_kept() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (merchant, ..) = endpoint(lab, "why-traced", 200).await?;
    let (trace, header) = of_caller();
    let payment = pay(lab, &merchant, &header).await?;
    let answer = told(lab, &payment, "delivered", "by 1 attempt").await?;
    ensure!(answer["trace_id"] == trace.as_str(), "{answer}");
    let (_, header) = of_caller();
    let payment = pay(lab, &merchant, &header.replace("-01", "-00")).await?;
    let answer = told(lab, &payment, "delivered", "by 1 attempt").await?;
    ensure!(answer["trace_id"].is_null(), "nobody could look it up: {answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_redelivered_says_how_long_it_took_this_time_and_in_all() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (merchant, endpoint, receiver) = endpoint(lab, "why-again", 200).await?;
    receiver.script([Answer::Late(Duration::from_millis(1_200))]);
    let payment = lab.api()?.payment(&merchant, 1).await?;
    let first = told(lab, &payment, "delivered", "by 1 attempt").await?;
    let sentence = first["sentences"][0].as_str().unwrap_or_default();
    let took = span(sentence, " after it was written")?;
    ensure!(took >= Duration::from_secs(1), "it took more than a second: {first}");
    let path = format!("/v1/endpoints/{endpoint}/redeliver");
    let put_back = Instant::now();
    lab.api()?.post(&path, &json!({ "delivery_id": first["id"] })).await?;
    let again = told(lab, &payment, "delivered", "by 2 attempts").await?;
    let since = put_back.elapsed();
    let sentence = again["sentences"][0].as_str().unwrap_or_default();
    let this_time = span(sentence, " after it was put back in line, ")?;
    let in_all = span(sentence, " after it was written")?;
    ensure!(this_time <= since, "it was put back {since:?} ago: {again}");
    ensure!(in_all >= took && in_all >= this_time, "it took {took:?} the first time: {again}");
    Ok(())
}

/// The span of time that stands in `sentence` before `what`: some ms, some s, some min, whole ones.
fn span(sentence: &str, what: &str) -> anyhow::Result<Duration> {
    let (before, _) = sentence.split_once(what).with_context(|| sentence.to_owned())?;
    // Behind the comma that ends what was told before it.
    let told = before.rsplit(", ").next().unwrap_or_default();
    let words: Vec<&str> = told.split(' ').collect();
    words
        .chunks(2)
        .map(|pair| match pair {
            [n, "ms"] => Ok(Duration::from_millis(n.parse()?)),
            [n, "s"] => Ok(Duration::from_secs(n.parse()?)),
            [n, "min"] => Ok(Duration::from_secs(n.parse::<u64>()? * 60)),
            _ => anyhow::bail!("no span of time: {told:?} in {sentence:?}"),
        })
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_with_an_id_and_a_time_of_its_writers_own_is_found_while_it_waits()
-> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (merchant, endpoint, _receiver) = endpoint(lab, "why-own-time", 200).await?;
    lab.api()?.post(&format!("/v1/endpoints/{endpoint}/pause"), &json!({})).await?;
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    let event = Uuid::new_v4();
    sqlx::query(
        "insert into domain_events (id, event_type, object_id, merchant_id, payload, occurred_at)
         values ($1, 'note.written', 'note', $2, '{}', now() - interval '1 day')",
    )
    .bind(event)
    .bind(&merchant)
    .execute(&mut db)
    .await?;
    told(lab, &format!("evt_{event}"), "paused", "posthorn endpoint resume").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_looked_at_is_slow_and_one_that_is_not_is_forgotten() -> anyhow::Result<()> {
    let mut bench = bench("why_line", 1).await?;
    bench.run("update deliveries set created_at = now() - interval '2 min'").await?;
    let (_, look) = bench.look().await?;
    let asked = [Asked::Delivery(look.due[0].facts.id), Asked::Endpoint(bench.endpoint)];
    let is = async |store: &Store| -> anyhow::Result<[&'static str; 2]> {
        let mut told = [""; 2];
        for (told, asked) in told.iter_mut().zip(asked) {
            let (subjects, now) = store.why(asked).await?;
            *told = subjects.first().context("no answer")?.why(None, now).is;
        }
        Ok(told)
    };
    ensure!(is(&bench.store).await? == ["in_line", "well"]);
    bench.run("update endpoint_runtime set looked_at = now() - interval '2 min'").await?;
    ensure!(is(&bench.store).await? == ["forgotten"; 2]);
    bench.run("update endpoint_runtime set looked_at = '-infinity'").await?;
    ensure!(is(&bench.store).await? == ["forgotten"; 2], "nobody ever looked");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_an_endpoint_that_fails_it_says_what_it_answers_who_is_ahead_and_when()
-> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (merchant, endpoint, _receiver) = endpoint(lab, "why-unwell", 503).await?;
    lab.api()?.payment(&merchant, 1).await?;
    let second = lab.api()?.payment(&merchant, 2).await?;
    let answer = told(lab, &second, "unwell", "it answers 503").await?;
    let sentence = answer["sentences"][0].as_str().unwrap_or_default();
    ensure!(sentence.contains("1 delivery ahead") && sentence.contains("next try in"), "{answer}");
    ensure!(answer["next_at"].is_string(), "{answer}");
    // The wake that found it may still be running.
    until("its next wake is named", SOON, async || {
        let answer = why(lab, &second)?;
        let invocations = answer["restate"].as_array().context("a list")?;
        let is_next = |line: &str| line.contains("wake inv_") && line.contains("scheduled");
        ensure!(invocations.iter().filter_map(Value::as_str).any(is_next), "{answer}");
        Ok(())
    })
    .await?;
    let of_endpoint = told(lab, &endpoint, "unwell", "2 deliveries wait").await?;
    ensure!(of_endpoint["endpoint_id"] == endpoint.as_str(), "{of_endpoint}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_says_that_it_stepped_aside_and_when_it_is_given_up_that_it_was()
-> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (merchant, endpoint, _receiver) = endpoint(lab, "why-refused", 404).await?;
    let payment = lab.api()?.payment(&merchant, 1).await?;
    let answer = told(lab, &payment, "aside", "the merchant refused this event").await?;
    ensure!(answer["sentences"][1].as_str().is_some_and(|s| s.contains("404")), "{answer}");

    // Nine refusals are behind it, the last place of its schedule has come.
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    let delivery = answer["id"].as_str().unwrap_or_default().trim_start_matches("dlv_");
    let moved =
        sqlx::query("update deliveries set refusals = 100, next_attempt_at = now() where id = $1")
            .bind(delivery.parse::<Uuid>()?)
            .execute(&mut db)
            .await?;
    ensure!(moved.rows_affected() == 1);
    lab.api()?.post(&format!("/v1/endpoints/{endpoint}/resume"), &json!({})).await?;
    let answer = told(lab, &payment, "exhausted", "refused until its schedule").await?;
    ensure!(answer["sentences"][2].as_str().is_some_and(|s| s.contains("redeliver")), "{answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_skipped_and_disabled_say_who_can_change_it() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (merchant, endpoint, _receiver) = endpoint(lab, "why-paused", 200).await?;
    let api = lab.api()?;
    api.post(&format!("/v1/endpoints/{endpoint}/pause"), &json!({})).await?;
    let payment = api.payment(&merchant, 1).await?;
    let answer = told(lab, &payment, "paused", "posthorn endpoint resume").await?;
    let skip = json!({ "delivery_id": answer["id"] });
    api.post(&format!("/v1/endpoints/{endpoint}/skip"), &skip).await?;
    told(lab, &payment, "cancelled", "skipped by an operator").await?;
    api.post(&format!("/v1/endpoints/{endpoint}/disable"), &json!({})).await?;
    let payment = api.payment(&merchant, 2).await?;
    told(lab, &payment, "disabled", "posthorn endpoint enable").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_ours_is_told_as_ours() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (merchant, endpoint, receiver) = endpoint(lab, "why-fault", 200).await?;
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    sqlx::query("update endpoint_secrets set key_id = 'gone' where endpoint_id = $1")
        .bind(endpoint.trim_start_matches("ep_").parse::<Uuid>()?)
        .execute(&mut db)
        .await?;
    let payment = lab.api()?.payment(&merchant, 1).await?;
    told(lab, &payment, "stuck", "a fault on our side").await?;
    ensure!(receiver.requests().is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_there_is_not_is_told_apart() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let api = lab.api()?;
    let nobody = merchant("why-nobody");
    let body = json!({ "merchant_id": nobody, "name": "without an endpoint" });
    api.post("/v1/merchants", &body).await?;
    let payment = api.payment(&nobody, 1).await?;
    told(lab, &payment, "no_endpoint", "no endpoint of merchant").await?;

    // A payment that was rolled back.
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    let mut tx = db.begin().await?;
    let id: Uuid = sqlx::query_scalar(
        "insert into payments (merchant_id, amount, currency) values ($1, 1, 'USD') returning id",
    )
    .bind(&nobody)
    .fetch_one(&mut *tx)
    .await?;
    tx.rollback().await?;
    told(lab, &format!("pay_{id}"), "unknown", "rolled back").await?;

    let (status, body) = api.send("GET", &format!("/v1/why/dlv_{id}"), &[], "").await?;
    ensure!(status == 404, "{status} {body}");
    let (status, body) = api.send("GET", "/v1/why/pay_1", &[], "").await?;
    ensure!(status == 400 && body["error"]["field"] == "id", "{status} {body}");
    let refused = why(lab, &format!("evt_{id}")).expect_err("there is none");
    ensure!(format!("{refused:#}").contains("no such event"), "{refused:#}");
    let malformed = why(lab, "pay_1").expect_err("no id");
    ensure!(format!("{malformed:#}").contains("followed by a UUID"), "{malformed:#}");
    Ok(())
}
