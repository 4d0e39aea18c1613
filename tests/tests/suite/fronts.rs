//! The API's fronts: what is refused, and that nothing of it is written.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use posthorn_tests::{Api, Receiver, Trace};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::{merchant, shared_lab};

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_named_and_nothing_is_written() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let api = lab.api()?;
    let known = merchant("bad-input");
    api.merchant(&known, Receiver::start().await?.url()).await?;
    let payment = |change: serde_json::Value| {
        let mut body = json!({ "merchant_id": known, "amount": 1, "currency": "USD" });
        if let (Some(body), Some(change)) = (body.as_object_mut(), change.as_object()) {
            body.extend(change.clone());
        }
        body.to_string()
    };
    let cases = [
        ("/payments", payment(json!({ "amount": 0 })), "amount"),
        ("/payments", payment(json!({ "amount": -5 })), "amount"),
        ("/payments", payment(json!({ "amount": "ten" })), "amount"),
        ("/payments", payment(json!({ "amount": 1.5 })), "amount"),
        ("/payments", payment(json!({ "currency": "XXX" })), "currency"),
        ("/payments", payment(json!({ "merchant_id": "nobody" })), "merchant"),
        ("/payments", payment(json!({ "merchant_id": "x".repeat(65) })), "merchant_id"),
        ("/payments", payment(json!({ "colour": "red" })), "colour"),
        ("/payments", "{".to_owned(), ""),
        ("/v1/merchants", json!({ "merchant_id": "a b", "name": "x" }).to_string(), "merchant_id"),
        (
            "/v1/merchants",
            json!({ "merchant_id": "ok", "name": "x".repeat(201) }).to_string(),
            "name",
        ),
        (
            "/v1/endpoints",
            json!({ "merchant_id": known, "url": "http://169.254.169.254/", "event_types": [] })
                .to_string(),
            "url",
        ),
        (
            "/v1/endpoints",
            json!({ "merchant_id": known, "url": "https://example.com/", "event_types": ["a b"] })
                .to_string(),
            "event_types",
        ),
    ];
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    for (path, body, field) in cases {
        let (status, answer) = api.send("POST", path, &[], body.clone()).await?;
        ensure!((400..500).contains(&status), "{path} {body}: {status} {answer}");
        ensure!(answer.to_string().contains(field), "{path} {body}: {answer}");
    }
    let garbage = vec![b'x'; 1024 * 1024];
    let (status, answer) = api.send("POST", "/payments", &[], garbage).await?;
    ensure!(status == 400 || status == 413, "{status} {answer}");
    let written: (i64,) = sqlx::query_as("select count(*) from payments where merchant_id = $1")
        .bind(&known)
        .fetch_one(&mut db)
        .await?;
    ensure!(written.0 == 0, "{} payments were written", written.0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_and_body_make_one_payment_and_another_body_is_refused() -> anyhow::Result<()>
{
    let lab = shared_lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("once");
    api.merchant(&merchant, receiver.url()).await?;
    let key = [("idempotency-key", "k-1")];
    let body = |amount: i64| {
        json!({ "merchant_id": merchant, "amount": amount, "currency": "USD" }).to_string()
    };
    let repeats = (0..8).map(|_| api.send("POST", "/payments", &key, body(1)));
    let mut answers = Vec::new();
    for repeat in repeats.collect::<Vec<_>>() {
        answers.push(repeat.await?);
    }
    ensure!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    ensure!(answers[0].0 == 201, "{:?}", answers[0]);
    let (status, answer) = api.send("POST", "/payments", &key, body(2)).await?;
    ensure!(status == 409, "{status} {answer}");
    receiver.wait_for(1, std::time::Duration::from_secs(30)).await?;
    ensure!(receiver.requests().len() == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_yesterday_is_a_new_one_and_makes_one_payment_more() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("yesterday");
    api.merchant(&merchant, receiver.url()).await?;
    let key = [("idempotency-key", "k-of-yesterday")];
    let body = json!({ "merchant_id": merchant, "amount": 1, "currency": "USD" }).to_string();
    let (_, before) = api.send("POST", "/payments", &key, body.clone()).await?;
    sqlx::query(
        "update idempotency_keys set created_at = now() - interval '25 hours'
         where key = 'k-of-yesterday'",
    )
    .execute(&mut PgConnection::connect(&lab.database_url()?).await?)
    .await?;
    let repeat = || api.send("POST", "/payments", &key, body.clone());
    let (one, two, three, four) = tokio::try_join!(repeat(), repeat(), repeat(), repeat())?;
    ensure!(one == two && two == three && three == four, "{one:?} {two:?} {three:?} {four:?}");
    ensure!(one.0 == 201 && one.1["id"] != before["id"], "{one:?}");
    receiver.wait_for(2, std::time::Duration::from_secs(30)).await?;
    ensure!(receiver.requests().len() == 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_makes_up_is_no_name_of_a_metric_or_a_span() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, ports, traces) = (lab.api()?, lab.ports()?, lab.traces()?);
    let trace = |n: u32| format!("5e1f0000000000000000000000{n:06}");
    let traceparent = |n: u32| format!("00-{}-00f067aa0ba902b7-01", trace(n));
    for n in 1..=20 {
        let (method, traceparent) = (format!("MADEUP{n}"), traceparent(n));
        let (status, answer) =
            api.send(&method, "/payments", &[("traceparent", &traceparent)], "").await?;
        ensure!(status == 405, "{status} {answer}");
        let origin = format!("http://127.0.0.1:{}/madeup{n}", ports.grpc).parse()?;
        let channel = Channel::from_shared(format!("http://127.0.0.1:{}", ports.grpc))?;
        let mut client = HealthClient::with_origin(channel.connect().await?, origin);
        let mut request = Request::new(HealthCheckRequest::default());
        request.metadata_mut().insert("traceparent", traceparent.parse()?);
        let answer = client.check(request).await;
        ensure!(answer.is_err_and(|status| status.code() == Code::Unimplemented));
    }
    let metrics = Api::new(&format!("http://127.0.0.1:{}", ports.http))?.get("/metrics").await?;
    let metrics = metrics.as_str().context("not a text")?;
    ensure!(!metrics.to_lowercase().contains("madeup"), "a series for each word of a caller's");
    for series in [
        "front=\"http\",operation=\"_OTHER /payments\",code=\"405\"",
        "front=\"grpc\",operation=\"_OTHER\",code=\"12\"",
    ] {
        ensure!(metrics.contains(series), "no {series}");
    }
    let id = trace(7);
    let both = |trace: &Trace| {
        ensure!(trace.spans.len() == 2, "a call of each front");
        Ok(())
    };
    let told = traces.read(&id, both).await?;
    ensure!(!told.text.to_lowercase().contains("madeup"), "{}", told.text);
    let names: BTreeSet<String> = told.spans.into_iter().map(|span| span.name).collect();
    ensure!(names == ["HTTP /payments", "grpc"].map(str::to_owned).into(), "{names:?}");
    Ok(())
}
