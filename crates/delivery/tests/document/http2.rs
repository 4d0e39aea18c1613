//! Hostile receivers that chose HTTP/2 when TLS was made: its frames, written byte by byte.

use std::sync::Arc;

use tokio_rustls::TlsAcceptor;

use crate::authority::{Authority, HOST, client_trusting};
use crate::field::{Case, Field};
use crate::receiver::{Receiver, Script, Talk, script};
use crate::setup::request;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The client's only request.
const STREAM: u32 = 1;
/// `:status: 200` in HPACK, from its static table.
const STATUS_200: u8 = 0x88;
/// `accept-charset:` with nothing behind it, the same way.
const ACCEPT_CHARSET: u8 = 0x8f;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame; the length may be other than the payload's.
fn frame_of(length: usize, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(length).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    frame_of(payload.len(), kind, flags, stream, payload)
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// A header in HPACK, each length in one byte.
fn header(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    [&[0][..], &text(name), &text(value)].concat()
}

/// The head of an answer, its body still to come.
fn head(block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, STREAM, block)
}

fn good_head() -> Vec<u8> {
    head(&[STATUS_200])
}

/// Reads frames until the request is whole.
async fn read_request(talk: &mut Talk) -> Option<()> {
    loop {
        let head = talk.read_bytes(9).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        talk.read_bytes(usize::try_from(length).ok()?).await?;
        if [DATA, HEADERS].contains(&head[3]) && head[4] & END_STREAM != 0 {
            return Some(());
        }
    }
}

/// Says its settings, reads the whole request, writes these bytes.
fn answers(bytes: Vec<u8>) -> Script {
    floods(bytes, Vec::new())
}

/// The same, and then the others without end.
fn floods(first: Vec<u8>, without_end: Vec<u8>) -> Script {
    script(move |mut talk: Talk| {
        let (first, without_end) = (first.clone(), without_end.clone());
        async move {
            talk.read_bytes(PREFACE.len()).await;
            talk.write(&frame(SETTINGS, 0, 0, &[])).await;
            read_request(&mut talk).await;
            talk.write(&first).await;
            if !without_end.is_empty() {
                talk.flood(&without_end).await;
            }
            talk.hold().await;
        }
    })
}

/// Writes these bytes before it has read anything of a request.
fn begins_with(bytes: Vec<u8>) -> Script {
    script(move |mut talk: Talk| {
        let bytes = bytes.clone();
        async move {
            talk.read_bytes(PREFACE.len()).await;
            talk.write(&bytes).await;
            talk.hold().await;
        }
    })
}

fn silent_ones() -> Vec<(&'static str, Script)> {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    const INITIAL_WINDOW_SIZE: u16 = 4;
    vec![
        ("never answers, by HTTP/2", answers(Vec::new())),
        ("sends no settings", begins_with(Vec::new())),
        (
            "lets no stream through",
            begins_with(frame(SETTINGS, 0, 0, &setting(MAX_CONCURRENT_STREAMS, 0))),
        ),
        (
            "never has room for the body",
            begins_with(frame(SETTINGS, 0, 0, &setting(INITIAL_WINDOW_SIZE, 0))),
        ),
    ]
}

fn endless_ones() -> Vec<(&'static str, Script)> {
    // One header of 4,000 bytes, kept in the client's table, then named again by one byte each.
    let kept = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'v'; 4_000]].concat();
    let bomb = [&[STATUS_200][..], &kept, &[0xbe; 10_000]].concat();
    let lines: Vec<u8> = (0..101).flat_map(|n| header(&format!("x-{n}"), "v")).collect();
    let interim = head(&header(":status", "103")).repeat(64);
    vec![
        ("floods with SETTINGS", floods(vec![], frame(SETTINGS, 0, 0, &setting(4, 1)).repeat(64))),
        ("floods with PING", floods(vec![], frame(PING, 0, 0, &[7; 8]).repeat(64))),
        (
            "floods with WINDOW_UPDATE",
            floods(vec![], frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(64)),
        ),
        ("floods with 103 Early Hints, by HTTP/2", floods(vec![], interim)),
        (
            "sends interim heads that unpack to as much as heads may",
            floods(
                vec![],
                head(&[&header(":status", "103")[..], &[ACCEPT_CHARSET; 650]].concat()).repeat(8),
            ),
        ),
        (
            "sends a head without end (CONTINUATION)",
            floods(
                frame(HEADERS, 0, STREAM, &[STATUS_200]),
                frame(CONTINUATION, 0, STREAM, &header("x", "vvvvvvvv").repeat(64)),
            ),
        ),
        ("sends a head that unpacks to 40 MB", answers(head(&bomb))),
        ("sends 101 header lines, by HTTP/2", answers(head(&[&[STATUS_200], &lines[..]].concat()))),
        (
            "sends empty frames of a body without end",
            floods(good_head(), frame(DATA, 0, STREAM, &[]).repeat(64)),
        ),
        (
            "sends a body of padding without end",
            floods(good_head(), frame(DATA, 8, STREAM, &[&[254][..], &[0; 254]].concat())),
        ),
        (
            "sends a body without end, whatever room there is",
            floods(good_head(), frame(DATA, 0, STREAM, &[b'x'; 4_096])),
        ),
    ]
}

