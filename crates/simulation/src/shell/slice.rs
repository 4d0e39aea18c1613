//! A slice: one bounded run of attempts, as `actors/src/slice.rs` should have it.
//!
//! It looks once, then asks the rules between two settles who may be attempted now, until nobody
//! may and nothing is in flight. It starts no request later than some seconds after its last look
//! or settle.

use domain::endpoint::{DeliveryFacts, EndpointState, Status};
use domain::wake::SliceEnd;

use super::Report;
use super::attempt::Flight;
use crate::clock::{MILLI, Micros, SECOND, micros, millis_up, shown};
use crate::database::{LastLook, Look};
use crate::mutation::Mutation;
use crate::scenario::Point;
use crate::world::{Happening, World};

/// No attempt starts later than this after the slice began.
const SLICE_TIME_MAX: Micros = 15 * SECOND;
/// No attempt starts later than this after the last look or settle.
pub(crate) const FRESH_FOR: Micros = 10 * SECOND;
/// How long one statement is tried while the database is away.
pub(super) const PATIENCE: Micros = 8 * SECOND;

/// A slice that is under way.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) fence: u64,
    /// When it looked: the slice's beginning.
    pub(crate) looked: Micros,
    /// The last look or settle.
    pub(crate) fresh: Micros,
    pub(crate) seen: Look,
    pub(crate) state: EndpointState,
    pub(crate) version: usize,
    /// What is due and was not attempted since the look.
    pub(crate) line: Vec<DeliveryFacts>,
    pub(crate) flights: Vec<Flight>,
    /// There is more to do than this slice does.
    pub(crate) more: bool,
    /// It begins nothing any more.
    pub(crate) is_closing: bool,
    pub(crate) next_due: Option<Micros>,
    pub(crate) attempts: u32,
}

