//! Which topics these are: the ids that Kafka gave them when they were created.
//!
//! A name stays the same when a topic is deleted and made anew, or when a whole Kafka has lost its
//! data; the id does not. The client library cannot ask for it, so one request is written by hand:
//! Metadata, version 12 (KIP-516), which every Kafka from 3.1 on speaks.

use std::fmt;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::error::Error;
use crate::topics::{EVENTS, WAKES};

/// Longest wait for one server's answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Longest answer: two topics have some hundred bytes, a large cluster's brokers some thousand.
const ANSWER_BYTES_MAX: u32 = 1 << 20;
/// Metadata, and its version.
const API: (i16, i16) = (3, 12);
/// What the answer must repeat.
const CORRELATION: i32 = 7;

/// The ids of the two topics; they say whether what was announced is where it was announced to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicIds {
    /// Of [`EVENTS`].
    pub events: Uuid,
    /// Of [`WAKES`].
    pub wakes: Uuid,
}

impl fmt::Display for TopicIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.events, self.wakes)
    }
}

impl TopicIds {
    /// Of the topics on the Kafka at `kafka` (host:port, separated by commas).
    ///
    /// # Errors
    /// When Kafka is away, or has not got both topics.
    pub async fn of(kafka: &str) -> Result<Self, Error> {
        let [events, wakes] = ids(kafka, [EVENTS, WAKES]).await?;
        Ok(Self { events, wakes })
    }
}

/// The id of the topic `name` on the Kafka at `kafka`.
///
/// # Errors
/// When Kafka is away, or has no such topic.
pub async fn topic_id(kafka: &str, name: &str) -> Result<Uuid, Error> {
    let [id] = ids(kafka, [name]).await?;
    Ok(id)
}

async fn ids<const N: usize>(kafka: &str, names: [&str; N]) -> Result<[Uuid; N], Error> {
    for server in kafka.split(',') {
        let answer = tokio::time::timeout(TIMEOUT, ask(server.trim(), &names)).await;
        let Ok(Ok(answer)) = answer else { continue };
        let known = read(answer).ok_or(Error::Metadata)?;
        let mut ids = [Uuid::nil(); N];
        for (id, name) in ids.iter_mut().zip(names) {
            let found = known.iter().find(|(known, _)| known == name);
            // A topic that is not there has no id.
            *id = found
                .map(|(_, id)| *id)
                .filter(|id| !id.is_nil())
                .ok_or_else(|| Error::NoTopic(name.to_owned()))?;
        }
        return Ok(ids);
    }
    Err(Error::NoBroker { limit: TIMEOUT })
}

async fn ask(server: &str, names: &[&str]) -> std::io::Result<Bytes> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(&question(names)).await?;
    let length = stream.read_u32().await?;
    if length > ANSWER_BYTES_MAX {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer).await?;
    Ok(answer.into())
}

fn question(names: &[&str]) -> Bytes {
    let mut body = BytesMut::new();
    body.put_i16(API.0);
    body.put_i16(API.1);
    body.put_i32(CORRELATION);
    // No client's name, no tagged fields.
    body.put_i16(-1);
    body.put_u8(0);
    put_length(&mut body, names.len());
    for name in names {
        // Asked for by its name, so without an id.
        body.put_bytes(0, 16);
        put_length(&mut body, name.len());
        body.put_slice(name.as_bytes());
        body.put_u8(0);
    }
    // Do not create it, do not say what we may do with it; no tagged fields.
    body.put_bytes(0, 3);
    let mut frame = BytesMut::new();
    // A question has some ten bytes.
    frame.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    frame.put(body);
    frame.freeze()
}

/// A length in the compact form: one more than it is, seven bits a byte.
fn put_length(to: &mut BytesMut, length: usize) {
    let mut rest = length + 1;
    loop {
        let more = if rest > 0x7f { 0x80 } else { 0 };
        to.put_u8((rest & 0x7f).to_le_bytes()[0] | more);
        rest >>= 7;
        if rest == 0 {
            return;
        }
    }
}

