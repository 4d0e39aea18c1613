//! Settling: an attempt's outcome and all that follows from it, in one transaction.

use domain::DeliveryId;
use domain::endpoint::{Decision, Disposition, EndpointState, FinishReason, Policy};

use super::Database;
use crate::clock::{Micros, micros, shown};
use crate::mutation::Mutation;

/// An attempt and what was decided on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settlement<'a> {
    pub(crate) fence: u64,
    pub(crate) version: usize,
    /// The attempt's id.
    pub(crate) attempt: u64,
    pub(crate) delivery: DeliveryId,
    pub(crate) started_at: Micros,
    pub(crate) decision: &'a Decision,
}

/// What became of it.
#[derive(Debug, Clone)]
pub(crate) enum Settled {
    Done {
        state: EndpointState,
        version: usize,
        config_version: u32,
    },
    FenceLost,
    /// A command came in between, and may have changed how the endpoint is dealt with.
    Moved {
        state: EndpointState,
        version: usize,
        policy: Policy,
    },
}

impl Database {
    pub(crate) fn settle(&mut self, settlement: &Settlement<'_>) -> Settled {
        let Settlement { fence, version, attempt, delivery, started_at, decision } = *settlement;
        let is_mine = self.fence == fence || self.rules.has(Mutation::FenceIgnored);
        let is_known = self.attempts.contains(&attempt);
        if is_known && !self.rules.has(Mutation::SettledTwice) {
            return if is_mine { self.done() } else { Settled::FenceLost };
        }
        if is_mine && self.version != version && !self.rules.has(Mutation::VersionIgnored) {
            let (state, version, policy) = (self.state, self.version, self.policy.clone());
            return Settled::Moved { state, version, policy };
        }
        self.attempts.insert(attempt);
        if !is_mine {
            return Settled::FenceLost;
        }
        if self.rules.has(Mutation::VersionIgnored) && self.version != version {
            // What was decided on the old state takes the place of the new one.
            self.state.status = domain::endpoint::Status::Active;
        }
        self.dispose(delivery, decision.disposition, started_at);
        self.append(decision);
        self.done()
    }

    /// A bug's way to end a delivery: nobody settled it.
    pub(crate) fn take_for_delivered(&mut self, delivery: DeliveryId) {
        self.finish(delivery, FinishReason::Delivered);
    }

    fn done(&self) -> Settled {
        let (state, version) = (self.state, self.version);
        Settled::Done { state, version, config_version: self.config_version }
    }

    fn dispose(&mut self, delivery: DeliveryId, disposition: Disposition, started_at: Micros) {
        let row = match disposition {
            Disposition::Finish(reason) => self.finish(delivery, reason),
            Disposition::StepAside { until, .. } => {
                self.step_aside(delivery, Some(micros(until)));
                self.row_mut(delivery)
            }
            Disposition::Stay | Disposition::Block => self.row_mut(delivery),
        };
        let Some(row) = row else { return };
        row.facts.attempts += 1;
        row.facts.refusals += u32::from(disposition.is_a_refusal());
        row.facts.first_attempt_at.get_or_insert(shown(started_at));
    }
}
