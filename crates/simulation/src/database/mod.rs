//! PostgreSQL, as the product uses it: deliveries that wait and that are finished, the journal,
//! and the runtime row whose lock orders everything that changes the endpoint.
//!
//! A transaction is one call, so it is atomic; who calls decides when. The statements stand in
//! `migrations/0005_look_and_settle.sql`; what differs from it here is a bug of the simulation.

mod command;
mod delete;
mod look;
mod settle;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use domain::DeliveryId;
use domain::endpoint::{
    Decision, DeliveryFacts, EndpointEvent, EndpointState, FinishReason, Policy, evolve,
};

pub(crate) use command::Obeyed;
pub(crate) use look::{LastLook, Look};
pub(crate) use settle::{Settled, Settlement};

use crate::clock::{Micros, micros};
use crate::mutation::{Mutation, Rules};

/// A delivery that waits.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) number: u32,
    pub(crate) sequence: u64,
    pub(crate) facts: DeliveryFacts,
    /// When its transaction committed.
    pub(crate) committed_at: Micros,
    /// Since when it is in line.
    pub(crate) waiting_since: Micros,
    /// None: in line. Otherwise it stepped aside until then.
    pub(crate) next_attempt_at: Option<Micros>,
}

/// A delivery that is over.
#[derive(Debug, Clone)]
pub(crate) struct Finished {
    pub(crate) row: Row,
    pub(crate) reason: FinishReason,
}

/// Everything that PostgreSQL knows of one endpoint.
#[derive(Debug)]
pub(crate) struct Database {
    rules: Rules,
    pub(crate) waiting: BTreeMap<u64, Row>,
    sequences: BTreeMap<DeliveryId, u64>,
    in_line: BTreeSet<u64>,
    aside: BTreeSet<(Micros, u64)>,
    by_age: BTreeSet<(Micros, u64)>,
    pub(crate) finished: BTreeMap<DeliveryId, Finished>,
    last_sequence: u64,
    pub(crate) state: EndpointState,
    pub(crate) version: usize,
    pub(crate) journal: Vec<EndpointEvent>,
    pub(crate) fence: u64,
    pub(crate) looked_at: Micros,
    attempts: HashSet<u64>,
    commands: HashSet<u64>,
    pub(crate) policy: Policy,
    pub(crate) url_version: u32,
    pub(crate) config_version: u32,
    /// When its configuration last changed.
    pub(crate) configured_at: Micros,
    /// Does it ask for what payments make?
    pub(crate) is_subscribed: bool,
    pub(crate) deleted_at: Option<Micros>,
}

impl Database {
    pub(crate) fn new(policy: Policy, rules: Rules) -> Self {
        Self {
            rules,
            waiting: BTreeMap::new(),
            sequences: BTreeMap::new(),
            in_line: BTreeSet::new(),
            aside: BTreeSet::new(),
            by_age: BTreeSet::new(),
            finished: BTreeMap::new(),
            last_sequence: 0,
            state: EndpointState::default(),
            version: 0,
            journal: Vec::new(),
            fence: 0,
            looked_at: Micros::MIN / 2,
            attempts: HashSet::new(),
            commands: HashSet::new(),
            policy,
            url_version: 0,
            config_version: 1,
            configured_at: Micros::MIN / 2,
            is_subscribed: true,
            deleted_at: None,
        }
    }

    /// A transaction writes its delivery: it gets its sequence, and nobody sees it yet.
    pub(crate) fn draw_sequence(&mut self) -> u64 {
        self.last_sequence += 1;
        self.last_sequence
    }

    /// The transaction commits: everybody sees the row.
    pub(crate) fn insert(&mut self, number: u32, sequence: u64, now: Micros) {
        self.put_in_line(Row {
            number,
            sequence,
            facts: new_facts(number),
            committed_at: now,
            waiting_since: now,
            next_attempt_at: None,
        });
    }

    fn put_in_line(&mut self, row: Row) {
        self.in_line.insert(row.sequence);
        self.by_age.insert((row.waiting_since, row.sequence));
        self.sequences.insert(row.facts.id, row.sequence);
        self.waiting.insert(row.sequence, row);
    }

