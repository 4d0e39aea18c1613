//! Hostile receivers on plain connections: those that never end, flood, break off, or are no HTTP.

use posthorn_delivery::{CustomHeaders, Request};

use crate::field::{CREDENTIAL, Case, Field};
use crate::receiver::{OK, Receiver, Script, Talk, answer_all, script};
use crate::setup::{TIMEOUT, client, request};
use crate::{answers_of_all_kinds, crowd, handshakes, http2};

/// A receiver, and what of the attempt is not as it always is.
pub(crate) struct Hostile {
    what: &'static str,
    script: Script,
    is_large: bool,
    good_ones_before: usize,
}

pub(crate) fn one(what: &'static str, script: Script) -> Hostile {
    Hostile { what, script, is_large: false, good_ones_before: 0 }
}

impl Hostile {
    /// The request is too large for the buffers between client and receiver.
    fn large(self) -> Self {
        Self { is_large: true, ..self }
    }

    /// The connection answered once before.
    fn on_its_second_request(self) -> Self {
        Self { good_ones_before: 1, ..self }
    }

    fn request(&self, url: &str) -> Request {
        let mut request = request(url);
        request.headers = CustomHeaders::parse([("authorization", CREDENTIAL)]).expect("allowed");
        if self.is_large {
            request.data = format!("\"{}\"", "x".repeat(250 * 1024)).into();
        }
        request
    }
}

