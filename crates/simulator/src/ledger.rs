//! The ledger: every request in the order of arrival, and what it all comes to.
//!
//! Requests come in as lines, counts and pages go out. It has no IO and no clock. Its memory is
//! bounded: past a million entries the oldest details go, and the counts stay; it says so.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;

use crate::counts::{Counts, Recent, Verdict, fingerprint};
use crate::entry::{Entry, Sought, Words};
use crate::line::Line;

/// Most entries whose details are kept: about 220 bytes each with their headers.
const ENTRIES_MAX: usize = 1_000_000;
/// Most merchants that are told apart; further ones are counted together.
const MERCHANTS_MAX: usize = 20_000;
/// The name of the merchants that came after these, or whose path is too long to be a name.
pub(crate) const OTHERS: &str = "(others)";
/// Entries that one lock looks at. A search lets webhooks in between.
const SCAN_ENTRIES: usize = 5_000;

/// What a request needs to be answered, even when its entry is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Receipt {
    number: u64,
    merchant: u32,
    event: u64,
    payment: Option<Payment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Payment {
    key: u64,
    at_merchant: u64,
    timestamp: Option<i64>,
}

/// Every request, and the counts.
#[derive(Debug)]
pub(crate) struct Ledger {
    names: Vec<Arc<str>>,
    merchants: HashMap<Arc<str>, u32>,
    counts: Vec<Counts>,
    total: Counts,
    words: Words,
    entries: VecDeque<Entry>,
    entries_max: usize,
    entries_dropped: u64,
    last_number: u64,
    // Webhook-ids that were accepted, at which path.
    events: Recent<()>,
    // Payments at a path, with the time of the latest event that was accepted.
    order: Recent<i64>,
    // Payments, wherever.
    payments: Recent<()>,
}

/// What `GET /stats` answers.
#[derive(Debug, Serialize)]
pub(crate) struct Stats {
    #[serde(flatten)]
    pub total: Counts,
    pub endpoints: BTreeMap<Arc<str>, Counts>,
    pub ledger: Kept,
}

/// How much of what arrived the ledger still has.
#[derive(Debug, Serialize)]
pub(crate) struct Kept {
    pub entries: usize,
    /// Entries whose details had to go; their counts are still in.
    pub entries_dropped: u64,
    /// False when so many ids came that old ones are forgotten: a very late duplicate of one of
    /// these counts as distinct.
    pub is_exact: bool,
}

/// A part of the ledger.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Page {
    pub entries: Vec<Line>,
    /// Ask for what comes after this number; none: this was the end.
    pub next: Option<u64>,
}

