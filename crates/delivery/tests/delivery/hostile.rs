//! Receivers that never answer, answer with garbage, or break off.
//!
//! The first connection is hostile, the next ones are not: each test also shows that the next
//! event flows.

use std::time::Instant;

use domain::{Outcome, Unwell};
use posthorn_delivery::{Attempt, Code};

use crate::receiver::{OK, Receiver, Script, Talk, answer_all, script};
use crate::setup::{CONNECT_TIMEOUT, SLACK, TIMEOUT, client, request};

/// One attempt at the hostile receiver, bounded in time, and one after it that must succeed.
pub(crate) async fn attempt_and_go_on(hostile: Script) -> (Attempt, Receiver) {
    let receiver = Receiver::hostile_once(hostile).await;
    let client = client();
    let begun = Instant::now();
    let attempt = client.attempt(&request(&receiver.url())).await;
    assert!(begun.elapsed() < TIMEOUT + SLACK, "took {:?}", begun.elapsed());
    let next = client.attempt(&request(&receiver.url())).await;
    assert_eq!(next.outcome, Outcome::Delivered { status: 200 }, "the next event: {next:?}");
    assert_eq!(next.detail.excerpt.as_deref(), Some("ok"), "the next event has its own answer");
    (attempt, receiver)
}

fn assert_unwell(attempt: &Attempt, cause: Unwell, codes: &[Code]) {
    assert_eq!(attempt.outcome, Outcome::Unwell { cause, retry_after: None }, "{attempt:?}");
    let code = attempt.detail.code.expect("a code");
    assert!(codes.contains(&code), "{attempt:?}");
}

/// Reads the request, writes these bytes, and closes the connection or goes on as if it were good.
pub(crate) fn answers(bytes: impl Into<Vec<u8>>, stays: bool) -> Script {
    let bytes = bytes.into();
    script(move |mut talk: Talk| {
        let bytes = bytes.clone();
        async move {
            talk.read_request().await;
            talk.write(&bytes).await;
            if stays {
                answer_all(talk, OK).await;
            }
        }
    })
}

#[tokio::test]
async fn one_that_accepts_and_never_speaks_tls_costs_the_time_to_connect() {
    let receiver = Receiver::start(script(|mut talk: Talk| async move { talk.hold().await })).await;
    let url = format!("https://{}/", receiver.address);
    let attempt = client().attempt(&request(&url)).await;
    assert_unwell(&attempt, Unwell::Connect, &[Code::ConnectTimeout]);
    assert!(attempt.duration >= CONNECT_TIMEOUT && attempt.duration < CONNECT_TIMEOUT + SLACK);
}

#[tokio::test]
async fn nothing_listening_is_a_refused_connection() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr();
    let url = format!("http://{}/", port.expect("an address"));
    let attempt = client().attempt(&request(&url)).await;
    assert_unwell(&attempt, Unwell::Connect, &[Code::ConnectRefused]);
}

#[tokio::test]
async fn one_that_never_answers_costs_the_attempts_time_and_no_more() {
    let (attempt, receiver) = attempt_and_go_on(answers("", true)).await;
    assert_unwell(&attempt, Unwell::Timeout, &[Code::Timeout]);
    assert!(attempt.duration >= TIMEOUT);
    assert_eq!(receiver.seen().len(), 2, "the first request was sent once");
}

#[tokio::test]
async fn one_that_drips_its_head_gains_no_time_by_it() {
    let (attempt, _) = attempt_and_go_on(script(|mut talk: Talk| async move {
        talk.read_request().await;
        talk.drip(b"HTTP/1.1 200 OK\r\nx: ").await;
    }))
    .await;
    assert!(!matches!(attempt.outcome, Outcome::Delivered { .. }), "{attempt:?}");
    assert!(attempt.duration < TIMEOUT + SLACK);
}

#[tokio::test]
async fn one_that_takes_the_request_byte_by_byte_costs_the_attempts_time() {
    let receiver = Receiver::start(script(|mut talk: Talk| async move {
        loop {
            talk.read_some(1).await;
            tokio::time::sleep(TIMEOUT / 4).await;
        }
    }))
    .await;
    let mut request = request(&receiver.url());
    request.data = format!("\"{}\"", "x".repeat(250 * 1024)).into();
    let attempt = client().attempt(&request).await;
    assert_unwell(&attempt, Unwell::Timeout, &[Code::Timeout]);
    assert!(attempt.duration < TIMEOUT + SLACK);
}

#[tokio::test]
async fn interim_answers_without_end_are_cut_by_what_an_attempt_may_receive() {
    for interim in ["100 Continue", "102 Processing", "103 Early Hints"] {
        let flood = format!("HTTP/1.1 {interim}\r\n\r\n").repeat(64);
        let (attempt, receiver) = attempt_and_go_on(script(move |mut talk: Talk| {
            let flood = flood.clone();
            async move {
                talk.read_request().await;
                talk.flood(flood.as_bytes()).await;
            }
        }))
        .await;
        assert_unwell(&attempt, Unwell::Protocol, &[Code::ResponseTooLarge]);
        assert!(receiver.bytes_sent() < 8 * 1024 * 1024, "{}", receiver.bytes_sent());
    }
}

