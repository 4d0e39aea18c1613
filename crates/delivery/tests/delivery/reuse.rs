//! Connections that are used again, and those that must not be.

use std::sync::Arc;

use domain::{Outcome, Unwell};
use tokio::sync::Notify;

use crate::receiver::{OK, Receiver, Talk, answer_all, script};
use crate::setup::{TIMEOUT, client, request};

#[tokio::test]
async fn requests_of_one_endpoint_share_a_connection() {
    let receiver = Receiver::start(script(|talk| answer_all(talk, OK))).await;
    let client = client();
    for n in 0..5 {
        let attempt = client.attempt(&request(&receiver.url())).await;
        assert_eq!(attempt.outcome, Outcome::Delivered { status: 200 });
        assert_eq!(attempt.detail.reused_connection, n > 0);
        assert_eq!(attempt.detail.address, Some(receiver.address));
        assert_eq!(attempt.detail.split.connect_us.is_some(), n == 0);
    }
    assert_eq!((receiver.connections(), client.idle_connections()), (1, 1));
}

#[tokio::test]
async fn what_an_attempt_may_receive_is_counted_anew_for_each() {
    let body = "x".repeat(60 * 1024);
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let receiver = Receiver::start(script(move |talk| {
        let answer = answer.clone();
        async move { answer_all(talk, answer.as_bytes()).await }
    }))
    .await;
    let client = client();
    for _ in 0..10 {
        let attempt = client.attempt(&request(&receiver.url())).await;
        assert_eq!(attempt.outcome, Outcome::Delivered { status: 200 }, "{attempt:?}");
        assert!(!attempt.detail.body_truncated);
    }
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn an_answer_before_its_request_was_taken_holds_nobody_up() {
    let receiver = Receiver::hostile_once(script(|mut talk: Talk| async move {
        talk.read_some(10).await;
        talk.write(OK).await;
        std::future::pending::<()>().await;
    }))
    .await;
    let client = client();
    let mut large = request(&receiver.url());
    large.data = format!("\"{}\"", "x".repeat(250 * 1024)).into();
    let first = client.attempt(&large).await;
    assert_eq!(first.outcome, Outcome::Delivered { status: 200 });
    assert!(first.duration < TIMEOUT, "{first:?}");
}

#[tokio::test]
async fn idle_connections_are_bounded_per_endpoint_and_closed_ones_go_away() {
    let all_here = Arc::new(tokio::sync::Barrier::new(6));
    let receiver = Receiver::start(script(move |mut talk: Talk| {
        let all_here = Arc::clone(&all_here);
        async move {
            talk.read_request().await;
            all_here.wait().await;
            talk.write(OK).await;
            talk.hold().await;
        }
    }))
    .await;
    let client = client();
    let request = request(&receiver.url());
    let attempts = (0..6).map(|_| client.attempt(&request));
    for attempt in futures::future::join_all(attempts).await {
        assert_eq!(attempt.outcome, Outcome::Delivered { status: 200 });
    }
    assert_eq!(client.idle_connections(), 2);
    // Nobody uses them: in some seconds they are gone.
    while client.idle_connections() > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_never_the_answer_to_the_next_request() {
    let smuggled = [OK, b"HTTP/1.1 500 Smuggled\r\ncontent-length: 8\r\n\r\nsmuggled"].concat();
    let receiver = Receiver::start(script(move |mut talk: Talk| {
        let smuggled = smuggled.clone();
        async move {
            while talk.read_request().await.is_some() {
                talk.write(&smuggled).await;
            }
        }
    }))
    .await;
    let client = client();
    for _ in 0..20 {
        let attempt = client.attempt(&request(&receiver.url())).await;
        assert_ne!(attempt.detail.excerpt.as_deref(), Some("smuggled"), "{attempt:?}");
    }
}

#[tokio::test]
async fn a_late_answer_finds_its_connection_closed() {
    let timed_out = Arc::new(Notify::new());
    let told = Arc::clone(&timed_out);
    let receiver = Receiver::hostile_once(script(move |mut talk: Talk| {
        let told = Arc::clone(&told);
        async move {
            talk.read_request().await;
            told.notified().await;
            talk.write(b"HTTP/1.1 500 Late\r\ncontent-length: 4\r\n\r\nlate").await;
            talk.hold().await;
        }
    }))
    .await;
    let client = client();
    let first = client.attempt(&request(&receiver.url())).await;
    assert!(matches!(first.outcome, Outcome::Unwell { cause: Unwell::Timeout, .. }));
    timed_out.notify_one();
    let second = client.attempt(&request(&receiver.url())).await;
    assert_eq!(second.outcome, Outcome::Delivered { status: 200 });
    assert!(!second.detail.reused_connection);
    assert_eq!(receiver.connections(), 2);
}

#[tokio::test]
async fn a_connection_that_closes_on_its_next_request_costs_one_attempt_and_no_hidden_second_one() {
    let receiver = Receiver::hostile_once(script(|mut talk: Talk| async move {
        talk.read_request().await;
        talk.write(OK).await;
        talk.read_request().await;
        // Closed without an answer: nobody knows whether the request was processed.
    }))
    .await;
    let client = client();
    let outcome = || async { client.attempt(&request(&receiver.url())).await.outcome };
    assert_eq!(outcome().await, Outcome::Delivered { status: 200 });
    assert!(matches!(outcome().await, Outcome::Unwell { cause: Unwell::Protocol, .. }));
    assert_eq!(receiver.seen().len(), 2, "a request that may have arrived is not repeated");
    assert_eq!(outcome().await, Outcome::Delivered { status: 200 });
    assert_eq!(receiver.seen().len(), 3);
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_costs_nothing() {
    let closed = Arc::new(Notify::new());
    let tell = Arc::clone(&closed);
    let receiver = Receiver::start(script(move |mut talk: Talk| {
        let tell = Arc::clone(&tell);
        async move {
            talk.read_request().await;
            talk.write(OK).await;
            drop(talk);
            tell.notify_one();
        }
    }))
    .await;
    let client = client();
    for _ in 0..3 {
        let attempt = client.attempt(&request(&receiver.url())).await;
        assert_eq!(attempt.outcome, Outcome::Delivered { status: 200 }, "{attempt:?}");
        closed.notified().await;
        // The end of the connection has arrived when the client has seen it.
        while client.idle_connections() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    assert_eq!(receiver.connections(), 3);
}
