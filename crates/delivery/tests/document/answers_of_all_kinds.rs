//! Receivers whose answers are HTTP, and meant to lead somewhere, to cost something or to do harm.

use std::io::Write as _;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::field::CREDENTIAL;
use crate::hostile::{Hostile, answers, one};
use crate::receiver::Script;
use crate::setup::SECRET;

/// An answer without a body.
fn status(line: &str, more: &str) -> Script {
    answers(format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n{more}\r\n"))
}

/// One with a body.
fn body(line: &str, body: impl AsRef<[u8]>) -> Script {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {line}\r\ncontent-length: {}\r\n\r\n", body.len());
    answers([head.as_bytes(), body].concat())
}

/// Ten megabytes of nothing, in some ten kilobytes.
fn gzip_bomb() -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![0; 10_000_000]).expect("written");
    encoder.finish().expect("compressed")
}

fn redirects() -> Vec<Hostile> {
    let to_metadata = "location: http://169.254.169.254/\r\n";
    vec![
        one("redirects (301) to a metadata service", status("301 Go", to_metadata)),
        one("redirects (302) to loopback", status("302 Go", "location: //127.0.0.1/\r\n")),
        one("redirects (303) to a metadata service", status("303 Go", to_metadata)),
        one("redirects (307) to a metadata service", status("307 Go", to_metadata)),
        one("redirects (308) to itself", status("308 Go", "location: /hook\r\n")),
    ]
}

fn waits() -> Vec<Hostile> {
    let slow = |wait: &str| status("429 Slow", &format!("retry-after: {wait}\r\n"));
    let later = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(90 * 60));
    vec![
        one("says that it is gone, and then is not", status("410 Gone", "")),
        one("says 502", status("502 Bad Gateway", "")),
        one("says 503", status("503 Unavailable", "")),
        one("says 504", status("504 Gateway Timeout", "")),
        one("asks to come back in two minutes", slow("120")),
        one("asks to come back at a time, in an hour and a half", slow(&later)),
        one("asks to come back at a time that has passed", slow("Sun, 06 Nov 1994 08:49:37 GMT")),
        one("asks to come back in a thousand years", slow("31536000000")),
        one("asks to come back in -1 seconds", slow("-1")),
        one("asks to come back in `abc`", slow("abc")),
        one("asks to come back in 10 s and in 60 s", slow("10\r\nretry-after: 60")),
    ]
}

fn bodies() -> Vec<Hostile> {
    let no_body =
        |line: &str| answers(format!("HTTP/1.1 {line}\r\ncontent-length: 5\r\n\r\nhello"));
    let bomb = gzip_bomb();
    let unasked = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        bomb.len()
    );
    let forged = "\r\n2026-01-01 ERROR forged\r\n<script>alert(1)</script>";
    vec![
        one("sends 10 MB as 10 KB of gzip, unasked", answers([unasked.as_bytes(), &bomb].concat())),
        one("sends 204 with a body", no_body("204 No")),
        one("sends 205 with a body", no_body("205 Reset")),
        one("sends 304 with a body", no_body("304 Not Modified")),
        one("sends NUL, escapes and no UTF-8", body("500 Oh", b"\x00\x1b[2J\xff\r\nx")),
        one("sends 10,000 escapes", body("500 Oh", "\x1b[31m".repeat(10_000))),
        one("sends a line of a log and a script", body("500 Oh", forged)),
        one("sends our secret back", body("500 Oh", format!("you signed with {SECRET}"))),
        one(
            "sends the merchant's own header back, as PHP's JSON spells it",
            body("500 Oh", format!(r#"{{"authorization":"{}"}}"#, CREDENTIAL.replace('/', r"\/"))),
        ),
        one(
            "sends the merchant's own header back, as a URL spells it",
            body("500 Oh", CREDENTIAL.replace(' ', "%20").replace('/', "%2F").replace('=', "%3D")),
        ),
    ]
}

pub(crate) fn receivers() -> impl Iterator<Item = Hostile> {
    [redirects(), waits(), bodies()].into_iter().flatten()
}
