//! The world of one endpoint: its queue of what happens next, and what each happening does.
//!
//! A scenario comes in, a tally or the first violation goes out. Everything is a value in here,
//! time included; the same scenario always runs the same. The worker's part stands in `shell`, the relay's in
//! `announcing`, the sweeper's in `sweeper`, what breaks in `breaking`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use domain::endpoint::{Command, Decision, EndpointState, Jitter};

use crate::clock::{DAY, Micros, shown};
use crate::database::{Database, Obeyed};
use crate::dice::Dice;
use crate::mutation::{Mutation, Rules};
use crate::restate::{Key, Object, WakeCall};
use crate::scenario::{Deed, Scenario, What};
use crate::shell::Run;
use crate::tally::Tally;
use crate::violation::Violation;
use crate::witness::Witness;

/// More happenings than this in a day are a loop that does not end: a merchant that asks for a
/// second at a time, for an hour, makes some 30,000.
const HAPPENINGS_PER_DAY_MAX: i64 = 20_000;
const HAPPENINGS_MIN: i64 = 200_000;

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Happening {
    Begin(usize),
    Commit(usize, u64),
    MergeEnds,
    /// A record reaches `notify`, which reads the counter.
    Record,
    NotifySends(u64),
    /// The counter that a wake raised becomes visible to shared handlers.
    CounterSeen(u64),
    Pop,
    Retry(u64),
    Step(u64),
    Answered(u64, u64),
    /// A slice of a deleted endpoint cancels some of what waits.
    Cancel(u64),
    /// The result of a slice reaches Restate.
    Acknowledged(u64),
    Stuck(u64),
    Fire(u64),
    Order(usize),
    Sweep,
    Expire,
    Mishap(usize),
}

pub(crate) struct World<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) rules: Rules,
    pub(crate) dice: Dice,
    pub(crate) now: Micros,
    queue: BinaryHeap<Reverse<(Micros, u64, Happening)>>,
    ties: u64,
    pub(crate) database: Database,
    pub(crate) object: Object,
    pub(crate) runs: BTreeMap<u64, Run>,
    pub(crate) last_run: u64,
    pub(crate) last_fence: u64,
    pub(crate) last_attempt: u64,
    /// Mishaps whose time has come, and that wait for their step.
    pub(crate) armed: Vec<What>,
    pub(crate) merges_until: Micros,
    pub(crate) merged: bool,
    pub(crate) sweep_at: Micros,
    pub(crate) expire_at: Micros,
    pub(crate) witness: Witness,
    pub(crate) tally: Tally,
    /// What each request that a merchant got was about.
    pub(crate) requests: Vec<u32>,
    trace: Option<Vec<String>>,
}

impl<'a> World<'a> {
    /// A world in which nothing comes by itself: somebody pays and orders, step by step.
    pub(crate) fn unscheduled(
        scenario: &'a Scenario,
        mutation: Option<Mutation>,
        traces: bool,
    ) -> Self {
        let rules = Rules(mutation);
        Self {
            scenario,
            rules,
            dice: Dice::new(scenario.seed, !scenario.endpoint),
            now: 0,
            queue: BinaryHeap::new(),
            ties: 0,
            database: Database::new(scenario.policy.clone(), rules),
            object: Object::default(),
            runs: BTreeMap::new(),
            last_run: 0,
            last_fence: 0,
            last_attempt: 0,
            armed: Vec::new(),
            merges_until: 0,
            merged: false,
            sweep_at: Micros::MAX,
            expire_at: Micros::MAX,
            witness: Witness::new(scenario),
            tally: Tally::default(),
            requests: Vec::new(),
            trace: traces.then(Vec::new),
        }
    }

    /// A world in which everything comes when its scenario says.
    pub(crate) fn new(scenario: &'a Scenario, mutation: Option<Mutation>, traces: bool) -> Self {
        let mut world = Self::unscheduled(scenario, mutation, traces);
        for (index, payment) in scenario.payments.iter().enumerate() {
            world.at(payment.begins_at, Happening::Begin(index));
        }
        for (index, mishap) in scenario.mishaps.iter().enumerate() {
            world.at(mishap.at, Happening::Mishap(index));
        }
        for (index, order) in scenario.orders.iter().enumerate() {
            world.at(order.at, Happening::Order(index));
            if let Some(again_after) = order.again_after {
                world.at(order.at + again_after, Happening::Order(index));
            }
        }
        world
    }

    /// Lets it all happen. The trace has its last lines, when one was asked for.
    pub(crate) fn run(mut self) -> (Result<Tally, Violation>, Vec<String>) {
        let ends_at = self.scenario.ends_at();
        let happenings_max = HAPPENINGS_MIN + ends_at / DAY * HAPPENINGS_PER_DAY_MAX;
        let mut happenings = 0;
        while let Some(Reverse((at, _, happening))) = self.queue.pop() {
            if at > ends_at || self.witness.has_seen_enough() {
                break;
            }
            happenings += 1;
            if happenings > happenings_max {
                self.witness.complain("it comes to rest", self.now, "it never does".to_owned());
                break;
            }
            self.now = at;
            self.tell(|_| format!("{happening:?}"));
            self.happen(happening);
            self.schedule_sweeper();
        }
        self.now = ends_at;
        self.witness.at_the_end(ends_at, &self.database, &self.object);
        self.tally.endpoints = 1;
        self.tally.add_finished(&self.database);
        let trace = self.trace.take().unwrap_or_default();
        (self.witness.verdict().map(|()| self.tally), trace)
    }