impl World<'_> {
    /// The next step of a run: its look, or whatever may begin now.
    pub(crate) fn step(&mut self, run_id: u64) {
        let Some(run) = self.runs.get(&run_id) else { return };
        if run.frozen_until > self.now {
            let until = run.frozen_until;
            return self.at(until, Happening::Step(run_id));
        }
        if run.report.is_some() || run.cancels {
            return;
        }
        match (&run.slice, run.before) {
            (Some(_), _) => self.begin_all(run_id),
            (None, Some(before)) if !before.end.more => self.look_last(run_id, before),
            (None, _) => self.look(run_id),
        }
    }

    /// The last look of a wake: nothing was left, and most often a question says that it is still so.
    fn look_last(&mut self, run_id: u64, before: Report) {
        let again = Happening::Step(run_id);
        let back = self.database_back();
        if let Some(back) = back.filter(|back| back - self.now <= PATIENCE) {
            return self.after(back - self.now, back - self.now + SECOND, again);
        }
        let saw = match before.asked_early {
            Some(saw) => Some(saw),
            None => self.database.last_look(self.now),
        };
        // An event in between, of a command or of a run that died: what the slice before said is old.
        let is_as_before = |saw: &LastLook| {
            saw.version == before.version || self.rules.has(Mutation::QuestionForgetsEvents)
        };
        match saw.filter(|saw| back.is_none() && !saw.is_due && is_as_before(saw)) {
            Some(saw) => {
                if self.breaks(run_id, Point::BeforeLook, again) {
                    return;
                }
                self.tally.questions += 1;
                let next_ms = saw.next_due.map(millis_up);
                let report = Report { took: 0, next_ms, asked_early: None, ..before };
                self.acknowledge(run_id, report);
            }
            // Something came or happened, or the endpoint went, or the database did: a slice says which.
            None => self.look(run_id),
        }
    }

    fn look(&mut self, run_id: u64) {
        let again = Happening::Step(run_id);
        if self.breaks(run_id, Point::BeforeLook, again) {
            return;
        }
        if let Some(back) = self.database_back() {
            if back - self.now <= PATIENCE {
                return self.after(back - self.now, back - self.now + SECOND, again);
            }
            return self.give_up(run_id);
        }
        self.last_fence += 1;
        self.tally.looks += 1;
        self.witness.looks(self.now, &self.database);
        let seen = self.database.look(self.now, self.scenario.limit, self.last_fence);
        self.witness.touched(self.now);
        let Some(seen) = seen else { return self.finds_it_gone(run_id) };
        let slice = Slice {
            fence: self.last_fence,
            looked: self.now,
            fresh: self.now,
            state: seen.state,
            version: seen.version,
            line: seen.due.clone(),
            flights: Vec::new(),
            more: seen.due.len() == self.scenario.limit,
            is_closing: false,
            next_due: seen.next_due,
            attempts: 0,
            seen,
        };
        self.tell(|_| format!("look: {} due, {:?}", slice.line.len(), slice.state));
        if let Some(run) = self.runs.get_mut(&run_id) {
            run.slice = Some(slice);
        }
        if !self.breaks(run_id, Point::AfterLook, again) {
            self.after(0, MILLI, again);
        }
    }

    fn finds_it_gone(&mut self, run_id: u64) {
        if self.breaks(run_id, Point::AfterLook, Happening::Step(run_id)) {
            return;
        }
        if let Some(run) = self.runs.get_mut(&run_id) {
            run.cancels = true;
        }
        self.after(0, MILLI, Happening::Cancel(run_id));
    }

    /// The endpoint was deleted: what waits is cancelled, some of it at a time.
    pub(crate) fn cancel(&mut self, run_id: u64) {
        let again = Happening::Cancel(run_id);
        if self.runs.get(&run_id).is_none_or(|run| !run.cancels) {
            return;
        }
        if let Some(back) = self.database_back() {
            if back - self.now <= PATIENCE {
                return self.after(back - self.now, back - self.now + SECOND, again);
            }
            return self.give_up(run_id);
        }
        let more = self.database.cancel_for_deleted();
        if more && !self.rules.has(Mutation::CancelsOnce) {
            return self.after(MILLI, 10 * MILLI, again);
        }
        let report = Report {
            is_stuck: false,
            is_gone: true,
            version: 0,
            took: 0,
            attempts: 0,
            end: SliceEnd { more: false, waits: false },
            waits: false,
            next_ms: None,
            asked_early: None,
        };
        self.acknowledge(run_id, report);
    }

    /// Begins whatever may begin; when nothing may and nothing is in flight, the slice is over.
    fn begin_all(&mut self, run_id: u64) {
        while let Some(place) = self.may_begin(run_id) {
            if self.breaks(run_id, Point::BeforeAttempt, Happening::Step(run_id)) {
                return;
            }
            if !self.begin_attempt(run_id, place) {
                return;
            }
        }
        let Some(slice) = self.runs.get(&run_id).and_then(|run| run.slice.as_ref()) else { return };
        if slice.flights.is_empty() {
            let report = self.report(slice);
            self.acknowledge(run_id, report);
        }
    }

    /// The place in line of who may be attempted now.
    fn may_begin(&mut self, run_id: u64) -> Option<usize> {
        let (rules, now) = (self.rules, self.now);
        let slice = self.runs.get_mut(&run_id)?.slice.as_mut()?;
        if slice.is_closing {
            return None;
        }
        let place = rules.next_up(
            &slice.state,
            &slice.seen.policy,
            &slice.line,
            slice.flights.len(),
            shown(now),
        )?;
        let is_fresh = now - slice.fresh <= FRESH_FOR || rules.has(Mutation::FreshnessIgnored);
        if now - slice.looked > SLICE_TIME_MAX && !rules.has(Mutation::FreshnessIgnored)
            || !is_fresh
        {
            (slice.more, slice.is_closing) = (true, true);
            return None;
        }
        Some(place)
    }

    fn report(&self, slice: &Slice) -> Report {
        let now = shown(self.now);
        let state = &slice.state;
        let waits_until = state.waits_until(now).map(micros);
        let waits = if self.rules.has(Mutation::DisabledTakenForWaiting) {
            waits_until.is_some() || state.status != Status::Active
        } else {
            state.waits(now)
        };
        let aside = slice.next_due.filter(|_| !self.rules.has(Mutation::AsideNotTimed));
        Report {
            is_stuck: false,
            is_gone: false,
            version: slice.version,
            took: self.now - slice.looked,
            attempts: slice.attempts,
            // What was not begun is still due.
            end: SliceEnd { more: slice.more || !slice.line.is_empty(), waits },
            waits: state.waits(now),
            next_ms: waits_until.or(aside).map(millis_up),
            asked_early: Some(self.now)
                .filter(|_| self.rules.has(Mutation::QuestionAskedEarly))
                .and_then(|now| self.database.last_look(now)),
        }
    }

    /// The database is away for longer than is waited for: the slice and what it has in hand are
    /// given up, after all that patience.
    pub(super) fn give_up(&mut self, run_id: u64) {
        if let Some(run) = self.runs.get_mut(&run_id) {
            (run.slice, run.cancels, run.frozen_until) = (None, false, Micros::MAX);
            self.at(self.now + PATIENCE, Happening::Stuck(run_id));
        }
    }

    /// The wake hears that its slice is stuck.
    pub(crate) fn stuck(&mut self, run_id: u64) {
        let report = Report {
            is_stuck: true,
            is_gone: false,
            version: 0,
            took: PATIENCE,
            attempts: 0,
            end: SliceEnd { more: false, waits: true },
            waits: true,
            next_ms: None,
            asked_early: None,
        };
        self.acknowledge(run_id, report);
    }
}
