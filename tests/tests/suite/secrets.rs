//! Secrets end to end: taken over by new ones, brought along, sealed again; and what else a
//! request may carry. Signatures are verified by a library that is not ours.

use std::time::Duration;

use anyhow::{Context, ensure};
use delivery::CustomHeaders;
use delivery::secrets::{KeyRing, Secret};
use posthorn_tests::{Api, Receiver, Request, until};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use standardwebhooks::Webhook;
use store::{FIRST_SECRET_VERSION, NewEndpoint, NewSecret, SealedSecret, Store, Write};
use uuid::Uuid;

use crate::{merchant, shared_lab};

const SOON: Duration = Duration::from_secs(30);
/// Longer than any machine takes to look at what it is for.
const OVERLAP_S: i32 = 3_600;

/// Makes the overlap of `endpoint` be over, as if it had begun its whole length ago: what ends after
/// another time still signs.
async fn overlap_is_over(endpoint: &str) -> anyhow::Result<()> {
    let mut db = PgConnection::connect(&shared_lab().await?.database_url()?).await?;
    let ended = sqlx::query(
        "update endpoint_secrets set expires_at = expires_at - make_interval(secs => $2)
         where endpoint_id = $1 and expires_at > now()",
    )
    .bind(endpoint.trim_start_matches("ep_").parse::<Uuid>()?)
    .bind(f64::from(OVERLAP_S))
    .execute(&mut db)
    .await?;
    ensure!(ended.rows_affected() == 1, "{} secrets end", ended.rows_affected());
    Ok(())
}

fn is_signed_by(webhook: &Request, secret: &str) -> anyhow::Result<bool> {
    Ok(Webhook::new(secret)?.verify(&webhook.body, &webhook.headers).is_ok())
}

async fn next_webhook(api: &Api, receiver: &Receiver, merchant: &str) -> anyhow::Result<Request> {
    let count = receiver.accepted().len() + 1;
    api.payment(merchant, 1).await?;
    Ok(receiver.wait_for(count, SOON).await?.remove(count - 1))
}

async fn endpoint_with(api: &Api, merchant: &str, url: &str, more: Value) -> anyhow::Result<Value> {
    api.post("/v1/merchants", &json!({ "merchant_id": merchant, "name": "secrets" })).await?;
    let mut endpoint = json!({ "merchant_id": merchant, "url": url });
    if let (Some(endpoint), Value::Object(more)) = (endpoint.as_object_mut(), more) {
        endpoint.extend(more);
    }
    api.post("/v1/endpoints", &endpoint).await
}