impl Ledger {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self {
            names: Vec::new(),
            merchants: HashMap::new(),
            counts: Vec::new(),
            total: Counts::default(),
            words: Words::default(),
            entries: VecDeque::new(),
            entries_max: ENTRIES_MAX,
            entries_dropped: 0,
            last_number: 0,
            events: Recent::new(),
            order: Recent::new(),
            payments: Recent::new(),
        }
    }

    /// Takes a request in. The line gets its number, unless it has one from an earlier run.
    pub(crate) fn receive(&mut self, line: &mut Line) -> Receipt {
        if line.number == 0 {
            line.number = self.last_number + 1;
        }
        self.last_number = self.last_number.max(line.number);
        let merchant = self.merchant(&line.merchant);
        self.counts[merchant as usize].receive();
        self.total.receive();
        if self.entries.len() >= self.entries_max {
            self.entries.pop_front();
            self.entries_dropped += 1;
        }
        let entry = Entry::pack(line, merchant, &mut self.words);
        // Lines of a file that was written by requests that overlapped are nearly in order.
        let place = self.entries.partition_point(|earlier| earlier.number() < line.number);
        self.entries.insert(place, entry);
        let event = match &line.webhook_id {
            Some(id) => fingerprint((merchant, id)),
            // A sender without ids: the same body is the same webhook.
            None => fingerprint((merchant, line.body_sha256.0)),
        };
        let payment = line.payment_id.as_ref().map(|id| Payment {
            key: fingerprint(id),
            at_merchant: fingerprint((merchant, id)),
            timestamp: line.timestamp.map(|at| at.0),
        });
        Receipt { number: line.number, merchant, event, payment }
    }

    /// Notes what a request was answered; once for each.
    pub(crate) fn answer(&mut self, receipt: Receipt, status: u16) {
        let place = self.entries.binary_search_by_key(&receipt.number, Entry::number);
        if let Some(entry) = place.ok().and_then(|place| self.entries.get_mut(place)) {
            entry.answer(status);
        }
        let verdict = self.verdict(receipt, status);
        self.counts[receipt.merchant as usize].answer(verdict);
        self.total.answer(verdict);
    }

    fn verdict(&mut self, receipt: Receipt, status: u16) -> Verdict {
        if !(200..300).contains(&status) {
            return Verdict::Refused;
        }
        if self.events.get(receipt.event).is_some() {
            return Verdict::Duplicate;
        }
        self.events.insert(receipt.event, ());
        let Some(payment) = receipt.payment else {
            return Verdict::First { out_of_order: false };
        };
        if self.payments.get(payment.key).is_none() {
            self.payments.insert(payment.key, ());
            self.total.unique_payments += 1;
        }
        let latest = self.order.get(payment.at_merchant);
        if latest.is_none() {
            self.counts[receipt.merchant as usize].unique_payments += 1;
        }
        let timestamp = payment.timestamp.unwrap_or(i64::MIN);
        let latest = latest.unwrap_or(i64::MIN);
        self.order.insert(payment.at_merchant, latest.max(timestamp));
        Verdict::First { out_of_order: payment.timestamp.is_some() && timestamp < latest }
    }

    /// The counts of all merchants.
    pub(crate) fn stats(&self) -> Stats {
        Stats {
            total: self.total.clone(),
            endpoints: self.names.iter().cloned().zip(self.counts.iter().cloned()).collect(),
            ledger: Kept {
                entries: self.entries.len(),
                entries_dropped: self.entries_dropped,
                is_exact: self.events.is_exact()
                    && self.order.is_exact()
                    && self.payments.is_exact(),
            },
        }
    }

    /// Up to `limit` entries after number `after`, of one merchant or of all. It looks at a
    /// bounded part of the ledger, so a page may be short, or empty, and have a next one.
    pub(crate) fn page(&self, merchant: Option<&str>, after: u64, limit: usize) -> Page {
        let merchant = match merchant.map(|name| self.merchants.get(name)) {
            Some(None) => return Page::default(),
            Some(Some(number)) => Some(*number),
            None => None,
        };
        self.scan(after, limit, |entry| merchant.is_none_or(|number| entry.merchant() == number))
    }

    /// The same for the requests that carried one webhook-id.
    pub(crate) fn page_of_webhook(&self, sought: &Sought, after: u64) -> Page {
        self.scan(after, SCAN_ENTRIES, |entry| sought.is(entry))
    }

    fn scan(&self, after: u64, limit: usize, is_wanted: impl Fn(&Entry) -> bool) -> Page {
        let begin = self.entries.partition_point(|entry| entry.number() <= after);
        let mut page = Page::default();
        for (looked_at, entry) in self.entries.range(begin..).enumerate() {
            if page.entries.len() >= limit || looked_at >= SCAN_ENTRIES {
                return page;
            }
            page.next = Some(entry.number());
            if is_wanted(entry) {
                let name = &self.names[entry.merchant() as usize];
                page.entries.push(entry.unpack(name, &self.words));
            }
        }
        page.next = None;
        page
    }

    fn merchant(&mut self, name: &str) -> u32 {
        if let Some(number) = self.merchants.get(name) {
            return *number;
        }
        if self.names.len() >= MERCHANTS_MAX && name != OTHERS {
            return self.merchant(OTHERS);
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        let name: Arc<str> = name.into();
        self.names.push(Arc::clone(&name));
        self.merchants.insert(name, number);
        self.counts.push(Counts::default());
        number
    }
}

#[cfg(test)]
mod tests;
