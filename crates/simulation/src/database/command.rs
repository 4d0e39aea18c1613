//! Commands: what an operator orders, and the sweeper's expiry, each one transaction under the
//! runtime row's lock. A command's id is unique: a repeat changes nothing.

use domain::DeliveryId;
use domain::endpoint::{
    Command, Decision, DeliveryFacts, Disposition, EndpointState, FinishReason, Ordering, Policy,
};

use super::{Database, Row, new_facts};
use crate::clock::{Micros, length};
use crate::mutation::Mutation;
use crate::scenario::Deed;

/// A command that was obeyed: what the rules were asked and said.
#[derive(Debug)]
pub(crate) struct Obeyed {
    pub(crate) before: EndpointState,
    pub(crate) command: Command,
    pub(crate) decision: Decision,
}

impl Database {
    /// Obeys `deed`, unless a command of this number was obeyed before. `decide` is the rules.
    pub(crate) fn obey(
        &mut self,
        number: u64,
        deed: Deed,
        now: Micros,
        decide: impl Fn(&EndpointState, &Command) -> Decision,
    ) -> Option<Obeyed> {
        if self.deleted_at.is_some() {
            return None;
        }
        if !self.commands.insert(number) && !self.rules.has(Mutation::CommandTwice) {
            return None;
        }
        let command = self.command_of(deed, now)?;
        let before = self.state;
        let decision = decide(&before, &command);
        // What this makes due is due from now on: the sweeper waits for its wake.
        self.looked_at = now;
        self.append(&decision);
        if let (Command::Skip(delivery), Disposition::Finish(reason)) =
            (command, decision.disposition)
        {
            self.finish(delivery, reason);
        }
        if deed == Deed::Delete {
            self.erase(now);
        }
        Some(Obeyed { before, command, decision })
    }

    fn command_of(&mut self, deed: Deed, now: Micros) -> Option<Command> {
        Some(match deed {
            Deed::Pause => Command::Pause,
            Deed::Resume => Command::Resume,
            Deed::Disable => Command::Disable,
            Deed::Enable => Command::Enable,
            Deed::ChangeUrl => {
                self.url_version += 1;
                self.reconfigure(now);
                Command::UrlChanged
            }
            // What is so already is no change.
            Deed::ChangeOrdering(ordering) if ordering == self.policy.ordering => return None,
            Deed::ChangeOrdering(ordering) => {
                self.reconfigure(now);
                self.policy.ordering = ordering;
                if ordering == Ordering::Strict {
                    self.call_back_all();
                }
                Command::OrderingChanged
            }
            // They change what follows, and are no event of the journal.
            Deed::ChangePolicy(settings) => {
                self.reconfigure(now);
                let policy: Policy = serde_json::from_str(settings).ok()?;
                self.policy = policy.with_ordering(self.policy.ordering);
                return None;
            }
            Deed::Subscribe(is_subscribed) => {
                self.reconfigure(now);
                self.is_subscribed = is_subscribed;
                return None;
            }
            Deed::Delete => Command::Delete,
            Deed::Skip(place) => Command::Skip(self.waiting.values().nth(place)?.facts.id),
            Deed::Redeliver(at_most) => Command::Redeliver(self.redeliver(at_most, now)),
        })
    }

    /// Its configuration is another one from now on.
    fn reconfigure(&mut self, now: Micros) {
        self.config_version += 1;
        self.configured_at = now;
    }

    /// In strict nobody is aside: those that stepped aside in another order take their places.
    fn call_back_all(&mut self) {
        let aside: Vec<DeliveryId> = self
            .aside
            .iter()
            .filter_map(|(_, sequence)| self.waiting.get(sequence))
            .map(|row| row.facts.id)
            .collect();
        aside.into_iter().for_each(|delivery| self.step_aside(delivery, None));
    }

    fn redeliver(&mut self, at_most: u32, now: Micros) -> u32 {
        let over: Vec<DeliveryId> = self
            .finished
            .iter()
            .filter(|(_, finished)| finished.reason != FinishReason::Delivered)
            .map(|(delivery, _)| *delivery)
            .take(usize::try_from(at_most).unwrap_or(0))
            .collect();
        let mut count = 0;
        for delivery in over {
            let Some(finished) = self.finished.remove(&delivery) else { continue };
            let number = finished.row.number;
            let sequence = self.draw_sequence();
            // It starts again, at the end of the line; its attempts go on counting.
            let attempts = finished.row.facts.attempts;
            let facts = DeliveryFacts { attempts, ..new_facts(number) };
            let row = Row { sequence, facts, waiting_since: now, ..finished.row };
            self.put_in_line(Row { next_attempt_at: None, committed_at: now, ..row });
            count += 1;
        }
        count
    }

    /// When the first delivery will have waited for too long.
    pub(crate) fn expires_from(&self) -> Option<Micros> {
        let (oldest, _) = self.by_age.first()?;
        Some(*oldest + length(self.policy.expires_after))
    }

    /// Ends what waited for too long; what the rules were asked and said.
    pub(crate) fn expire(
        &mut self,
        now: Micros,
        decide: impl Fn(&EndpointState, &Command) -> Decision,
    ) -> Vec<Obeyed> {
        if self.deleted_at.is_some() {
            // What waits there does not expire, it should have been cancelled.
            self.cancel_for_deleted();
            return Vec::new();
        }
        let ids: Vec<(DeliveryId, Micros)> =
            self.waiting.values().map(|row| (row.facts.id, row.waiting_since)).collect();
        let mut obeyed = Vec::new();
        for (delivery, since) in ids {
            let waiting_since = crate::clock::shown(since);
            let command = Command::Expire { delivery, waiting_since };
            let before = self.state;
            let decision = decide(&before, &command);
            if !decision.events.is_empty() {
                self.looked_at = now;
            }
            self.append(&decision);
            if let Disposition::Finish(reason) = decision.disposition {
                self.finish(delivery, reason);
            }
            obeyed.push(Obeyed { before, command, decision });
        }
        obeyed
    }
}
