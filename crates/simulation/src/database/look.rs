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

impl Database {
    pub(crate) fn look(&mut self, now: Micros, limit: usize, fence: u64) -> Look {
        self.fence = fence;
        self.looked_at = now;
        let waits = self.not_before().is_some_and(|not_before| not_before > now);
        let (mut due, mut next_due) = (Vec::new(), None);
        let may_send = self.state.may_send() || self.rules.has(Mutation::PausedSends);
        if may_send && !waits {
            let back = self.aside.range(..=(now, u64::MAX)).map(|(_, sequence)| *sequence);
            let mut sequences: Vec<u64> =
                self.in_line.iter().take(limit).copied().chain(back).collect();
            sequences.sort_unstable();
            sequences.truncate(limit);
            due = sequences.iter().filter_map(|s| self.waiting.get(s)).map(|r| r.facts).collect();
            next_due = self.aside.range((now, u64::MAX)..).map(|(at, _)| *at).next();
        }
        Look {
            state: self.state,
            version: self.version,
            policy: self.policy.clone(),
            url_version: self.url_version,
            config_version: self.config_version,
            due,
            next_due,
        }
    }

    /// Is there something that a look would return now?
    pub(crate) fn has_due(&self, now: Micros) -> bool {
        self.due_from().is_some_and(|from| from <= now) && !self.state.waits(shown(now))
    }
}