fn text<'a>(answer: &'a Value, field: &str) -> anyhow::Result<&'a str> {
    answer[field].as_str().with_context(|| format!("no {field}: {answer}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_secret_signs_at_once_and_the_old_one_until_its_time_is_over() -> anyhow::Result<()> {
    let (api, receiver) = (shared_lab().await?.api()?, Receiver::start().await?);
    let merchant = merchant("rotation");
    let made = endpoint_with(&api, &merchant, receiver.url(), json!({})).await?;
    let (path, old) = (format!("/v1/endpoints/{}", text(&made, "id")?), text(&made, "secret")?);
    let webhook = next_webhook(&api, &receiver, &merchant).await?;
    ensure!(is_signed_by(&webhook, old)?);

    let rotate = format!("{path}/rotate-secret");
    let rotated = api.post(&rotate, &json!({ "overlap_s": OVERLAP_S })).await?;
    let new = text(&rotated, "secret")?;
    ensure!(new != old && new.starts_with("whsec_"));
    let webhook = next_webhook(&api, &receiver, &merchant).await?;
    ensure!(is_signed_by(&webhook, old)? && is_signed_by(&webhook, new)?, "both sign");
    overlap_is_over(text(&made, "id")?).await?;
    until("the old secret has ended", SOON, async || {
        let webhook = next_webhook(&api, &receiver, &merchant).await?;
        ensure!(is_signed_by(&webhook, new)?, "the new one signs");
        ensure!(!is_signed_by(&webhook, old)?, "the old one still signs");
        Ok(())
    })
    .await?;
    let shown = api.get(&path).await?;
    ensure!(!shown.to_string().contains("whsec_"), "a secret is shown once: {shown}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn three_secrets_are_live_at_most_and_all_end_at_once_when_one_was_stolen()
-> anyhow::Result<()> {
    let (api, receiver) = (shared_lab().await?.api()?, Receiver::start().await?);
    let merchant = merchant("three");
    let made = endpoint_with(&api, &merchant, receiver.url(), json!({})).await?;
    let rotate = format!("/v1/endpoints/{}/rotate-secret", text(&made, "id")?);
    let mut secrets = vec![text(&made, "secret")?.to_owned()];
    for key in ["a", "b"] {
        // Said twice under one key, it is done once.
        let headers = [("idempotency-key", key)];
        let first = api.send("POST", &rotate, &headers, "").await?;
        let again = api.send("POST", &rotate, &headers, "").await?;
        ensure!(first.0 == 200 && first == again, "{first:?} {again:?}");
        secrets.push(text(&first.1, "secret")?.to_owned());
    }
    let webhook = next_webhook(&api, &receiver, &merchant).await?;
    for secret in &secrets {
        ensure!(is_signed_by(&webhook, secret)?);
    }
    let (status, answer) = api.send("POST", &rotate, &[], "{}").await?;
    ensure!(
        status == 409 && answer.to_string().contains("at most 3 secrets of a kind"),
        "{answer}"
    );
    let last = api.post(&rotate, &json!({ "overlap_s": 0 })).await?;
    let webhook = next_webhook(&api, &receiver, &merchant).await?;
    ensure!(is_signed_by(&webhook, text(&last, "secret")?)?);
    for secret in &secrets {
        ensure!(!is_signed_by(&webhook, secret)?, "an ended secret signs");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_at_once_all_count_and_none_takes_the_place_of_another() -> anyhow::Result<()> {
    let (api, receiver) = (shared_lab().await?.api()?, Receiver::start().await?);
    let merchant = merchant("at-once");
    let made = endpoint_with(&api, &merchant, receiver.url(), json!({})).await?;
    let rotate = format!("/v1/endpoints/{}/rotate-secret", text(&made, "id")?);
    let body = json!({});
    let (one, two) = tokio::join!(api.post(&rotate, &body), api.post(&rotate, &body));
    let (one, two) = (one?, two?);
    let webhook = next_webhook(&api, &receiver, &merchant).await?;
    for answer in [&made, &one, &two] {
        ensure!(is_signed_by(&webhook, text(answer, "secret")?)?);
    }
    Ok(())
}

/// Webhooks of an endpoint that went from `v1` to `v1a`, whose first secret had an hour left, and then
/// to `scheme`: as soon as it did, and when the first secret had ended. With its secrets.
async fn back_in_the_overlap(scheme: &str) -> anyhow::Result<([Request; 2], [String; 2], String)> {
    let (api, receiver) = (shared_lab().await?.api()?, Receiver::start().await?);
    let merchant = merchant("overlap");
    let made = endpoint_with(&api, &merchant, receiver.url(), json!({})).await?;
    let (path, old) = (format!("/v1/endpoints/{}", text(&made, "id")?), text(&made, "secret")?);
    let rotate = json!({ "signature_scheme": "v1a", "overlap_s": OVERLAP_S });
    let key = api.post(&format!("{path}/rotate-secret"), &rotate).await?;
    let change = json!({ "signature_scheme": scheme });
    let (status, changed) = api.send("PATCH", &path, &[], change.to_string()).await?;
    ensure!(status == 200 && changed["signature_scheme"] == scheme, "{status} {changed}");
    let new = text(&changed, "secret")?;
    let in_time = next_webhook(&api, &receiver, &merchant).await?;
    overlap_is_over(text(&made, "id")?).await?;
    let after = until("the first secret has ended", SOON, async || {
        let webhook = next_webhook(&api, &receiver, &merchant).await?;
        ensure!(!is_signed_by(&webhook, old)?, "it still signs");
        Ok(webhook)
    })
    .await?;
    let key = text(&key, "public_key")?.to_owned();
    Ok(([in_time, after], [old.to_owned(), new.to_owned()], key))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheme_that_comes_back_while_its_secret_ends_gets_a_new_one() -> anyhow::Result<()> {
    let ([in_time, after], [old, new], _) = back_in_the_overlap("v1").await?;
    ensure!(is_signed_by(&in_time, &old)? && is_signed_by(&in_time, &new)?, "both sign");
    ensure!(is_signed_by(&after, &new)?, "the new one goes on");
    ensure!(!in_time.header("webhook-signature").contains("v1a,"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_schemes_are_whole_when_the_secret_of_one_has_ended() -> anyhow::Result<()> {
    let ([in_time, after], [old, new], key) = back_in_the_overlap("both").await?;
    ensure!(is_signed_by(&in_time, &old)? && is_signed_by(&in_time, &new)?, "both sign");
    ensure!(is_signed_by(&after, &new)?, "the new one goes on");
    ensure!(key.starts_with("whpk_"), "{key}");
    for webhook in [in_time, after] {
        let signature = webhook.header("webhook-signature");
        ensure!(signature.matches("v1a,").count() == 1, "{signature}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_cures_and_wakes_an_endpoint_whose_secrets_cannot_be_opened()
-> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let (api, receiver) = (lab.api()?, Receiver::start().await?);
    let merchant = merchant("no-secret");
    let made = endpoint_with(&api, &merchant, receiver.url(), json!({})).await?;
    let path = format!("/v1/endpoints/{}", text(&made, "id")?);
    let id: Uuid = text(&made, "id")?.trim_start_matches("ep_").parse()?;
    let mut db = PgConnection::connect(&lab.database_url()?).await?;
    sqlx::query("update endpoint_secrets set key_id = 'lost' where endpoint_id = $1")
        .bind(id)
        .execute(&mut db)
        .await?;
    api.payment(&merchant, 1).await?;
    // Its wait doubles from 5 s on: after the third it is 16 s at least.
    until("it waits for long", Duration::from_secs(60), async || {
        let status = api.get(&format!("{path}/status")).await?;
        let trouble = status["trouble"].as_str().unwrap_or_default().to_owned();
        ensure!(trouble.contains("secret_unavailable, 3 in a row"), "{status}");
        Ok(())
    })
    .await?;
    let rotated = api.post(&format!("{path}/rotate-secret"), &json!({ "overlap_s": 0 })).await?;
    let webhook = receiver.wait_for(1, Duration::from_secs(12)).await?.remove(0);
    ensure!(is_signed_by(&webhook, text(&rotated, "secret")?)?);
    let status = api.get(&format!("{path}/status")).await?;
    ensure!(status["trouble"].is_null(), "{status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merchant_brings_its_secret_its_headers_and_asks_for_the_trace() -> anyhow::Result<()> {
    let (api, receiver) = (shared_lab().await?.api()?, Receiver::start().await?);
    let merchant = merchant("own");
    let own = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let more = json!({
        "secret": own, "signature_scheme": "both", "send_traceparent": true,
        "headers": { "Authorization": "Bearer hunter2", "x-shop": "7" },
    });
    let made = endpoint_with(&api, &merchant, receiver.url(), more).await?;
    ensure!(text(&made, "secret")? == own && text(&made, "public_key")?.starts_with("whpk_"));
    ensure!(made["header_names"] == json!(["authorization", "x-shop"]), "{made}");
    ensure!(!made.to_string().contains("hunter2"), "values are not shown: {made}");
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let payment = json!({ "merchant_id": merchant, "amount": 1, "currency": "USD" });
    let headers = [("traceparent", trace)];
    api.send("POST", "/payments", &headers, payment.to_string()).await?;
    let webhook = receiver.wait_for(1, SOON).await?.remove(0);
    ensure!(is_signed_by(&webhook, own)?);
    let tokens: Vec<&str> = webhook.header("webhook-signature").split(' ').collect();
    ensure!(tokens.len() == 2 && tokens[0].starts_with("v1,") && tokens[1].starts_with("v1a,"));
    ensure!(webhook.header("authorization") == "Bearer hunter2");
    ensure!(webhook.header("x-shop") == "7");
    ensure!(webhook.header("traceparent").contains("0af7651916cd43dd8448eb211c80319c"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_secret_and_what_no_header_may_be_is_refused_by_name() -> anyhow::Result<()> {
    let (api, receiver) = (shared_lab().await?.api()?, Receiver::start().await?);
    let merchant = merchant("refused-secret");
    let made = endpoint_with(&api, &merchant, receiver.url(), json!({})).await?;
    let webhook = next_webhook(&api, &receiver, &merchant).await?;
    ensure!(webhook.header("traceparent").is_empty(), "nobody asked for our trace");
    let create = |more: Value| {
        let mut body = json!({ "merchant_id": merchant, "url": receiver.url() });
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        ("/v1/endpoints".to_owned(), body)
    };
    let rotate = |body: Value| {
        (format!("/v1/endpoints/{}/rotate-secret", made["id"].as_str().unwrap_or("")), body)
    };
    for ((path, body), field) in [
        (create(json!({ "secret": "hunter2" })), "secret"),
        (create(json!({ "signature_scheme": "v3" })), "signature_scheme"),
        (create(json!({ "headers": { "webhook-id": "x" } })), "headers"),
        (create(json!({ "headers": { "x-a": "hunter2\r\nhost: b" } })), "headers"),
        (create(json!({ "headers": ["x"] })), "headers"),
        (create(json!({ "send_traceparent": "yes" })), "send_traceparent"),
        (rotate(json!({ "overlap_s": 604_801 })), "overlap_s"),
        (rotate(json!({ "secret": "whpk_hunter2" })), "secret"),
    ] {
        let (status, answer) = api.send("POST", &path, &[], body.to_string()).await?;
        ensure!(status == 400 && answer["error"]["field"] == field, "{body}: {answer}");
        ensure!(!answer.to_string().contains("hunter2"), "{answer}");
    }
    let nobody = format!("/v1/endpoints/ep_{}/rotate-secret", Uuid::now_v7());
    ensure!(api.send("POST", &nobody, &[], "{}").await?.0 == 404);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_sealed_is_sealed_again_when_the_key_ring_rotates() -> anyhow::Result<()> {
    let lab = shared_lab().await?;
    let url = own_database(&lab.database_url()?).await?;
    lab.posthorn(&["migrate", "--database-url", &url])?;
    let (old, new) = (KeyRing::generate_line("k1")?, lab.posthorn(&["secrets", "new-key", "k2"])?);
    let ring = KeyRing::parse(&old)?;
    let store = Store::new(&url, "test", 2)?;
    let secret = Secret::generate()?;
    let headers = CustomHeaders::parse([("authorization", "Bearer hunter2")])?;
    let merchant = "demo".to_owned().try_into()?;
    store.create_merchant(&Write::default(), &merchant, &"demo".to_owned().try_into()?).await?;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let id = Uuid::now_v7().into();
        let sealed = |sealed: delivery::secrets::Sealed| SealedSecret {
            key_id: sealed.key_id,
            ciphertext: sealed.ciphertext,
        };
        let first = NewSecret {
            version: FIRST_SECRET_VERSION,
            sealed: sealed(ring.seal(&secret, id, FIRST_SECRET_VERSION)?),
            public_key: None,
        };
        let endpoint = NewEndpoint {
            id,
            merchant_id: &merchant,
            url: "https://merchant.example/",
            event_types: &[],
            signature_scheme: "v1",
            secrets: &[first],
            header_names: &headers.names(),
            headers: Some(&sealed(ring.seal_headers(&headers, id)?)),
            send_traceparent: false,
            ordering: Default::default(),
            policy: &Default::default(),
        };
        store.create_endpoint(&Write::default(), &endpoint).await?;
        ids.push(id);
    }

    let keys = tempfile::NamedTempFile::new()?;
    let path = keys.path().to_str().context("a path")?;
    let reencrypt = ["secrets", "reencrypt", "--database-url", &url, "--secret-keys-file", path];
    // Without the old key nothing opens, nothing is lost and the exit status says so.
    std::fs::write(keys.path(), &new)?;
    ensure!(lab.posthorn(&reencrypt).is_err());
    std::fs::write(keys.path(), format!("{new}{}", *old))?;
    let said = lab.posthorn(&reencrypt)?;
    ensure!(said.starts_with("Sealed 6 again with `k2`; 0 could not be opened."), "{said}");
    ensure!(lab.posthorn(&reencrypt)?.starts_with("Sealed 0 again"));

    let ring = KeyRing::parse(&new)?;
    for id in ids {
        let kept = store.live_secrets(id).await?.remove(0);
        let SealedSecret { key_id, ciphertext } = kept.sealed;
        let opened =
            ring.open(&delivery::secrets::Sealed { key_id, ciphertext }, id, kept.version)?;
        ensure!(*opened.reveal() == *secret.reveal());
        let look = store.look(id, 1, Uuid::new_v4()).await?.context("an endpoint")?;
        let SealedSecret { key_id, ciphertext } = look.endpoint.headers.context("headers")?;
        let sealed = delivery::secrets::Sealed { key_id, ciphertext };
        ensure!(ring.open_headers(&sealed, id)? == headers);
    }
    Ok(())
}

/// A database of the test's own beside the stack's; its URL.
async fn own_database(url: &str) -> anyhow::Result<String> {
    let name = format!("test_{}", Uuid::now_v7().simple());
    let mut db = PgConnection::connect(url).await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("create database {name}"))).execute(&mut db).await?;
    let (server, _) = url.rsplit_once('/').context("a URL with a database")?;
    Ok(format!("{server}/{name}"))
}
