//! What happened in a run, counted.

use std::fmt;
use std::ops::AddAssign;

use domain::endpoint::FinishReason;

use crate::database::Database;

/// Counts of a run, or of many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Endpoints, each with a merchant of its own.
    pub endpoints: u64,
    /// Deliveries that committed.
    pub deliveries: u64,
    /// Deliveries that the merchant has.
    pub delivered: u64,
    /// Deliveries that ended as exhausted.
    pub exhausted: u64,
    /// Deliveries that an operator cancelled, or whose endpoint was deleted.
    pub cancelled: u64,
    /// Deliveries that still wait, each for a reason.
    pub waiting: u64,
    /// Requests that merchants got.
    pub requests: u64,
    /// Requests for what the merchant had accepted before.
    pub duplicates: u64,
    /// Times that the rules were asked to decide on an attempt.
    pub settles: u64,
    /// Looks.
    pub looks: u64,
    /// Last looks that were over with a question.
    pub questions: u64,
    /// Endpoints that were deleted.
    pub deleted: u64,
    /// Commands that operators gave.
    pub commands: u64,
    /// Things that broke.
    pub mishaps: u64,
    /// Settles that found their turn lost.
    pub fences_lost: u64,
    /// Settles that a command had come before.
    pub moved: u64,
    /// Endpoints that the sweeper found left alone.
    pub swept: u64,
    /// Events in the journals.
    pub events: u64,
}

impl Tally {
    pub(crate) fn add_finished(&mut self, database: &Database) {
        self.waiting += count(database.waiting.len());
        self.events += count(database.journal.len());
        self.deleted += u64::from(database.deleted_at.is_some());
        for finished in database.finished.values() {
            match finished.reason {
                FinishReason::Delivered => self.delivered += 1,
                FinishReason::Skipped | FinishReason::Deleted => self.cancelled += 1,
                FinishReason::Refused | FinishReason::Unwell | FinishReason::Expired => {
                    self.exhausted += 1;
                }
            }
        }
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.endpoints += other.endpoints;
        self.deliveries += other.deliveries;
        self.delivered += other.delivered;
        self.exhausted += other.exhausted;
        self.cancelled += other.cancelled;
        self.waiting += other.waiting;
        self.requests += other.requests;
        self.duplicates += other.duplicates;
        self.settles += other.settles;
        self.looks += other.looks;
        self.questions += other.questions;
        self.deleted += other.deleted;
        self.commands += other.commands;
        self.mishaps += other.mishaps;
        self.fences_lost += other.fences_lost;
        self.moved += other.moved;
        self.swept += other.swept;
        self.events += other.events;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} endpoints ({} of them deleted), {} deliveries: {} delivered, {} exhausted, \
             {} cancelled, {} waiting",
            self.endpoints,
            self.deleted,
            self.deliveries,
            self.delivered,
            self.exhausted,
            self.cancelled,
            self.waiting
        )?;
        writeln!(
            f,
            "{} requests ({} of them duplicates), {} looks and {} last questions, {} decisions, \
             {} journal events",
            self.requests, self.duplicates, self.looks, self.questions, self.settles, self.events
        )?;
        write!(
            f,
            "{} mishaps, {} commands, {} turns lost, {} decided again, {} found by the sweeper",
            self.mishaps, self.commands, self.fences_lost, self.moved, self.swept
        )
    }
}