    pub(crate) fn row(&self, delivery: DeliveryId) -> Option<&Row> {
        self.waiting.get(self.sequences.get(&delivery)?)
    }

    /// Every delivery, and how it ended; none: it waits.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&Row, Option<FinishReason>)> {
        let waiting = self.waiting.values().map(|row| (row, None));
        waiting.chain(self.finished.values().map(|over| (&over.row, Some(over.reason))))
    }

    fn row_mut(&mut self, delivery: DeliveryId) -> Option<&mut Row> {
        self.waiting.get_mut(self.sequences.get(&delivery)?)
    }

    fn take(&mut self, delivery: DeliveryId) -> Option<Row> {
        let row = self.waiting.remove(&self.sequences.remove(&delivery)?)?;
        match row.next_attempt_at {
            None => self.in_line.remove(&row.sequence),
            Some(at) => self.aside.remove(&(at, row.sequence)),
        };
        Some(row)
    }

    fn finish(&mut self, delivery: DeliveryId, reason: FinishReason) -> Option<&mut Row> {
        // Somebody else may have ended it meanwhile: then this moves nothing.
        let row = self.take(delivery)?;
        self.by_age.remove(&(row.waiting_since, row.sequence));
        self.finished.insert(delivery, Finished { row, reason });
        self.finished.get_mut(&delivery).map(|finished| &mut finished.row)
    }

    fn step_aside(&mut self, delivery: DeliveryId, until: Option<Micros>) {
        let Some(mut row) = self.take(delivery) else { return };
        row.next_attempt_at = until;
        match until {
            None => self.in_line.insert(row.sequence),
            Some(at) => self.aside.insert((at, row.sequence)),
        };
        self.sequences.insert(delivery, row.sequence);
        self.waiting.insert(row.sequence, row);
    }

    /// The journal's events and their fold, and who is poisonous from now on.
    fn append(&mut self, decision: &Decision) {
        if decision.events.is_empty() {
            return;
        }
        if !self.rules.has(Mutation::EventsForgotten) {
            self.journal.extend(&decision.events);
        }
        self.version += decision.events.len();
        self.state = decision.events.iter().fold(self.state, evolve);
        for delivery in decision.marks_poisonous() {
            if let Some(row) = self.row_mut(delivery) {
                row.facts.poisonous = true;
            }
        }
    }

    /// The columns beside the state.
    fn not_before(&self) -> Option<Micros> {
        self.state.not_before.map(micros)
    }

    /// When the first of what waits is due, as far as it alone decides; the past for one in line.
    pub(crate) fn first_due_at(&self) -> Option<Micros> {
        if let Some(sequence) = self.in_line.first() {
            return self.waiting.get(sequence).map(|row| row.waiting_since);
        }
        self.aside.first().map(|(at, _)| *at)
    }

    /// From when on something is due, unless something else happens; none: never. What waits at a
    /// deleted endpoint is due whatever its state says: it is to be cancelled.
    pub(crate) fn due_from(&self) -> Option<Micros> {
        if self.deleted_at.is_some() {
            return self.first_due_at();
        }
        let first = self.first_due_at().filter(|_| self.state.may_send())?;
        Some(self.not_before().map_or(first, |not_before| first.max(not_before)))
    }

    /// When the sweeper will find that what is due was left alone for `idle`, unless somebody comes
    /// before. Both count: an endpoint at which nobody looked for a day is not neglected in the
    /// moment in which something becomes due.
    pub(crate) fn left_alone_from(&self, now: Micros, idle: Micros) -> Option<Micros> {
        let due = self.due_from().into_iter().chain(self.unseen_since(now)).min()?;
        if self.rules.has(Mutation::SweepsWhatIsFresh) {
            return Some(due.max(self.looked_at + idle + 1));
        }
        Some(due.max(self.looked_at) + idle + 1)
    }
}

pub(crate) fn delivery_id(number: u32) -> DeliveryId {
    uuid::Uuid::from_u128(u128::from(number)).into()
}

fn new_facts(number: u32) -> DeliveryFacts {
    DeliveryFacts {
        id: delivery_id(number),
        attempts: 0,
        refusals: 0,
        first_attempt_at: None,
        poisonous: false,
    }
}
