//! Hostile receivers: how each attempt ended, what ended it, and that the next event flows.

use std::fmt::Write as _;
use std::time::Duration;

use domain::Outcome;
use posthorn_delivery::{Attempt, Code};

use crate::addresses::outcome;
use crate::memory::Since;
use crate::receiver::{OK, Receiver, Script, Talk, answer_all, script};
use crate::setup::{SLACK, TIMEOUT, client, request};

/// More than this and an attempt costs memory that a receiver chooses. It counts the receiver too,
/// which runs in the same process.
const PEAK_KIB_MAX: u64 = 4 * 1024;

/// Reads the request, writes these bytes, and goes on as if it were good.
fn answers(bytes: impl Into<Vec<u8>>) -> Script {
    let bytes = bytes.into();
    script(move |mut talk: Talk| {
        let bytes = bytes.clone();
        async move {
            talk.read_request().await;
            talk.write(&bytes).await;
            answer_all(talk, OK).await;
        }
    })
}

/// The same, and hangs up.
fn breaks_off(bytes: &'static [u8]) -> Script {
    script(move |mut talk: Talk| async move {
        talk.read_request().await;
        talk.write(bytes).await;
    })
}

/// Reads the request, writes the head, then the same bytes without end.
fn floods(head: &'static [u8], bytes: Vec<u8>) -> Script {
    script(move |mut talk: Talk| {
        let bytes = bytes.clone();
        async move {
            talk.read_request().await;
            talk.write(head).await;
            talk.flood(&bytes).await;
        }
    })
}

/// Reads the request, writes the head, then a byte now and then.
fn drips(head: &'static [u8], bytes: &'static [u8]) -> Script {
    script(move |mut talk: Talk| async move {
        talk.read_request().await;
        talk.write(head).await;
        talk.drip(bytes).await;
    })
}

fn head_of(lines: usize, value: usize) -> Vec<u8> {
    let line = |n| format!("x-{n}: {}\r\n", "v".repeat(value));
    let lines: String = (0..lines).map(line).collect();
    format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{lines}\r\n").into_bytes()
}

fn status(line: &str, more: &str) -> Script {
    answers(format!("HTTP/1.1 {line}\r\n{more}\r\n"))
}

const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

