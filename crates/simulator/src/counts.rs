//! What is counted, and the memory that tells a duplicate from a first arrival.
//!
//! `received` counts every request. What was answered 2xx is *accepted*: only then has the sender
//! no reason to come again, so only then is a second arrival a duplicate. The memory is bounded:
//! two generations of fingerprints, of which the older is dropped when the younger is full.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;

/// The counts of one merchant's path, or of all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Requests. `received` = `distinct` + `duplicates` + `refused` + `unanswered`.
    pub received: u64,
    /// Accepted for the first time.
    pub distinct: u64,
    /// Accepted though the same webhook-id had been accepted before.
    pub duplicates: u64,
    /// Of `distinct`: accepted after a later event of the same payment.
    pub out_of_order: u64,
    /// Answered, but not 2xx.
    pub refused: u64,
    /// Not answered: not yet, or never.
    pub unanswered: u64,
    /// The same as `received`, under the name that the reference design has.
    pub total_received: u64,
    /// Payments of which an event was accepted.
    pub unique_payments: u64,
}

impl Counts {
    /// Counts a request that has no answer yet.
    pub(crate) const fn receive(&mut self) {
        self.received += 1;
        self.total_received += 1;
        self.unanswered += 1;
    }

    /// Counts a request's answer.
    pub(crate) fn answer(&mut self, verdict: Verdict) {
        self.unanswered = self.unanswered.saturating_sub(1);
        match verdict {
            Verdict::Refused => self.refused += 1,
            Verdict::Duplicate => self.duplicates += 1,
            Verdict::First { out_of_order } => {
                self.distinct += 1;
                self.out_of_order += u64::from(out_of_order);
            }
        }
    }
}

/// What an answered request was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was not answered 2xx.
    Refused,
    /// It had been accepted before.
    Duplicate,
    /// It was accepted for the first time.
    First {
        /// After a later event of its payment.
        out_of_order: bool,
    },
}

/// Keys that are remembered for certain; at 25 bytes each this bounds the memory.
const GENERATION: usize = 2_000_000;

/// A value by fingerprint, for at least the last [`GENERATION`] keys and at most twice as many. 64 bits: among ten million keys, one wrong match in 400,000 such runs.
#[derive(Debug)]
pub(crate) struct Recent<V> {
    young: HashMap<u64, V>,
    old: HashMap<u64, V>,
    generation: usize,
    is_exact: bool,
}

impl<V: Copy> Recent<V> {
    /// One that remembers nothing.
    pub(crate) fn new() -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), generation: GENERATION, is_exact: true }
    }

    /// What was kept under `key`.
    pub(crate) fn get(&self, key: u64) -> Option<V> {
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    /// Keeps `value` under `key`; what was there before is replaced.
    pub(crate) fn insert(&mut self, key: u64, value: V) {
        if self.young.len() >= self.generation && !self.young.contains_key(&key) {
            self.is_exact &= self.old.is_empty();
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// Has nothing been forgotten yet?
    pub(crate) const fn is_exact(&self) -> bool {
        self.is_exact
    }
}

/// The fingerprint of a key. The same in every run, because the ledger's file is read again.
pub(crate) fn fingerprint(key: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_least_the_last_generation_is_remembered_and_forgetting_shows() {
        let generation = 1_000;
        let mut recent = Recent { generation: 1_000, ..Recent::new() };
        for key in 0..generation * 2 {
            recent.insert(key, ());
        }
        assert!(recent.is_exact() && recent.get(0).is_some());
        recent.insert(generation * 2, ());
        assert!(!recent.is_exact() && recent.get(0).is_none());
        assert!((generation..=generation * 2).all(|key| recent.get(key).is_some()));
    }
}
