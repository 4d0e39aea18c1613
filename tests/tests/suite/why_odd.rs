//! `posthorn why` where the rows, or Restate, are odd: an attempt of a run of the past, a payment
//! without an event, an invocation that somebody paused, a Restate that does not answer.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use posthorn_tests::{Answer, Api, invocations_of, until};
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::shared_lab;
use crate::why::{endpoint, told};

const SOON: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_of_a_run_that_had_lost_its_turn_is_not_told_as_the_last_one()
-> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (merchant, _, _receiver) = endpoint(lab, "why-zombie", 200).await?;
    let payment = lab.api()?.payment(&merchant, 1).await?;
    let answer = told(lab, &payment, "delivered", "it answered 200").await?;
    let delivery = answer["id"].as_str().context("no id")?.trim_start_matches("dlv_");
    sqlx::query(
        "insert into attempts (delivery_id, number, id, endpoint_id, started_at, class, status,
             duration_us, fence_lost)
         select id, 2, uuidv7(), endpoint_id, now(), 'unwell', 503, 1, true
         from finished_deliveries where id = $1",
    )
    .bind(delivery.parse::<Uuid>()?)
    .execute(&mut PgConnection::connect(&lab.database_url()?).await?)
    .await?;
    told(lab, &payment, "delivered", "it answered 200").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_whose_event_is_not_there_is_not_called_rolled_back() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (merchant, ..) = endpoint(lab, "why-restored", 200).await?;
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    db.execute("set session_replication_role = replica").await?;
    let id: Uuid = sqlx::query_scalar(
        "insert into payments (merchant_id, amount, currency) values ($1, 1, 'USD') returning id",
    )
    .bind(&merchant)
    .fetch_one(&mut db)
    .await?;
    told(lab, &format!("pay_{id}"), "no_event", "the triggers are off").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_very_many_the_first_are_told_and_that_there_are_more() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (merchant, ..) = endpoint(lab, "why-many", 200).await?;
    let payment = lab.api()?.payment(&merchant, 1).await?;
    told(lab, &payment, "delivered", "it answered 200").await?;
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    // Nobody sends these: they are copies of one that was delivered.
    sqlx::query(
        "insert into finished_deliveries select (jsonb_populate_record(f, jsonb_build_object(
             'id', uuidv7()))).* from finished_deliveries f, generate_series(1, 100)
         where object_id = $1",
    )
    .bind(&payment)
    .execute(&mut db)
    .await?;
    let answer: Value = serde_json::from_str(&lab.posthorn(&[
        "why",
        &payment,
        "--json",
        "--database-url",
        &lab.database_url()?,
    ])?)?;
    let answers = answer["answers"].as_array().context("no answers")?;
    let (last, deliveries) = answers.split_last().context("none")?;
    ensure!(deliveries.len() == 100, "{}", deliveries.len());
    ensure!(deliveries.iter().all(|one| one["is"] == "delivered"), "{answer}");
    ensure!(last["is"] == "more" && last["id"] == last["event_id"], "{last}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_that_somebody_paused_is_named_with_what_ends_it() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (merchant, endpoint, receiver) = endpoint(lab, "why-held", 200).await?;
    receiver.script([Answer::Late(Duration::from_secs(5))]);
    lab.api()?.payment(&merchant, 1).await?;
    let restate = Api::new(&format!("http://127.0.0.1:{}", lab.ports()?.restate_admin))?;
    let running = until("its wake is running", SOON, async || {
        let invocations = invocations_of(&restate, &endpoint).await?;
        let running = invocations.iter().find(|one| one["status"] == "running");
        running.and_then(|one| one["id"].as_str().map(str::to_owned)).context("none")
    })
    .await?;
    lab.restate(&["invocations", "pause", &running, "--yes"])?;
    let second = lab.api()?.payment(&merchant, 2).await?;
    let answer = told(lab, &second, "stuck", "was paused at Restate").await?;
    let cure = format!("restate invocations resume {running} --yes");
    ensure!(answer["sentences"][0].as_str().is_some_and(|s| s.contains(&cure)), "{answer}");
    lab.restate(&["invocations", "resume", &running, "--yes"])?;
    told(lab, &second, "delivered", "it answered 200").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restate_that_does_not_answer_is_waited_for_once() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (merchant, first, receiver) = endpoint(lab, "why-hangs", 200).await?;
    let api = lab.api()?;
    let mut endpoints = vec![first];
    for _ in 0..4 {
        let more = json!({ "merchant_id": merchant, "url": receiver.url(), "event_types": [] });
        endpoints.push(api.endpoint(&more).await?.0);
    }
    for endpoint in &endpoints {
        api.post(&format!("/v1/endpoints/{endpoint}/pause"), &json!({})).await?;
    }
    let payment = api.payment(&merchant, 1).await?;
    // It takes the connection, and says nothing.
    let hangs = TcpListener::bind("127.0.0.1:0").await?;
    let restate = format!("http://{}", hangs.local_addr()?);
    let words = ["why", &payment, "--json", "--database-url", &lab.database_url()?];
    let begun = Instant::now();
    let text = lab.posthorn(&[&words[..], &["--restate-admin-url", &restate]].concat())?;
    // Five times three seconds, if it were asked for each.
    ensure!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    let answers = serde_json::from_str::<Value>(&text)?["answers"].take();
    let answers = answers.as_array().context("no answers")?;
    ensure!(answers.len() == 5, "{answers:?}");
    for answer in answers {
        let line = answer["restate"][0].as_str().unwrap_or_default();
        ensure!(answer["is"] == "paused" && line.starts_with("could not be asked"), "{answer}");
    }
    Ok(())
}
