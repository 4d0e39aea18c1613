//! The witness: sees everything that happens and says what is not as it should be.
//!
//! It counts for itself and asks no rule of the product: what merchants got, what was promised,
//! who was left alone. Each check is a sentence. It changes nothing, so that a run with bugs is a
//! run like any other.

mod attempts;
mod ending;
mod settles;

use std::collections::{BTreeMap, BTreeSet};

use domain::endpoint::invariants::{Step, broken};
use domain::endpoint::{Command, EndpointState, evolve};

pub(crate) use attempts::Attempt;

use crate::clock::{MINUTE, Micros, SECOND, micros, shown};
use crate::database::{Database, Obeyed};
use crate::restate::{Invocation, Object, WakeCall};
use crate::scenario::{Order, Scenario, What};
use crate::shell::Report;
use crate::violation::Violation;
use settles::Streak;

/// What is due waits no longer than this for somebody to look, whatever was lost: the sweeper's
/// patience, its round, and the wakes that a crash needs.
const LEFT_ALONE_MAX: Micros = 3 * MINUTE;
/// Wakes that wait at an object, plain ones aside: one per key, one timer, one that is late.
const INBOX_MAX: usize = 4;

/// What is known of one delivery from outside.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// The merchant has it.
    has_it: bool,
    /// Requests that the merchant accepted since it was last redelivered.
    accepted: u32,
    /// One of them was settled: no more may follow.
    is_settled: bool,
    /// Refusals that were settled.
    refusals: u32,
    /// When the first attempt began.
    first_at: Option<Micros>,
}

pub(crate) struct Witness {
    scenario: Scenario,
    violation: Option<Violation>,
    seen: BTreeMap<u32, Seen>,
    streak: Streak,
    /// Answers since the endpoint recovered; none: it was never unwell.
    answers: Option<u32>,
    /// Requests of runs that had lost their turn, by fence.
    late_requests: BTreeMap<u64, usize>,
    duplicates: u32,
    /// Wakes that a mishap has sent, since the inbox was empty.
    doubled: usize,
    /// When somebody last looked, settled, ordered, or something on our side was back.
    touched: Micros,
    has_lost: bool,
    folded: EndpointState,
    folded_events: usize,
    obeyed: BTreeSet<u64>,
    /// Payments of which no delivery is made.
    unasked: BTreeSet<u32>,
    /// Requests that began after the endpoint was deleted, by fence.
    after_deletion: BTreeMap<u64, usize>,
}