fn ones_that_break_the_rules() -> Vec<(&'static str, Script)> {
    const ENHANCE_YOUR_CALM: [u8; 4] = [0, 0, 0, 11];
    const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
    let goaway = |last: u32| frame(GOAWAY, 0, 0, &[last.to_be_bytes(), ENHANCE_YOUR_CALM].concat());
    let promise = [&2_u32.to_be_bytes()[..], &[0x82, 0x84, 0x87]].concat();
    vec![
        (
            "chose HTTP/2 and speaks HTTP/1.1",
            begins_with(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()),
        ),
        ("says goodbye before the request (GOAWAY)", begins_with(goaway(0))),
        ("says goodbye instead of an answer (GOAWAY)", answers(goaway(STREAM))),
        ("refuses the stream", answers(frame(RST_STREAM, 0, STREAM, &REFUSED_STREAM))),
        (
            "breaks the stream off in its body, after a good head",
            answers([good_head(), frame(RST_STREAM, 0, STREAM, &[0, 0, 0, 2])].concat()),
        ),
        ("promises a frame of 16 MB", answers(frame_of(16_777_215, DATA, 0, STREAM, &[]))),
        ("sends a body before its head", answers(frame(DATA, 0, STREAM, b"x"))),
        ("sends a body to no stream", answers(frame(DATA, 0, 0, b"x"))),
        ("answers a stream that nobody opened", answers(frame(HEADERS, END_HEADERS, 7, &[0x88]))),
        (
            "pushes what nobody asked for",
            answers(frame(PUSH_PROMISE, END_HEADERS, STREAM, &promise)),
        ),
        (
            "opens a window wider than there is",
            answers(frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ),
        ("sends a head that unpacks to nothing known", answers(head(&[0xff; 8]))),
        ("sends a head without a status", answers(head(&header("x", "v")))),
        ("sends two statuses", answers(head(&[STATUS_200, STATUS_200]))),
        ("switches protocols, by HTTP/2", answers(head(&header(":status", "101")))),
        (
            "has a length that its body is not of",
            answers(
                [
                    head(&[&[STATUS_200][..], &header("content-length", "100")].concat()),
                    frame(DATA, END_STREAM, STREAM, b"half"),
                ]
                .concat(),
            ),
        ),
    ]
}

/// Each is hostile on its first connection; the next ones answer well, by HTTP/1.1.
pub(crate) fn receivers(field: &mut Field) {
    let ours = Authority::named("ours");
    let acceptor = |alpn: &[&str]| TlsAcceptor::from(Arc::new(ours.server(HOST, (-1, 1), alpn)));
    let all = [silent_ones(), endless_ones(), ones_that_break_the_rules()];
    for (what, hostile) in all.into_iter().flatten() {
        let (first, then) = (acceptor(&["h2"]), acceptor(&[]));
        let receiver = field.there(Receiver::hostile_once_tls(hostile, Some(first), then));
        let port = receiver.address.port();
        let client = field.here(async { client_trusting(&ours, port) });
        let request = &request(&format!("https://{HOST}:{port}/hook"));
        let (client, receiver) = (&client, &receiver);
        field.run(&Case { what, client, receiver, request, good_ones_before: 0 });
    }
}
