//! The lines that somebody on duty looks for: what became of an endpoint, and by whom.

use std::time::Duration;

use anyhow::ensure;
use posthorn_tests::{Answer, Lab, Receiver, until};
use proto::v1::CreatePaymentRequest;
use proto::v1::payment_service_client::PaymentServiceClient;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::traces::{configure, hasten, of_caller, pay};
use crate::{crash, merchant, shared_lab};

const SOON: Duration = Duration::from_secs(40);

/// The lines of `role` that have all of `parts`.
pub(crate) fn lines(lab: &Lab, role: &str, parts: &[&str]) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(lab.dir().join(format!("log/{role}.log")))?;
    let all = text.lines().filter(|line| parts.iter().all(|part| line.contains(part)));
    Ok(all.map(str::to_owned).collect())
}

/// Waits until `role` has said all of `parts` in one line, once.
async fn said(lab: &Lab, role: &str, parts: &[&str]) -> anyhow::Result<()> {
    until(&format!("{role} says {parts:?}"), SOON, async || {
        let lines = lines(lab, role, parts)?;
        ensure!(lines.len() == 1, "{} lines: {lines:#?}", lines.len());
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_that_opens_and_closes_is_a_line_each() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (receiver, merchant) = (Receiver::start().await?, merchant("lines-breaker"));
    let endpoint = lab.api()?.merchant(&merchant, receiver.url()).await?;
    hasten(lab, &endpoint).await?;
    receiver.script([Answer::Status(500); 6]);
    lab.api()?.payment(&merchant, 1).await?;
    said(lab, "worker", &["WARN", &endpoint, "the breaker opened", "trace_id"]).await?;
    said(lab, "worker", &["INFO", &endpoint, "the breaker closed"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_that_somebody_closes_is_a_line_with_their_name() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    receiver.rule(|_| Some(Answer::Status(500)));
    let ada = json!({ "actor": "ada" });
    let moved = json!({ "actor": "ada", "url": format!("{}/elsewhere", receiver.url()) });
    for (way, told) in [
        ("enabled", vec![("POST", "/disable", &ada), ("POST", "/enable", &ada)]),
        ("moved", vec![("PATCH", "", &moved)]),
    ] {
        let merchant = merchant(&format!("lines-breaker-{way}"));
        let endpoint = api.merchant(&merchant, receiver.url()).await?;
        hasten(lab, &endpoint).await?;
        api.payment(&merchant, 1).await?;
        said(lab, "worker", &["WARN", &endpoint, "the breaker opened", "trace_id"]).await?;
        for (method, path, body) in told {
            let path = format!("/v1/endpoints/{endpoint}{path}");
            let (status, answer) = api.send(method, &path, &[], body.to_string()).await?;
            ensure!(status == 200, "{status} {answer}");
        }
        said(lab, "api", &["INFO", &endpoint, "the breaker closed", "ada"]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_disabled_and_what_an_operator_tells_it_are_lines() -> anyhow::Result<()>
{
    let lab = shared_lab().await?;
    let (api, receiver, merchant) = (lab.api()?, Receiver::start().await?, merchant("lines-gone"));
    let endpoint = api.merchant(&merchant, receiver.url()).await?;
    receiver.script([Answer::Status(410)]);
    api.payment(&merchant, 1).await?;
    said(lab, "worker", &["WARN", &endpoint, "was disabled", "gone"]).await?;
    let body = json!({ "actor": "ada" });
    for command in ["enable", "pause"] {
        api.post(&format!("/v1/endpoints/{endpoint}/{command}"), &body).await?;
        said(lab, "api", &["INFO", &endpoint, "was told", command, "ada"]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_were_made_just_now_have_no_other_settings() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    ensure!(lines(lab, "relay", &["created the topic"])?.len() == 2, "it began with nothing");
    let complaints = lines(lab, "relay", &["another setting"])?;
    ensure!(complaints.is_empty(), "{complaints:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_is_given_up_is_a_line_and_each_of_its_attempts_another()
-> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (receiver, merchant) = (Receiver::start().await?, merchant("lines-given-up"));
    let endpoint = lab.api()?.merchant(&merchant, receiver.url()).await?;
    configure(lab, &endpoint, json!({ "schedule_s": [1] })).await?;
    receiver.script([Answer::Status(400), Answer::Status(400)]);
    let (trace, header) = of_caller();
    pay(lab, &merchant, &header).await?;
    let about = [&*endpoint, &trace, "delivery=dlv_", "WARN"];
    let line = async |parts: &[&str]| said(lab, "worker", &[&about, parts].concat()).await;
    line(&["an attempt did not deliver", "attempt=1", "disposition=\"steps aside\""]).await?;
    line(&["an attempt did not deliver", "attempt=2", "disposition=\"exhausted\""]).await?;
    line(&["was given up", "attempts=2", "disposition=\"exhausted\"", "why=\"refused\""]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expires_is_a_line_for_its_endpoint_with_one_of_its_deliveries() -> anyhow::Result<()>
{
    let lab = crash::lab().await?;
    let (api, merchant) = (lab.api()?, merchant("lines-expired"));
    let endpoint = api.merchant(&merchant, Receiver::start().await?.url()).await?;
    api.post(&format!("/v1/endpoints/{endpoint}/pause"), &json!({})).await?;
    let (trace, header) = of_caller();
    for _ in 0..3 {
        pay(&lab, &merchant, &header).await?;
    }
    configure(&lab, &endpoint, json!({ "expires_after_s": 3_600 })).await?;
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    sqlx::query(
        "update deliveries set created_at = now() - interval '2 h',
             id = uuidv7_floor(now() - interval '2 h' + sequence * interval '1 s')
         where endpoint_id = $1",
    )
    .bind(Uuid::parse_str(endpoint.trim_start_matches("ep_"))?)
    .execute(&mut db)
    .await?;
    // A worker looks for them when it starts, and then every hour.
    lab.kill("worker").await?;
    let about = [&*endpoint, "WARN", "deliveries expired", "delivery=dlv_", &trace];
    let ended = ["count=3", "attempts=0", "disposition=\"exhausted\"", "why=\"expired\""];
    said(&lab, "worker", &[&about[..], &ended].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_fails_by_our_fault_is_a_line_with_its_route_and_its_trace()
-> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let merchant = merchant("lines-fault");
    lab.api()?.merchant(&merchant, Receiver::start().await?.url()).await?;
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    // An error of a kind that we do not know, and the one of a server that goes down.
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "create or replace function fails() returns trigger language plpgsql as 'begin
             if new.amount = 2 then raise exception ''down'' using errcode = ''57P01''; end if;
             raise exception ''unheard of''; end';
         create trigger fails before insert on payments for each row
             when (new.merchant_id = '{merchant}') execute function fails()"
    )))
    .execute(&mut db)
    .await?;
    let (json, header) = of_caller();
    let by_json = pay(lab, &merchant, &header).await;
    let (grpc, header) = of_caller();
    let mut client =
        PaymentServiceClient::connect(format!("http://127.0.0.1:{}", lab.ports()?.grpc)).await?;
    let mut request = tonic::Request::new(CreatePaymentRequest {
        amount: 2,
        currency: "USD".to_owned(),
        merchant_id: merchant,
        ..CreatePaymentRequest::default()
    });
    request.metadata_mut().insert("traceparent", header.parse()?);
    let by_grpc = client.create(request).await;
    sqlx::raw_sql("drop trigger fails on payments").execute(&mut db).await?;
    ensure!(by_json.is_err() && by_grpc.is_err(), "they were not refused");
    let ours = ["ERROR", "failed by our fault", "route=\"POST /payments\"", &json];
    said(lab, "api", &ours).await?;
    let route = "route=\"posthorn.v1.PaymentService/Create\"";
    said(lab, "api", &["WARN", "the database is away", route, &grpc]).await
}
