//! A ledger's entry in memory: a [`Line`] in about 140 bytes and one allocation.
//!
//! A million of them is the ledger's bound, so ids that are UUIDs are kept as such and what
//! repeats (types, agents) is kept once. Packing loses nothing: `unpack` gives the same line back.

use std::collections::HashMap;

use uuid::Uuid;

use crate::line::{Digest, Headers, Line, Micros};

/// An id, small when it is a prefix that we know and a UUID.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Id {
    None,
    Known(u8, Uuid),
    Other(Box<str>),
}

/// Prefixes that are kept as one byte; the empty one is a bare UUID.
const PREFIXES: [&str; 4] = ["evt_", "pay_", "msg_", ""];

impl Id {
    fn pack(text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::None };
        for (index, prefix) in (0_u8..).zip(PREFIXES) {
            let uuid = text.strip_prefix(prefix).and_then(|rest| Uuid::try_parse(rest).ok());
            // Another spelling of the same UUID is another text, and is kept as it came.
            if let Some(uuid) = uuid.filter(|uuid| text[prefix.len()..] == uuid.to_string()) {
                return Self::Known(index, uuid);
            }
        }
        Self::Other(text.into())
    }

    fn unpack(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Known(index, uuid) => Some(format!("{}{uuid}", PREFIXES[usize::from(*index)])),
            Self::Other(text) => Some(text.to_string()),
        }
    }
}

/// Texts that repeat, each kept once and named by a number; 0 is no text.
#[derive(Debug, Default)]
pub(crate) struct Words {
    numbers: HashMap<Box<str>, u16>,
    texts: Vec<Box<str>>,
}

impl Words {
    /// Most different texts. Types and agents are few; a sender that makes up new ones for ever
    /// sees `(others)` in their place.
    const MAX: u16 = 10_000;
    const OTHERS: &str = "(others)";

    fn pack(&mut self, text: Option<&str>) -> u16 {
        let Some(text) = text else { return 0 };
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let next = u16::try_from(self.texts.len() + 1).unwrap_or(u16::MAX);
        if next >= Self::MAX && text != Self::OTHERS {
            return self.pack(Some(Self::OTHERS));
        }
        self.texts.push(text.into());
        self.numbers.insert(text.into(), next);
        next
    }

    fn unpack(&self, number: u16) -> Option<String> {
        let index = usize::from(number).checked_sub(1)?;
        self.texts.get(index).map(ToString::to_string)
    }
}

/// One request, packed.
#[derive(Debug)]
pub(crate) struct Entry {
    number: u64,
    arrived_at: i64,
    /// `i64::MIN`: none.
    timestamp: i64,
    webhook_id: Id,
    payment_id: Id,
    body_sha256: [u8; 32],
    /// Headers that differ from request to request, joined by the line feed that none can hold.
    headers: Box<str>,
    merchant: u32,
    body_bytes: u32,
    event_type: u16,
    content_type: u16,
    user_agent: u16,
    /// 0: not answered.
    status: u16,
}

impl Entry {
    /// Packs a line of the merchant with the number `merchant`.
    pub(crate) fn pack(line: &Line, merchant: u32, words: &mut Words) -> Self {
        let headers = &line.headers;
        let part = |header: &Option<String>| header.clone().unwrap_or_default();
        Self {
            number: line.number,
            arrived_at: line.arrived_at.0,
            timestamp: line.timestamp.map_or(i64::MIN, |at| at.0),
            webhook_id: Id::pack(line.webhook_id.as_deref()),
            payment_id: Id::pack(line.payment_id.as_deref()),
            body_sha256: line.body_sha256.0,
            headers: [
                part(&headers.webhook_timestamp),
                part(&headers.webhook_signature),
                part(&headers.traceparent),
            ]
            .join("\n")
            .into(),
            merchant,
            body_bytes: line.body_bytes,
            event_type: words.pack(line.event_type.as_deref()),
            content_type: words.pack(headers.content_type.as_deref()),
            user_agent: words.pack(headers.user_agent.as_deref()),
            status: line.status.unwrap_or(0),
        }
    }

    /// The line that was packed; `name` is its merchant's.
    pub(crate) fn unpack(&self, name: &str, words: &Words) -> Line {
        let mut parts = self.headers.split('\n').map(|part| {
            // An empty header and none are the same to a reader of the ledger.
            Some(part.to_owned()).filter(|part| !part.is_empty())
        });
        Line {
            number: self.number,
            merchant: name.to_owned(),
            webhook_id: self.webhook_id.unpack(),
            event_type: words.unpack(self.event_type),
            payment_id: self.payment_id.unpack(),
            timestamp: (self.timestamp != i64::MIN).then_some(Micros(self.timestamp)),
            arrived_at: Micros(self.arrived_at),
            body_sha256: Digest(self.body_sha256),
            body_bytes: self.body_bytes,
            headers: Headers {
                webhook_timestamp: parts.next().flatten(),
                webhook_signature: parts.next().flatten(),
                traceparent: parts.next().flatten(),
                content_type: words.unpack(self.content_type),
                user_agent: words.unpack(self.user_agent),
            },
            status: (self.status != 0).then_some(self.status),
        }
    }

    /// Its place in the order of arrival.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// The number of its merchant.
    pub(crate) const fn merchant(&self) -> u32 {
        self.merchant
    }

    /// Notes what was answered.
    pub(crate) const fn answer(&mut self, status: u16) {
        self.status = status;
    }
}

/// A webhook's id to look for, packed once for a whole search.
#[derive(Debug)]
pub(crate) struct Sought(Id);

impl Sought {
    /// Looks for the webhook with this id.
    pub(crate) fn new(webhook_id: &str) -> Self {
        Self(Id::pack(Some(webhook_id)))
    }

    /// Is it this entry's?
    pub(crate) fn is(&self, entry: &Entry) -> bool {
        entry.webhook_id == self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::tests::full;

    #[test]
    fn what_is_packed_comes_out_the_same_whatever_its_ids_look_like() {
        let mut words = Words::default();
        let bare = "0198c5a4-1111-7abc-8def-0123456789ab";
        for id in [None, Some(""), Some("x"), Some(bare), Some(&*bare.to_uppercase())] {
            for prefix in ["evt_", "pay_", "msg_", "other_", ""] {
                let id = id.map(|id| format!("{prefix}{id}"));
                let line = Line { webhook_id: id.clone(), payment_id: id, ..full() };
                assert_eq!(Entry::pack(&line, 0, &mut words).unpack("demo/a", &words), line);
            }
        }
        let empty = Line { headers: Headers::default(), timestamp: None, status: None, ..full() };
        assert_eq!(Entry::pack(&empty, 0, &mut words).unpack("demo/a", &words), empty);
    }

    #[test]
    fn an_entry_stays_small_and_its_words_bounded() {
        assert!(size_of::<Entry>() <= 144, "{}", size_of::<Entry>());
        let mut words = Words::default();
        for number in 0..u32::from(Words::MAX) * 2 {
            words.pack(Some(&format!("made.up.{number}")));
        }
        assert_eq!(words.texts.len(), usize::from(Words::MAX));
        let last = words.pack(Some("one.more"));
        assert_eq!(words.unpack(last).as_deref(), Some("(others)"));
    }
}