impl Witness {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            scenario: scenario.clone(),
            violation: None,
            seen: BTreeMap::new(),
            streak: Streak::default(),
            answers: None,
            late_requests: BTreeMap::new(),
            duplicates: 0,
            doubled: 0,
            touched: 0,
            has_lost: false,
            folded: EndpointState::default(),
            folded_events: 0,
            obeyed: BTreeSet::new(),
            unasked: BTreeSet::new(),
            after_deletion: BTreeMap::new(),
        }
    }

    pub(crate) fn complain(&mut self, check: &'static str, at: Micros, what: String) {
        self.violation.get_or_insert(Violation { check, at, what });
    }

    fn check(&mut self, holds: bool, check: &'static str, at: Micros, what: impl Fn() -> String) {
        if !holds {
            self.complain(check, at, what());
        }
    }

    pub(crate) fn has_seen_enough(&self) -> bool {
        self.violation.is_some()
    }

    pub(crate) fn verdict(&mut self) -> Result<(), Violation> {
        self.violation.take().map_or(Ok(()), Err)
    }

    /// Something on our side was touched, or is back at `until`.
    pub(crate) fn touched(&mut self, until: Micros) {
        self.touched = self.touched.max(until);
    }

    pub(crate) fn mishap(&mut self, now: Micros, what: What) {
        self.has_lost |= what.may_lose();
        self.doubled += usize::from(matches!(what, What::WakeTwice | What::TimerOfBefore));
        if let What::WorkersAway(lasts) | What::DatabaseAway(lasts) | What::Unreachable(lasts) =
            what
        {
            self.touched(now + lasts);
        }
    }

    /// A payment was made that nobody asked for, or nobody any more.
    pub(crate) fn nobody_asks(&mut self, number: u32) {
        self.unasked.insert(number);
    }

    /// How many of them there were.
    pub(crate) fn unasked(&self) -> usize {
        self.unasked.len()
    }

    /// A wake was sent.
    pub(crate) fn inbox(&mut self, now: Micros, object: &Object) {
        let is_plain = |call: WakeCall| call == WakeCall::Commanded;
        let waiting = object.inbox.iter().filter(|waiting| !is_plain(waiting.call)).count();
        if waiting <= 1 {
            self.doubled = 0;
        }
        self.check(waiting <= INBOX_MAX + self.doubled, "an inbox does not grow", now, || {
            format!("{waiting} wakes wait")
        });
    }

    /// The sweeper found the endpoint left alone.
    pub(crate) fn swept(&mut self, now: Micros, database: &Database) {
        let allowed = self.has_lost;
        self.check(allowed, "the sweeper finds nobody while nothing was lost", now, || {
            format!("{} wait, {:?}", database.waiting.len(), database.state)
        });
    }

    /// Somebody looks: nobody may have been left alone for long.
    pub(crate) fn looks(&mut self, now: Micros, database: &Database) {
        if !database.has_due(now) {
            return;
        }
        let since = database.due_from().unwrap_or(now).max(self.touched);
        let alone = now - since;
        self.check(alone <= LEFT_ALONE_MAX, "nobody is left alone for long", now, || {
            format!("{} s, {} wait", alone / SECOND, database.waiting.len())
        });
    }

    /// A wake ends: its first look may have missed what became visible meanwhile.
    pub(crate) fn ends(&mut self, now: Micros, invocation: &Invocation, report: &Report) {
        let has_looked_twice = invocation.slices > 1 || report.waits;
        self.check(has_looked_twice, "only a wait ends a wake on its first look", now, || {
            format!("{invocation:?}")
        });
    }

    /// A wake has ended, and left what it leaves.
    pub(crate) fn wake_ended(&mut self, now: Micros, database: &Database, object: &Object) {
        let is_timer = |call: &WakeCall| matches!(call, WakeCall::Timer { .. });
        let timers: Vec<Micros> =
            object.delayed.values().filter(|(_, call)| is_timer(call)).map(|(at, _)| *at).collect();
        self.check(timers.len() <= 1, "at most one timer is armed", now, || format!("{timers:?}"));
        let Some(due) = database.due_from().filter(|due| *due > now) else { return };
        if database.deleted_at.is_some() {
            return;
        }
        // A second for a timer that fired early, and a millisecond for rounding up.
        let in_time = timers.iter().any(|at| *at <= due + SECOND + 2_000);
        // One that fired meanwhile comes next, and looks.
        let has_fired = object.inbox.iter().any(|waiting| is_timer(&waiting.call));
        let excused = self.has_lost || object.stuck > 0 || has_fired;
        self.check(in_time || excused, "what is to come has its timer", now, || {
            format!("due at {due}, timers at {timers:?}, {:?}", object.timer)
        });
    }

    /// An operator's order was obeyed.
    pub(crate) fn ordered(
        &mut self,
        now: Micros,
        order: Order,
        obeyed: &Obeyed,
        database: &Database,
    ) {
        let is_new = self.obeyed.insert(order.number);
        self.check(is_new, "a command that is repeated changes nothing", now, || {
            format!("{order:?}")
        });
        self.obeyed(now, obeyed, database);
        match obeyed.command {
            _ if obeyed.decision.events.is_empty() => {}
            Command::UrlChanged | Command::Enable => {
                (self.streak, self.answers) = (Streak::default(), None);
            }
            Command::OrderingChanged => self.answers = None,
            Command::Redeliver(_) => self.forget_redelivered(now, database),
            _ => {}
        }
        self.touched(now);
    }

    /// The rules were asked about something that is no attempt.
    pub(crate) fn obeyed(&mut self, now: Micros, obeyed: &Obeyed, database: &Database) {
        let after = obeyed.after();
        let step = Step {
            before: &obeyed.before,
            policy: &database.policy,
            command: &obeyed.command,
            now: shown(now),
            decision: &obeyed.decision,
            after: &after,
        };
        self.decided(now, &step);
        self.journal(now, database);
        if !obeyed.decision.events.is_empty() {
            self.touched(now);
        }
    }

    /// The rules have decided something.
    pub(crate) fn decided(&mut self, now: Micros, step: &Step<'_>) {
        if let Some(name) = broken(step) {
            self.complain(name, now, format!("{step:?}"));
        }
    }

    /// The journal folds to the state, and the columns beside it say the same.
    fn journal(&mut self, now: Micros, database: &Database) {
        let news = database.journal.get(self.folded_events..).unwrap_or_default();
        self.folded = news.iter().fold(self.folded, evolve);
        self.folded_events = database.journal.len();
        let is_same = self.folded == database.state && self.folded_events == database.version;
        self.check(is_same, "the journal folds to the state", now, || {
            format!("{:?} is not {:?}", self_described(&database.state), database.version)
        });
    }

    /// What is redelivered starts again.
    fn forget_redelivered(&mut self, now: Micros, database: &Database) {
        for row in database.waiting.values() {
            if row.facts.attempts == 0 && row.waiting_since == now {
                let seen = self.seen.entry(row.number).or_default();
                *seen = Seen { has_it: seen.has_it, ..Seen::default() };
            }
        }
    }
}

fn self_described(state: &EndpointState) -> (EndpointState, Option<Micros>) {
    (*state, state.not_before.map(micros))
}
