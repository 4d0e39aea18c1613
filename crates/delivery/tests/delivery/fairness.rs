//! Many endpoints that hang, and one that does not.

use std::time::{Duration, Instant};

use domain::{Fault, Outcome};
use posthorn_delivery::{Client, ClientConfig, Code, NameTable};

use crate::receiver::{OK, Receiver, Talk, answer_all, script};
use crate::setup::{SLACK, TIMEOUT, config, endpoint, request};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_endpoints_that_hang_do_not_slow_one_that_answers() {
    let tarpit = Receiver::start(script(|mut talk: Talk| async move { talk.hold().await })).await;
    let healthy = Receiver::start(script(|talk| answer_all(talk, OK))).await;
    // Far fewer places than endpoints that hang.
    let options = ClientConfig { concurrent_attempts: 64, ..config(NameTable::default(), &[]) };
    let client = Client::new(options).expect("a client");
    let good = request(&healthy.url());
    assert_eq!(client.attempt(&good).await.outcome.class(), "delivered");
    let hanging: Vec<_> = (1_000..2_000)
        .map(|n| {
            let (client, mut request) = (client.clone(), request(&tarpit.url()));
            request.endpoint_id = endpoint(n);
            request.timeout = Duration::from_secs(30);
            tokio::spawn(async move { client.attempt(&request).await })
        })
        .collect();
    while tarpit.connections() < 48 {
        tokio::task::yield_now().await;
    }
    let mut slowest = Duration::ZERO;
    for _ in 0..100 {
        let begun = Instant::now();
        assert_eq!(client.attempt(&good).await.outcome.class(), "delivered");
        slowest = slowest.max(begun.elapsed());
    }
    for n in 2_000..2_100 {
        let mut new = request(&healthy.url());
        (new.endpoint_id, new.is_well) = (endpoint(n), true);
        let begun = Instant::now();
        assert_eq!(client.attempt(&new).await.outcome.class(), "delivered", "new to this worker");
        slowest = slowest.max(begun.elapsed());
    }
    assert_eq!(tarpit.connections(), 48, "those that hang have their own places only");
    assert!(slowest < Duration::from_millis(500), "slowest of 200: {slowest:?}");
    hanging.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_that_were_prompt_and_hang_all_at_once_delay_one_that_answers_only_shortly() {
    let tarpit = Receiver::start(script(|mut talk: Talk| async move { talk.hold().await })).await;
    let healthy = Receiver::start(script(|talk| answer_all(talk, OK))).await;
    let options = ClientConfig { concurrent_attempts: 64, ..config(NameTable::default(), &[]) };
    let client = Client::new(options).expect("a client");
    let good = request(&healthy.url());
    assert_eq!(client.attempt(&good).await.outcome.class(), "delivered");
    for n in 1_000..1_064 {
        let mut request = request(&healthy.url());
        request.endpoint_id = endpoint(n);
        assert_eq!(client.attempt(&request).await.outcome.class(), "delivered");
    }
    let hanging: Vec<_> = (1_000..1_064)
        .map(|n| {
            let (client, mut request) = (client.clone(), request(&tarpit.url()));
            request.endpoint_id = endpoint(n);
            request.timeout = Duration::from_secs(30);
            tokio::spawn(async move { client.attempt(&request).await })
        })
        .collect();
    while tarpit.connections() < 64 {
        tokio::task::yield_now().await;
    }
    // Every place is taken, the kept ones too, until they are overdue.
    assert_eq!(client.attempt(&good).await.outcome.class(), "delivered");
    let begun = Instant::now();
    assert_eq!(client.attempt(&good).await.outcome.class(), "delivered");
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    hanging.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn an_attempt_that_comes_too_late_does_not_start_though_a_place_is_free() {
    let healthy = Receiver::start(script(|talk| answer_all(talk, OK))).await;
    let client = Client::new(config(NameTable::default(), &[])).expect("a client");
    let mut late = request(&healthy.url());
    late.start_by = Some(Instant::now());
    tokio::time::sleep(Duration::from_millis(2)).await;
    let attempt = client.attempt(&late).await;
    assert_eq!(attempt.outcome, Outcome::Fault { fault: Fault::Busy });
    assert_eq!(healthy.connections(), 0);
}

#[tokio::test]
async fn who_finds_no_place_in_time_is_told_so_and_nothing_was_sent() {
    let tarpit = Receiver::start(script(|mut talk: Talk| async move { talk.hold().await })).await;
    let options =
        ClientConfig { concurrent_attempts_per_endpoint: 1, ..config(NameTable::default(), &[]) };
    let client = Client::new(options).expect("a client");
    let hanging = tokio::spawn({
        let (client, request) = (client.clone(), request(&tarpit.url()));
        async move { client.attempt(&request).await }
    });
    while tarpit.connections() == 0 {
        tokio::task::yield_now().await;
    }
    let mut second = request(&tarpit.url());
    second.start_by = Some(Instant::now() + Duration::from_millis(50));
    let attempt = client.attempt(&second).await;
    assert_eq!(attempt.outcome, Outcome::Fault { fault: Fault::Busy });
    assert_eq!(attempt.detail.code, Some(Code::Busy));
    assert_eq!(tarpit.connections(), 1);
    assert_eq!(hanging.await.expect("ended").detail.code, Some(Code::Timeout));
}

#[tokio::test]
async fn nobody_may_ask_for_more_time_than_there_is_for_any() {
    let options = config(NameTable::default(), &[]);
    assert_eq!(options.attempt_timeout_max, Duration::from_secs(30));
    let tarpit = Receiver::start(script(|mut talk: Talk| async move { talk.hold().await })).await;
    let options = ClientConfig { attempt_timeout_max: TIMEOUT, ..options };
    let client = Client::new(options).expect("a client");
    let mut patient = request(&tarpit.url());
    patient.timeout = Duration::from_secs(10);
    let attempt = client.attempt(&patient).await;
    assert_eq!(attempt.detail.code, Some(Code::Timeout));
    assert!(attempt.duration < TIMEOUT + SLACK, "{:?}", attempt.duration);
}