/// Each topic's name and id; none: the answer is not one to our question.
fn read(answer: Bytes) -> Option<Vec<(String, Uuid)>> {
    let mut answer = Answer(answer);
    if answer.take(4)?.get_i32() != CORRELATION {
        return None;
    }
    answer.tags()?;
    answer.take(4)?; // how long the broker throttled us
    for _ in 0..answer.length()? {
        answer.take(4)?; // a broker's id
        answer.text()?; // its host
        answer.take(4)?; // its port
        answer.text()?; // its rack
        answer.tags()?;
    }
    answer.text()?; // the cluster's id
    answer.take(4)?; // the controller
    let mut topics = Vec::new();
    for _ in 0..answer.length()? {
        answer.take(2)?; // why there is no such topic; then its id is null, too
        let name = answer.text()?;
        let id = Uuid::from_slice(&answer.take(16)?).ok()?;
        answer.take(1)?; // internal?
        for _ in 0..answer.length()? {
            answer.take(14)?; // error, partition, leader, its epoch
            for _ in 0..3 {
                // replicas, those in sync, those offline
                let count = answer.length()?;
                answer.take(count.checked_mul(4)?)?;
            }
            answer.tags()?;
        }
        answer.take(4)?; // what we may do with it
        answer.tags()?;
        topics.push((name, id));
    }
    answer.tags()?;
    Some(topics)
}

/// What is left of an answer.
struct Answer(Bytes);

impl Answer {
    fn take(&mut self, count: usize) -> Option<Bytes> {
        (self.0.remaining() >= count).then(|| self.0.split_to(count))
    }

    /// A length in the compact form; none at all is 0.
    fn length(&mut self) -> Option<usize> {
        Some(self.number()?.saturating_sub(1))
    }

    fn number(&mut self) -> Option<usize> {
        let mut number = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.take(1)?.get_u8();
            number |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn text(&mut self) -> Option<String> {
        let length = self.length()?;
        Some(String::from_utf8_lossy(&self.take(length)?).into_owned())
    }

    fn tags(&mut self) -> Option<()> {
        for _ in 0..self.number()? {
            self.number()?;
            let length = self.number()?;
            self.take(length)?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Kafka 4.3.1 answered when it was asked for a topic of one partition and for another that
    /// it has not.
    const ANSWER: &[u8] = b"\x00\x00\x00\x07\x00\x00\x00\x00\x00\x02\x00\x00\x00\x01\
        \x0a127.0.0.1\x00\x00U\xb6\x00\x00\x170zdM8YeGl4wYNpmUmEPFPA\x00\x00\x00\x01\x03\x00\x00\
        \x0ewebhook-wakes\x0d\xcd9&\x13\xf5BS\x93\x82|\xfb\xa60\xfd\x81\x00\x02\x00\x00\x00\x00\
        \x00\x00\x00\x00\x00\x01\x00\x00\x00\x06\x02\x00\x00\x00\x01\x02\x00\x00\x00\x01\x01\x00\
        \x80\x00\x00\x00\x00\x00\x03\x07nosuch\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
        \x00\x00\x00\x00\x01\x80\x00\x00\x00\x00\x00";

    #[test]
    fn an_answer_of_kafkas_is_read() {
        let id = "0dcd3926-13f5-4253-9382-7cfba630fd81".parse().expect("an id");
        assert_eq!(
            read(Bytes::from_static(ANSWER)),
            Some(vec![("webhook-wakes".to_owned(), id), ("nosuch".to_owned(), Uuid::nil())])
        );
    }

    #[test]
    fn an_answer_that_ends_too_early_is_none() {
        for length in 0..ANSWER.len() {
            assert_eq!(read(Bytes::from_static(&ANSWER[..length])), None, "{length}");
        }
    }

    #[test]
    fn a_long_name_has_a_length_of_two_bytes() {
        let mut bytes = BytesMut::new();
        put_length(&mut bytes, 200);
        assert_eq!(Answer(bytes.freeze()).length(), Some(200));
    }
}