/// Reads the request, writes these bytes, and goes on as if it were good.
pub(crate) fn answers(bytes: impl Into<Vec<u8>>) -> Script {
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

/// The same with the request unread, for which the kernel resets the connection.
fn resets(bytes: &'static [u8]) -> Script {
    script(move |mut talk: Talk| async move {
        talk.read_some(10).await;
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

const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

fn slow_ones() -> Vec<Hostile> {
    let byte_by_byte = script(|mut talk: Talk| async move {
        loop {
            talk.read_some(1).await;
            tokio::time::sleep(TIMEOUT / 4).await;
        }
    });
    let late = script(|mut talk: Talk| async move {
        talk.read_request().await;
        tokio::time::sleep(TIMEOUT + TIMEOUT / 8).await;
        talk.write(b"HTTP/1.1 500 Late\r\ncontent-length: 4\r\n\r\nlate").await;
        talk.hold().await;
    });
    vec![
        one("never answers", answers("")),
        one("drips its head, a byte at a time", drips(b"", b"HTTP/1.1 200 OK\r\nx: ")),
        one("takes the request a byte at a time", byte_by_byte).large(),
        one("answers when the time is over, on the same connection", late),
        one(
            "drips its body, after a good head",
            drips(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", b"x"),
        ),
    ]
}

fn endless_ones() -> Vec<Hostile> {
    let interim = |line: &str| floods(b"", format!("HTTP/1.1 {line}\r\n\r\n").repeat(64).into());
    let chunk = [b"1000\r\n", &[b'x'; 4096][..], b"\r\n"].concat();
    let promised = b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n";
    let trailer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n";
    vec![
        one("sends a body without end, at full speed", floods(CHUNKED, chunk)),
        one("promises 10 GB", floods(promised, vec![b'x'; 4096])),
        one(
            "sends chunks of a byte without end",
            floods(CHUNKED, b"1;padding-padding\r\nx\r\n".repeat(200)),
        ),
        one("sends chunk extensions without end", floods(CHUNKED, vec![b';'; 4096])),
        one("sends a trailer without end", floods(trailer, b"x: yyyyyyyyyyyy\r\n".repeat(200))),
        one("floods with 100 Continue", interim("100 Continue")),
        one("floods with 102 Processing", interim("102 Processing")),
        one("floods with 103 Early Hints", interim("103 Early Hints")),
        one("sends 101 header lines", answers(head_of(101, 1))),
        one("sends a header of 1 MB", answers(head_of(1, 1_000_000))),
        one("sends 450 KB of headers", answers(head_of(90, 5_000))),
        one("sends a header line without end", floods(b"HTTP/1.1 200 OK\r\nx: ", vec![b'v'; 4096])),
    ]
}

fn ones_that_speak_otherwise() -> Vec<Hostile> {
    const PREFACE: &[u8] =
        b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64\x00\x04\x40\x00\x00\x00";
    let head = |lines: &str| answers(format!("HTTP/1.1 {lines}\r\n\r\n"));
    vec![
        one(
            "switches protocols unasked",
            head("101 Switching\r\nupgrade: x\r\nconnection: upgrade"),
        ),
        one("answers with HTTP/0.9 text", answers("<html>hello</html>\r\n\r\n")),
        one("is an SSH server", answers("SSH-2.0-OpenSSH_9.6\r\n")),
        one("is a mail server", answers("220 mail.example ESMTP\r\n")),
        one("speaks HTTP/2 on HTTP/1.1", answers(PREFACE)),
        one("sends random bytes", answers(*b"\xde\xad\xbe\xef\r\n\r\n")),
        one("has the status 2OO", head("2OO OK")),
        one("has the status 000", head("000 None")),
        one("has the status 99", head("99 Low")),
        one("has the status 999", head("999 Odd\r\ncontent-length: 0")),
        one(
            "gives no reason beside its status",
            answers("HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n"),
        ),
        one("has two lengths", head("200 OK\r\ncontent-length: 1\r\ncontent-length: 2")),
        one("has a negative length", head("200 OK\r\ncontent-length: -1")),
        one(
            "has a length and chunks, and a second answer behind them",
            head(
                "200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n\
                 HTTP/1.1 500 Smuggled\r\ncontent-length: 0",
            ),
        ),
        one("has a chunk whose size is no number", answers([CHUNKED, b"zz\r\n"].concat())),
    ]
}

fn broken_ones() -> Vec<Hostile> {
    const HALF_A_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-le";
    const HALF_A_BODY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
    let reads_the_head = script(|mut talk: Talk| async move {
        talk.read_head().await;
    });
    let once = script(|mut talk: Talk| async move {
        talk.read_request().await;
        talk.write(OK).await;
        talk.read_request().await;
    });
    let answers_at_once = script(|mut talk: Talk| async move {
        talk.read_some(10).await;
        talk.write(b"HTTP/1.1 413 Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
        talk.hold().await;
    });
    vec![
        one("hangs up before its head", breaks_off(b"")),
        one("hangs up in its head", breaks_off(HALF_A_HEAD)),
        one("hangs up in its body, after a good head", breaks_off(HALF_A_BODY)),
        one("resets the connection before its head", resets(b"")),
        one("resets the connection in its head", resets(HALF_A_HEAD)),
        one("resets the connection in its body, after a good head", resets(HALF_A_BODY)),
        one("hangs up when it has read the request's head", reads_the_head).large(),
        one("hangs up on the next request of its connection", once).on_its_second_request(),
        one("answers 413 before it has read the request", answers_at_once).large(),
    ]
}

pub(crate) fn receivers() -> String {
    let mut field = Field::new();
    // What is made once and kept does not count for the first row.
    let warm = field.there(Receiver::start(script(|talk| answer_all(talk, OK))));
    field.here(async { client().attempt(&request(&warm.url())).await });
    handshakes::receivers(&mut field);
    let all = [slow_ones(), endless_ones(), ones_that_speak_otherwise(), broken_ones()];
    let all = all.into_iter().flatten().chain(answers_of_all_kinds::receivers());
    for hostile in all {
        let receiver = field.there(Receiver::hostile_once(hostile.script.clone()));
        let client = field.here(async { client() });
        field.run(&Case {
            what: hostile.what,
            client: &client,
            receiver: &receiver,
            request: &hostile.request(&receiver.url()),
            good_ones_before: hostile.good_ones_before,
        });
    }
    http2::receivers(&mut field);
    crowd::receivers(&mut field);
    field.into_table()
}
