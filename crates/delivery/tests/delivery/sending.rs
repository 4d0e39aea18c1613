//! What arrives at a merchant that behaves.

use std::collections::BTreeMap;

use domain::{Fault, Outcome, Unwell};
use posthorn_delivery::secrets::Secret;
use posthorn_delivery::{AGENT, Code, CustomHeaders};
use standardwebhooks::Webhook;

use crate::receiver::{OK, Receiver, answer_all, script};
use crate::setup::{SECRET, client, request};

const BODY: &str = "{\"type\":\"payment.succeeded\",\"timestamp\":\"2026-03-01T12:00:00.500000Z\",\
                    \"data\":{\"amount\":1000}}";

#[tokio::test]
async fn an_event_arrives_signed_so_that_another_library_verifies_it() {
    let receiver = Receiver::start(script(|talk| answer_all(talk, OK))).await;
    let attempt = client().attempt(&request(&receiver.url())).await;
    assert_eq!(attempt.outcome, Outcome::Delivered { status: 200 });
    let seen = receiver.seen().remove(0);
    assert_eq!(seen.request_line, "POST /hook HTTP/1.1");
    assert_eq!(std::str::from_utf8(&seen.body), Ok(BODY));
    let verifier = Webhook::new(SECRET).expect("a secret");
    verifier.verify(&seen.body, &seen.headers).expect("it verifies");
    let other = Webhook::new("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").expect("a secret");
    assert!(other.verify(&seen.body, &seen.headers).is_err());
    assert!(verifier.verify(b"{}", &seen.headers).is_err());
    assert_eq!(seen.headers["webhook-id"], "evt_00000000-0000-0000-0000-000000000007");
    assert_eq!(seen.headers["user-agent"], AGENT);
    assert_eq!(seen.headers["content-type"], "application/json");
    assert_eq!(seen.headers["host"], receiver.address.to_string());
    for absent in ["accept-encoding", "traceparent", "cookie", "authorization", "expect"] {
        assert!(!seen.headers.contains_key(absent), "{absent}");
    }
}

#[tokio::test]
async fn while_secrets_overlap_each_of_them_verifies_and_an_ed25519_one_does_not_disturb() {
    let receiver = Receiver::start(script(|talk| answer_all(talk, OK))).await;
    let mut request = request(&receiver.url());
    let new = Secret::generate().expect("random bytes");
    request.secrets.push(Secret::generate_asymmetric().expect("random bytes"));
    request.secrets.push(new.clone());
    client().attempt(&request).await;
    let seen = receiver.seen().remove(0);
    for secret in [SECRET, &new.reveal()] {
        let verifier = Webhook::new(secret).expect("a secret");
        verifier.verify(&seen.body, &seen.headers).expect("it verifies");
    }
    let signatures = seen.headers["webhook-signature"].to_str().expect("text");
    assert_eq!(signatures.matches("v1,").count(), 2);
    assert_eq!(signatures.matches("v1a,").count(), 1);
}

#[tokio::test]
async fn a_merchants_headers_arrive_and_ours_stay_ours() {
    let receiver = Receiver::start(script(|talk| answer_all(talk, OK))).await;
    let mut request = request(&receiver.url());
    request.headers =
        CustomHeaders::parse([("authorization", "Bearer hunter2hunter2")]).expect("allowed");
    request.traceparent =
        Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
    client().attempt(&request).await;
    let seen = receiver.seen().remove(0);
    assert_eq!(seen.headers["authorization"], "Bearer hunter2hunter2");
    assert_eq!(seen.headers["traceparent"], request.traceparent.as_deref().expect("set"));
    assert!(!seen.headers.contains_key("tracestate"), "what is not meant for a merchant");
    assert!(
        CustomHeaders::from_map(&BTreeMap::from([("webhook-signature".into(), "x".into())]))
            .is_err()
    );
}