#[tokio::test]
async fn an_interim_answer_before_the_real_one_does_no_harm() {
    let both = [b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n", OK].concat();
    let (attempt, _) = attempt_and_go_on(answers(both, true)).await;
    assert_eq!(attempt.outcome, Outcome::Delivered { status: 200 });
}

#[tokio::test]
async fn a_head_of_100_lines_or_32_kib_passes_and_a_larger_one_does_not() {
    let head = |lines: usize, value: usize| {
        let line = |n| format!("x-{n}: {}\r\n", "v".repeat(value));
        let lines: String = (0..lines).map(line).collect();
        format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{lines}\r\n")
    };
    for (lines, value) in [(99, 1), (30, 1_000)] {
        let (attempt, _) = attempt_and_go_on(answers(head(lines, value), true)).await;
        assert_eq!(attempt.outcome, Outcome::Delivered { status: 200 }, "{lines} x {value}");
    }
    for (lines, value) in [(101, 1), (40, 1_000), (1, 1_000_000), (90, 5_000)] {
        let (attempt, _) = attempt_and_go_on(answers(head(lines, value), true)).await;
        assert_unwell(&attempt, Unwell::Protocol, &[Code::ResponseTooLarge]);
    }
}

#[tokio::test]
async fn a_header_line_without_end_is_cut() {
    let (attempt, receiver) = attempt_and_go_on(script(|mut talk: Talk| async move {
        talk.read_request().await;
        talk.write(b"HTTP/1.1 200 OK\r\nx: ").await;
        talk.flood(&[b'v'; 4096]).await;
    }))
    .await;
    assert_unwell(&attempt, Unwell::Protocol, &[Code::ResponseTooLarge]);
    assert!(receiver.bytes_sent() < 8 * 1024 * 1024, "{}", receiver.bytes_sent());
}

#[tokio::test]
async fn what_is_not_http_is_an_invalid_answer() {
    let garbage: &[&[u8]] = &[
        b"<html>HTTP/0.9</html>\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"220 mail.example ESMTP\r\n",
        b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64\x00\x04\x40\x00\x00\x00",
        b"\xde\xad\xbe\xef\r\n\r\n",
        b"HTTP/1.1 2OO OK\r\n\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"HTTP/1.1 000 None\r\n\r\n",
        b"HTTP/3.7 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx : a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ];
    for bytes in garbage {
        let (attempt, _) = attempt_and_go_on(answers(*bytes, true)).await;
        assert_unwell(&attempt, Unwell::Protocol, &[Code::InvalidResponse, Code::ConnectionClosed]);
    }
}

#[tokio::test]
async fn a_missing_reason_is_no_fault() {
    let (attempt, _) =
        attempt_and_go_on(answers("HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", true)).await;
    assert_eq!(attempt.outcome, Outcome::Delivered { status: 200 });
}

#[tokio::test]
async fn one_that_hangs_up_before_or_in_the_middle_of_its_head_is_a_broken_connection() {
    for bytes in ["", "HTTP/1.1 200 OK\r\ncontent-le"] {
        let (attempt, receiver) = attempt_and_go_on(answers(bytes, false)).await;
        assert_unwell(&attempt, Unwell::Protocol, &[Code::ConnectionClosed, Code::ConnectionReset]);
        assert_eq!(receiver.seen().len(), 2, "each attempt is one request");
    }
}

#[tokio::test]
async fn one_that_hangs_up_on_the_request_is_a_broken_connection() {
    // Closing with bytes unread makes the kernel send a reset.
    let (attempt, _) = attempt_and_go_on(script(|mut talk: Talk| async move {
        talk.read_some(10).await;
    }))
    .await;
    assert_unwell(&attempt, Unwell::Protocol, &[Code::ConnectionClosed, Code::ConnectionReset]);
}

#[tokio::test]
async fn an_answer_that_comes_before_the_request_was_read_counts() {
    let (attempt, _) = attempt_and_go_on(script(|mut talk: Talk| async move {
        talk.read_some(10).await;
        talk.write(b"HTTP/1.1 413 Too large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .await;
        talk.hold().await;
    }))
    .await;
    assert_eq!(attempt.outcome, Outcome::Refused { status: 413 });
}

#[tokio::test]
async fn an_answer_that_was_there_before_the_request_is_not_taken_for_its_answer_twice() {
    // Whether such an answer counts is open; that the second one is never another's is not.
    let receiver = Receiver::start(script(|mut talk: Talk| async move {
        if talk.number == 0 {
            talk.write(&[OK, b"HTTP/1.1 500 Stale\r\ncontent-length: 5\r\n\r\nstale"].concat())
                .await;
            talk.hold().await;
        } else {
            answer_all(talk, OK).await;
        }
    }))
    .await;
    let client = client();
    for _ in 0..3 {
        let attempt = client.attempt(&request(&receiver.url())).await;
        assert_ne!(attempt.detail.excerpt.as_deref(), Some("stale"));
    }
}
