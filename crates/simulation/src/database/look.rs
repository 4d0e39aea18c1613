//! A look: take the turn, read where the endpoint stands and what is due.

use domain::endpoint::{DeliveryFacts, EndpointState, Policy};

use super::Database;
use crate::clock::{Micros, shown};
use crate::mutation::Mutation;

/// What a look saw.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    pub(crate) state: EndpointState,
    pub(crate) version: usize,
    pub(crate) policy: Policy,
    pub(crate) url_version: u32,
    pub(crate) config_version: u32,
    /// What is due, by sequence.
    pub(crate) due: Vec<DeliveryFacts>,
    /// When the next one that stepped aside comes back.
    pub(crate) next_due: Option<Micros>,
}

/// What the question of a wake's last look saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastLook {
    /// Number of the journal's last event.
    pub(crate) version: usize,
    /// Something could be sent now.
    pub(crate) is_due: bool,
    /// When the next one that stepped aside comes back; none when the whole endpoint waits.
    pub(crate) next_due: Option<Micros>,
}

impl Database {
    /// None: the endpoint was deleted.
    pub(crate) fn look(&mut self, now: Micros, limit: usize, fence: u64) -> Option<Look> {
        self.fence = fence;
        self.looked_at = now;
        if self.deleted_at.is_some() && !self.rules.has(Mutation::DeletedLookedAt) {
            return None;
        }
        let waits = self.not_before().is_some_and(|not_before| not_before > now);
        let (mut due, mut next_due) = (Vec::new(), None);
        let may_send = self.state.may_send()
            || self.rules.has(Mutation::PausedSends)
            || self.rules.has(Mutation::DeletedLookedAt);
        if may_send && !waits {
            let back = self.aside.range(..=(now, u64::MAX)).map(|(_, sequence)| *sequence);
            let mut sequences: Vec<u64> =
                self.in_line.iter().take(limit).copied().chain(back).collect();
            sequences.sort_unstable();
            sequences.truncate(limit);
            due = sequences.iter().filter_map(|s| self.waiting.get(s)).map(|r| r.facts).collect();
            next_due = self.aside.range((now, u64::MAX)..).map(|(at, _)| *at).next();
        }
        Some(Look {
            state: self.state,
            version: self.version,
            policy: self.policy.clone(),
            url_version: self.url_version,
            config_version: self.config_version,
            due,
            next_due,
        })
    }

    /// Is anything due? Takes no turn; none: the endpoint was deleted.
    pub(crate) fn last_look(&self, now: Micros) -> Option<LastLook> {
        if self.deleted_at.is_some() {
            return None;
        }
        let version = self.version;
        let waits = self.not_before().is_some_and(|not_before| not_before > now);
        if waits || !self.state.may_send() {
            return Some(LastLook { version, is_due: false, next_due: None });
        }
        let first = self.aside.first().map(|(at, _)| *at);
        let next_due = first.filter(|_| !self.rules.has(Mutation::QuestionForgetsAside));
        let is_due = !self.in_line.is_empty() || next_due.is_some_and(|at| at <= now);
        Some(LastLook { version, is_due, next_due })
    }

    /// Is there something that a look would return now?
    pub(crate) fn has_due(&self, now: Micros) -> bool {
        let waits = self.state.waits(shown(now)) && self.deleted_at.is_none();
        self.due_from().is_some_and(|from| from <= now) && !waits
    }
}