fn silent_ones() -> Vec<(&'static str, Script)> {
    vec![
        ("never answers", answers("")),
        ("drips its head, a byte at a time", drips(b"", b"HTTP/1.1 200 OK\r\nx: ")),
        (
            "takes the request a byte at a time",
            script(|mut talk: Talk| async move {
                loop {
                    talk.read_some(1).await;
                    tokio::time::sleep(TIMEOUT / 4).await;
                }
            }),
        ),
        (
            "drips its body, after a good head",
            drips(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", b"x"),
        ),
        (
            "sends a body without end, at full speed",
            floods(CHUNKED, [b"1000\r\n", &[b'x'; 4096][..], b"\r\n"].concat()),
        ),
        (
            "promises 10 GB",
            floods(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n", vec![b'x'; 4096]),
        ),
        ("sends chunk extensions without end", floods(CHUNKED, vec![b';'; 4096])),
    ]
}

fn loud_ones() -> Vec<(&'static str, Script)> {
    let interim = |line: &str| floods(b"", format!("HTTP/1.1 {line}\r\n\r\n").repeat(64).into());
    vec![
        ("floods with 100 Continue", interim("100 Continue")),
        ("floods with 103 Early Hints", interim("103 Early Hints")),
        ("sends 101 header lines", answers(head_of(101, 1))),
        ("sends a header of 1 MB", answers(head_of(1, 1_000_000))),
        ("sends 450 KB of headers", answers(head_of(90, 5_000))),
        ("sends a header line without end", floods(b"HTTP/1.1 200 OK\r\nx: ", vec![b'v'; 4096])),
        ("switches protocols unasked", status("101 Switching Protocols", "upgrade: x\r\nconnection: upgrade\r\n")),
        ("answers with HTTP/0.9 text", answers("<html>hello</html>\r\n\r\n")),
        ("is an SSH server", answers("SSH-2.0-OpenSSH_9.6\r\n")),
        ("is a mail server", answers("220 mail.example ESMTP\r\n")),
        ("speaks HTTP/2 on HTTP/1.1", answers(*b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64\x00\x04\x40\x00\x00\x00")),
        ("sends random bytes", answers(*b"\xde\xad\xbe\xef\r\n\r\n")),
        ("has the status 2OO", status("2OO OK", "")),
        ("has the status 000", status("000 None", "")),
        ("has the status 999", status("999 Odd", "content-length: 0\r\n")),
        ("has two lengths", status("200 OK", "content-length: 1\r\ncontent-length: 2\r\n")),
        ("has a negative length", status("200 OK", "content-length: -1\r\n")),
    ]
}

fn broken_ones() -> Vec<(&'static str, Script)> {
    vec![
        ("hangs up before its head", breaks_off(b"")),
        ("hangs up in its head", breaks_off(b"HTTP/1.1 200 OK\r\ncontent-le")),
        (
            "hangs up in its body, after a good head",
            breaks_off(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"),
        ),
        (
            "resets the connection while the request is sent",
            script(|mut talk: Talk| async move { talk.read_some(10).await }),
        ),
        (
            "answers 413 before it has read the request",
            script(|mut talk: Talk| async move {
                talk.read_some(10).await;
                talk.write(b"HTTP/1.1 413 Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    .await;
                talk.hold().await;
            }),
        ),
        (
            "redirects to a metadata service",
            status("307 Go", "location: http://169.254.169.254/\r\ncontent-length: 0\r\n"),
        ),
        ("redirects to itself", status("308 Go", "location: /hook\r\ncontent-length: 0\r\n")),
        ("sends gzip unasked", answers(gzip())),
        (
            "sends NUL, escapes and no UTF-8",
            answers(*b"HTTP/1.1 500 Oh\r\ncontent-length: 9\r\n\r\n\x00\x1b[2J\xff\r\nx"),
        ),
        ("sends 204 with a body", answers("HTTP/1.1 204 No\r\ncontent-length: 5\r\n\r\nhello")),
        ("says that it is gone", status("410 Gone", "content-length: 0\r\n")),
        (
            "asks to come back in a thousand years",
            status("429 Slow", "retry-after: 31536000000\r\ncontent-length: 0\r\n"),
        ),
    ]
}

fn gzip() -> Vec<u8> {
    let head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 64\r\n\r\n";
    [&head[..], &[0x1f, 0x8b, 8, 0][..], &[0; 60][..]].concat()
}

pub(crate) async fn receivers() -> String {
    let mut table = String::from(
        "| a receiver that … | outcome | code | ends | bytes of body read |\n|---|---|---|---|---|\n",
    );
    // What is made once and kept does not count for the first row.
    let warm = Receiver::start(script(|talk| answer_all(talk, OK))).await;
    client().attempt(&request(&warm.url())).await;
    let never = Receiver::start(script(|mut talk: Talk| async move { talk.hold().await })).await;
    let attempt = client().attempt(&request(&format!("https://{}/", never.address))).await;
    write_row(&mut table, "accepts and never speaks TLS", &attempt);
    crate::handshakes::receivers(&mut table).await;
    for (what, hostile) in silent_ones().into_iter().chain(loud_ones()).chain(broken_ones()) {
        let receiver = Receiver::hostile_once(hostile).await;
        let client = client();
        let memory = Since::now();
        let attempt = client.attempt(&request(&receiver.url())).await;
        let peak_kib = memory.peak_kib();
        assert!(peak_kib < PEAK_KIB_MAX, "{what}: {peak_kib} KiB");
        let next = client.attempt(&request(&receiver.url())).await;
        assert_eq!(next.outcome, Outcome::Delivered { status: 200 }, "after {what}: {next:?}");
        write_row(&mut table, what, &attempt);
    }
    table
}

pub(crate) fn write_row(table: &mut String, what: &str, attempt: &Attempt) {
    assert!(attempt.duration < TIMEOUT + SLACK, "{what}: {:?}", attempt.duration);
    let code = match attempt.detail.code {
        // Which of the two is a matter of which packet comes first.
        Some(Code::ConnectionClosed | Code::ConnectionReset) => "connection_closed or _reset",
        Some(code) => code.as_str(),
        None => "",
    };
    let is_whole_time = attempt.duration >= TIMEOUT - Duration::from_millis(50);
    let ends = match attempt.detail.code {
        Some(Code::ConnectTimeout) => "after the time to connect",
        Some(Code::Timeout) => "after the whole time",
        None if is_whole_time && attempt.detail.body_truncated => "after the whole time",
        _ => "at once",
    };
    let read = match attempt.detail.body_bytes {
        // How far a flood had come when it was cut depends on the machine; its bound does not.
        1_000.. => "≤ 64 KiB".to_owned(),
        bytes if ends == "after the whole time" && bytes > 0 => "what had come".to_owned(),
        bytes => bytes.to_string(),
    };
    writeln!(table, "| {what} | {} | {code} | {ends} | {read} |", outcome(&attempt.outcome))
        .expect("a text");
}