#[tokio::test]
async fn an_attempt_tells_where_its_time_went_and_what_came_back() {
    let answer = b"HTTP/1.1 500 Oh\r\ncontent-length: 6\r\n\r\nno\x1b[2J";
    let receiver = Receiver::start(script(move |talk| answer_all(talk, answer))).await;
    let attempt = client().attempt(&request(&receiver.url())).await;
    let detail = attempt.detail;
    assert_eq!(detail.code, Some(Code::Status));
    assert_eq!(detail.address, Some(receiver.address));
    assert_eq!(detail.http_version.as_deref(), Some("HTTP/1.1"));
    assert_eq!(detail.excerpt.as_deref(), Some("no\u{fffd}[2J"));
    assert_eq!((detail.body_bytes, detail.body_truncated), (6, false));
    let split = detail.split;
    assert!(split.dns_us.is_none() && split.tls_us.is_none(), "{split:?}");
    let parts = split.connect_us.expect("connected") + split.first_byte_us.expect("answered");
    assert!(parts <= split.total_us, "{split:?}");
    assert!(u128::from(split.total_us) <= attempt.duration.as_micros());
}

#[tokio::test]
async fn credentials_that_a_receiver_sends_back_are_not_kept() {
    let receiver = Receiver::start(script(|mut talk| async move {
        let seen = talk.read_request().await.expect("a request");
        let echo =
            format!("{SECRET} and {}", seen.headers["authorization"].to_str().expect("text"));
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", echo.len());
        talk.write(format!("{head}{echo}").as_bytes()).await;
    }))
    .await;
    let mut request = request(&receiver.url());
    request.headers =
        CustomHeaders::parse([("authorization", "Bearer hunter2hunter2")]).expect("allowed");
    let attempt = client().attempt(&request).await;
    assert_eq!(attempt.detail.excerpt.as_deref(), Some("[redacted] and [redacted]"));
    assert!(!format!("{request:?} {attempt:?}").contains("hunter2"));
}

#[tokio::test]
async fn every_status_has_its_class_and_retry_after_is_honoured_where_it_means_something() {
    let cases: &[(&str, &str, Option<u64>)] = &[
        ("200 OK", "delivered", None),
        ("204 No Content", "delivered", None),
        ("301 Moved", "refused", None),
        ("304 Not Modified", "refused", None),
        ("400 Bad", "refused", None),
        ("401 No", "refused", None),
        ("407 Proxy", "refused", None),
        ("408 Slow", "unwell", Some(120)),
        ("410 Gone", "gone", None),
        ("421 Misdirected", "refused", None),
        ("425 Early", "unwell", Some(120)),
        ("429 Slow down", "unwell", Some(120)),
        ("500 Oh", "unwell", Some(120)),
        ("503 Busy", "unwell", Some(120)),
        ("999 What", "unwell", Some(120)),
    ];
    let client = client();
    for &(line, class, retry_after_s) in cases {
        let answer = format!("HTTP/1.1 {line}\r\nretry-after: 120\r\ncontent-length: 0\r\n\r\n");
        let receiver = Receiver::start(script(move |talk| {
            let answer = answer.clone();
            async move { answer_all(talk, answer.as_bytes()).await }
        }))
        .await;
        let outcome = client.attempt(&request(&receiver.url())).await.outcome;
        assert_eq!(outcome.class(), class, "{line}");
        if let Outcome::Unwell { cause, retry_after } = outcome {
            assert!(matches!(cause, Unwell::Status(_)), "{line}");
            assert_eq!(retry_after.map(|wait| wait.as_secs()), retry_after_s, "{line}");
        }
        assert_eq!(receiver.seen().len(), 1, "{line}: one attempt is one request");
    }
}

#[tokio::test]
async fn what_cannot_be_sent_is_our_fault_and_nobody_is_called() {
    let receiver = Receiver::start(script(|talk| answer_all(talk, OK))).await;
    let client = client();
    let mut no_secret = request(&receiver.url());
    no_secret.secrets.clear();
    let mut too_large = request(&receiver.url());
    too_large.data = format!("\"{}\"", "x".repeat(256 * 1024)).into();
    let mut no_json = request(&receiver.url());
    no_json.data = "{".into();
    let mut no_url = request(&receiver.url());
    no_url.url = "https://user@example.com/".to_owned();
    for (request, fault, code) in [
        (no_secret, Fault::Secret, Code::NoSecret),
        (too_large, Fault::PayloadTooLarge, Code::PayloadTooLarge),
        (no_json, Fault::PayloadInvalid, Code::PayloadInvalid),
        (no_url, Fault::Blocked, Code::UrlRefused),
    ] {
        let attempt = client.attempt(&request).await;
        assert_eq!(attempt.outcome, Outcome::Fault { fault });
        assert_eq!(attempt.detail.code, Some(code));
    }
    assert_eq!(receiver.connections(), 0);
}