    /// The payment of this index begins now.
    pub(crate) fn pay(&mut self, index: usize) {
        self.at(self.now, Happening::Begin(index));
    }

    /// Lets it happen until something is so; false when it never is, or a check is broken.
    pub(crate) fn until(&mut self, ends_at: Micros, is_so: impl Fn(&Self) -> bool) -> bool {
        while !is_so(self) {
            let Some(Reverse((at, _, happening))) = self.queue.pop() else { return false };
            if at > ends_at || self.witness.has_seen_enough() {
                return false;
            }
            self.now = at;
            self.happen(happening);
            self.schedule_sweeper();
        }
        true
    }

    pub(crate) fn tell(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let line = format!("{:>16} {}", self.now, line(self));
            if let Some(trace) = &mut self.trace {
                trace.push(line);
            }
        }
    }

    pub(crate) fn at(&mut self, at: Micros, happening: Happening) {
        self.ties += 1;
        self.queue.push(Reverse((at.max(self.now), self.ties, happening)));
    }

    pub(crate) fn after(&mut self, low: Micros, high: Micros, happening: Happening) {
        let at = self.now + self.dice.between(low, high);
        self.at(at, happening);
    }

    pub(crate) fn jitter(&mut self) -> Jitter {
        Jitter::from_unit(self.dice.unit())
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Begin(index) => self.begin(index),
            Happening::Commit(index, sequence) => {
                let number = self.scenario.payments[index].number;
                self.database.insert(number, sequence, self.now);
                self.tally.deliveries += 1;
                self.announce();
            }
            Happening::MergeEnds => {
                if std::mem::take(&mut self.merged) {
                    self.send_record();
                }
            }
            Happening::Record => self.notify(),
            Happening::NotifySends(looks) => {
                let looks_key = if self.rules.has(Mutation::OneKeyForAll) { 0 } else { looks };
                self.send(WakeCall::Notified { looks }, Some(Key::Looks(looks_key)));
            }
            Happening::CounterSeen(raised) => {
                if self.object.unseen == Some(raised) {
                    (self.object.looks, self.object.unseen) = (raised, None);
                }
            }
            Happening::Pop => self.pop(),
            Happening::Retry(invocation) => self.retry(invocation),
            Happening::Step(run) => self.step(run),
            Happening::Answered(run, attempt) => self.answered(run, attempt),
            Happening::Cancel(run) => self.cancel(run),
            Happening::Acknowledged(run) => self.acknowledged(run),
            Happening::Stuck(run) => self.stuck(run),
            Happening::Fire(id) => {
                if self.object.fire(id) {
                    self.at(self.now, Happening::Pop);
                }
            }
            Happening::Order(index) => self.order(index),
            Happening::Sweep => self.sweep(),
            Happening::Expire => self.expire(),
            Happening::Mishap(index) => self.mishap(self.scenario.mishaps[index].what),
        }
    }

    /// A payment's transaction begins.
    fn begin(&mut self, index: usize) {
        if let Some(back) = self.database_back() {
            return self.at(back, Happening::Begin(index));
        }
        let payment = self.scenario.payments[index];
        if self.database.deleted_at.is_some() || !self.database.is_subscribed {
            // No trigger writes a delivery of it.
            return self.witness.nobody_asks(payment.number);
        }
        let sequence = self.database.draw_sequence();
        let takes = payment.commits_at - payment.begins_at;
        self.after(takes, takes, Happening::Commit(index, sequence));
    }

    pub(crate) fn send(&mut self, call: WakeCall, key: Option<Key>) {
        self.object.send(call, key);
        self.witness.inbox(self.now, &self.object);
        self.at(self.now, Happening::Pop);
    }

    pub(crate) fn take_armed(&mut self, is_it: impl Fn(&What) -> bool) -> Option<What> {
        let place = self.armed.iter().position(is_it)?;
        Some(self.armed.remove(place))
    }

    pub(crate) fn order(&mut self, index: usize) {
        let order = self.scenario.orders[index];
        if let Some(back) = self.database_back() {
            return self.at(back, Happening::Order(index));
        }
        let (rules, policy, now) = (self.rules, self.database.policy.clone(), self.now);
        // Whatever is told until somebody looks shares one wake.
        let key = Key::Command(self.database.fence);
        let obeyed = self.database.obey(order.number, order.deed, now, |state, command| {
            decide_command(rules, state, &policy, command, now)
        });
        let Some(obeyed) = obeyed else { return };
        self.tally.commands += 1;
        self.witness.ordered(now, order, &obeyed, &self.database);
        match order.deed {
            // What is back in line is announced like what is new.
            Deed::Redeliver(_) => self.announce(),
            _ if self.take_armed(|what| *what == What::OrderUnheard).is_some() => {}
            _ => self.send(WakeCall::Commanded, Some(key)),
        }
        self.tell(|world| format!("{:?} leaves {:?}", order.deed, world.database.state.status));
    }
}

/// What the rules say to a command that is no attempt.
pub(crate) fn decide_command(
    rules: Rules,
    state: &EndpointState,
    policy: &domain::endpoint::Policy,
    command: &Command,
    now: Micros,
) -> Decision {
    rules.decide(state, policy, command, shown(now), Jitter::NONE)
}

impl Obeyed {
    pub(crate) fn after(&self) -> EndpointState {
        self.decision.state_after(self.before)
    }
}
