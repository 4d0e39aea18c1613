//! Receivers whose answer's body never ends, breaks, lies or bursts.
//!
//! The head has decided by then: none of it changes the outcome, and none of it is read or kept
//! beyond its bounds.

use domain::Outcome;

use crate::hostile::{answers, attempt_and_go_on};
use crate::receiver::{Script, Talk, script};
use crate::setup::{SLACK, TIMEOUT};

const DELIVERED: Outcome = Outcome::Delivered { status: 200 };

/// A good head, then these bytes without end.
fn head_then_flood(head: &'static [u8], flood: Vec<u8>) -> Script {
    script(move |mut talk: Talk| {
        let flood = flood.clone();
        async move {
            talk.read_request().await;
            talk.write(head).await;
            talk.flood(&flood).await;
        }
    })
}

#[tokio::test]
async fn a_body_without_end_is_read_to_its_bound_and_cut() {
    let chunk = [b"1000\r\n".as_slice(), &[b'x'; 4096], b"\r\n"].concat();
    let chunked: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let huge: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n";
    let until_close: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
    for (head, flood) in
        [(chunked, chunk), (huge, vec![b'x'; 4096]), (until_close, vec![b'x'; 4096])]
    {
        let (attempt, receiver) = attempt_and_go_on(head_then_flood(head, flood)).await;
        assert_eq!(attempt.outcome, DELIVERED);
        assert!(attempt.detail.body_truncated);
        assert!(attempt.duration < TIMEOUT, "nobody waits for its end");
        assert_eq!(attempt.detail.excerpt.as_deref(), Some("x".repeat(4096).as_str()));
        assert!(attempt.detail.body_bytes < 128 * 1024, "{}", attempt.detail.body_bytes);
        // The rest is what the two kernels' buffers hold.
        assert!(receiver.bytes_sent() < 16 * 1024 * 1024, "{}", receiver.bytes_sent());
    }
}

#[tokio::test]
async fn a_body_that_drips_is_cut_when_the_attempts_time_is_over() {
    let (attempt, _) = attempt_and_go_on(script(|mut talk: Talk| async move {
        talk.read_request().await;
        talk.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").await;
        talk.drip(b"x").await;
    }))
    .await;
    assert_eq!(attempt.outcome, DELIVERED);
    assert!(attempt.detail.body_truncated && attempt.detail.body_bytes > 0);
    assert!(attempt.duration >= TIMEOUT && attempt.duration < TIMEOUT + SLACK);
}

#[tokio::test]
async fn a_body_that_breaks_changes_nothing_about_a_good_head() {
    let broken: &[&[u8]] = &[
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nFFFFFFFFFFFFFFFFFF\r\n",
    ];
    for bytes in broken {
        let (attempt, _) = attempt_and_go_on(answers(*bytes, false)).await;
        assert_eq!(attempt.outcome, DELIVERED, "{attempt:?}");
        assert!(attempt.detail.body_truncated);
    }
}

#[tokio::test]
async fn chunk_extensions_and_trailers_without_end_are_cut() {
    let extension: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4;";
    let trailer: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n";
    for (head, flood) in
        [(extension, vec![b'x'; 4096]), (trailer, b"x: yyyyyyyyyyyyyyyy\r\n".repeat(200))]
    {
        let (attempt, receiver) = attempt_and_go_on(head_then_flood(head, flood)).await;
        assert_eq!(attempt.outcome, DELIVERED, "{attempt:?}");
        assert!(attempt.detail.body_truncated);
        assert!(receiver.bytes_sent() < 16 * 1024 * 1024, "{}", receiver.bytes_sent());
    }
}

#[tokio::test]
async fn tiny_chunks_without_end_are_cut_by_what_an_attempt_may_receive() {
    let chunked: &[u8] = b"HTTP/1.1 500 Oh\r\ntransfer-encoding: chunked\r\n\r\n";
    let (attempt, receiver) =
        attempt_and_go_on(head_then_flood(chunked, b"1;padding-padding\r\nx\r\n".repeat(200)))
            .await;
    assert_eq!(attempt.outcome.status(), Some(500));
    assert!(attempt.detail.body_truncated);
    assert!(receiver.bytes_sent() < 16 * 1024 * 1024, "{}", receiver.bytes_sent());
}

#[tokio::test]
async fn compressed_bytes_are_never_decompressed() {
    // A real gzip of ten thousand zeros would do as well; what counts is that nobody looks.
    let bomb = [&[0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 3][..], &[0xff; 1000]].concat();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        bomb.len()
    );
    let (attempt, _) = attempt_and_go_on(answers([head.as_bytes(), &bomb].concat(), true)).await;
    assert_eq!(attempt.outcome, DELIVERED);
    assert_eq!(attempt.detail.excerpt.as_deref(), Some("[1010 compressed bytes, not decoded]"));
}

#[tokio::test]
async fn any_bytes_of_a_body_are_kept_safe_to_store_and_to_print() {
    let body = b"\0\xff<script>\r\n2026-01-01 ERROR forged\x1b[31m".to_vec();
    let head = format!("HTTP/1.1 400 No\r\ncontent-length: {}\r\n\r\n", body.len());
    let (attempt, _) = attempt_and_go_on(answers([head.as_bytes(), &body].concat(), true)).await;
    let excerpt = attempt.detail.excerpt.expect("an excerpt");
    assert!(excerpt.contains("<script>"));
    assert!(excerpt.chars().all(|c| c == '\n' || !c.is_control()), "{excerpt:?}");
}

#[tokio::test]
async fn a_status_that_has_no_body_is_not_confused_by_one() {
    for (status, class) in [("204 No Content", "delivered"), ("304 Not Modified", "refused")] {
        let bytes = format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\nextra");
        let (attempt, _) = attempt_and_go_on(answers(bytes, true)).await;
        assert_eq!(attempt.outcome.class(), class);
    }
}

#[tokio::test]
async fn length_and_chunks_at_once_end_the_connection() {
    let both = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n\
                HTTP/1.1 500 Smuggled\r\ncontent-length: 8\r\n\r\nsmuggled";
    let (attempt, _) = attempt_and_go_on(answers(both, true)).await;
    assert_ne!(attempt.detail.excerpt.as_deref(), Some("smuggled"));
}
