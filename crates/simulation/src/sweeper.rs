//! The sweeper: wakes who was left alone, and ends what waited for too long.
//!
//! In the product it comes round every ten seconds. Here it is asked when it would find something,
//! so that months without a find cost nothing. While the workers or the database are away it does
//! not come at all.

use crate::clock::{MILLI, Micros, SECOND};
use crate::mutation::Mutation;
use crate::restate::{Key, WakeCall};
use crate::world::{Happening, World, decide_command};

/// The sweeper's round, and how long an endpoint must have been left alone.
const ROUND: Micros = 10 * SECOND;
const IDLE: Micros = 60 * SECOND;

impl World<'_> {
    pub(crate) fn expire(&mut self) {
        self.expire_at = Micros::MAX;
        if let Some(back) = self.workers_back().max(self.database_back()) {
            self.expire_at = back;
            return self.at(back, Happening::Expire);
        }
        let (rules, policy, now) = (self.rules, self.database.policy.clone(), self.now);
        let all = self
            .database
            .expire(now, |state, command| decide_command(rules, state, &policy, command, now));
        let mut unblocks = false;
        for obeyed in &all {
            unblocks |= !obeyed.decision.events.is_empty();
            self.witness.obeyed(now, obeyed, &self.database);
        }
        if unblocks {
            self.send(WakeCall::Swept, Some(Key::Sweep(self.database.fence)));
        }
    }

    /// The sweeper does not look all the time: it is asked when it would find something.
    pub(crate) fn schedule_sweeper(&mut self) {
        let is_away = self.workers_back().max(self.database_back());
        if let Some(from) = self.database.left_alone_from(self.now, IDLE) {
            let from = from.max(self.now + 1).max(is_away.unwrap_or(0));
            let round = from.div_euclid(ROUND) * ROUND + ROUND;
            if round < self.sweep_at {
                self.sweep_at = round;
                self.at(round, Happening::Sweep);
            }
        }
        // The oldest of what waits never becomes older than it is.
        if self.expire_at == Micros::MAX
            && let Some(from) = self.database.expires_from()
        {
            self.expire_at = from.max(self.now + MILLI);
            self.at(self.expire_at, Happening::Expire);
        }
    }

    pub(crate) fn sweep(&mut self) {
        if self.sweep_at != self.now {
            return;
        }
        self.sweep_at = Micros::MAX;
        if self.workers_back().is_some() || self.database_back().is_some() {
            return;
        }
        if self.database.left_alone_from(self.now, IDLE).is_none_or(|from| from > self.now) {
            return;
        }
        self.tally.swept += 1;
        self.witness.swept(self.now, &self.database);
        let by_neglect = Key::Sweep(self.database.fence);
        let key = Some(by_neglect).filter(|_| !self.rules.has(Mutation::SweepsWithoutKey));
        self.send(WakeCall::Swept, key);
    }
}
