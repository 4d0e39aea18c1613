//! The worker's part: a wake from its beginning to what it leaves, as `actors/src/object.rs` has
//! it, and where it can break.
//!
//! What stands in an `Invocation` survives a crash, as Restate's journal does; a `Run` does not. A
//! run that Restate has given up goes on as a zombie until it finds its turn lost. The rules of when
//! a wake runs, ends and arms its timer are the product's own (`domain::wake`).

mod attempt;
mod slice;

use domain::wake::{self, Arm, Next, SliceEnd};

use crate::clock::{MILLI, Micros, SECOND, length, millis_up};
use crate::database::LastLook;
use crate::mutation::Mutation;
use crate::restate::{Invocation, Key, Timer, WakeCall};
use crate::scenario::{Point, What};
use crate::world::{Happening, World};

pub(crate) use slice::{FRESH_FOR, Slice};

/// One attempt of an invocation: what dies with the worker.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) invocation: u64,
    /// Restate has given it up: what it acknowledges is not heard.
    pub(crate) is_given_up: bool,
    /// It does nothing before.
    pub(crate) frozen_until: Micros,
    pub(crate) slice: Option<Slice>,
    /// What the slice before came back with; none: this is the first one.
    pub(crate) before: Option<Report>,
    /// A slice that is done, and that Restate has not heard of yet.
    pub(crate) report: Option<Report>,
    /// The endpoint was deleted, and what waits is being cancelled.
    pub(crate) cancels: bool,
}

/// What a slice leaves in Restate's journal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report {
    pub(crate) is_stuck: bool,
    /// The endpoint was deleted.
    pub(crate) is_gone: bool,
    /// Number of the last event of the journal, as the slice left it.
    pub(crate) version: usize,
    pub(crate) took: Micros,
    pub(crate) attempts: u32,
    pub(crate) end: SliceEnd,
    /// Does the whole endpoint wait, as the slice left it?
    pub(crate) waits: bool,
    pub(crate) next_ms: Option<i64>,
    /// A bug's question, asked too early.
    pub(crate) asked_early: Option<LastLook>,
}

impl World<'_> {
    /// The object takes the next wake, if it is idle.
    pub(crate) fn pop(&mut self) {
        if self.object.running.is_some() || self.reached_again().is_some() {
            return;
        }
        let Some(mut invocation) = self.object.inbox.pop_front() else { return };
        // State that a wake has set is seen by the next one of its key.
        if let Some(unseen) = self.object.unseen.take() {
            self.object.looks = unseen;
        }
        let looks = self.object.looks;
        if let WakeCall::Timer { generation } = invocation.call {
            if self.object.timer.is_none_or(|armed| armed.generation != generation) {
                return self.at(self.now, Happening::Pop);
            }
            self.object.timer = None;
        }
        let sent_for = invocation.call.sent_for();
        let is_old = self.rules.has(Mutation::ForgottenCounterIsOld)
            && sent_for.is_some_and(|sent_for| sent_for != looks);
        if is_old || !wake::runs(sent_for, looks) {
            return self.at(self.now, Happening::Pop);
        }
        let raised = wake::raised(sent_for, looks);
        invocation.raised = Some(raised);
        self.object.unseen = Some(raised);
        // At the latest with the first acknowledgement; when, is not ours to know.
        let late = self.dice.pick(&[4 * MILLI, 100 * MILLI, 10 * SECOND]);
        self.after(0, late, Happening::CounterSeen(raised));
        self.object.running = Some(invocation);
        self.start_run(invocation.id, None);
    }

    fn start_run(&mut self, invocation: u64, before: Option<Report>) {
        self.last_run += 1;
        let run = Run {
            invocation,
            is_given_up: false,
            frozen_until: 0,
            slice: None,
            before,
            report: None,
            cancels: false,
        };
        self.runs.insert(self.last_run, run);
        self.after(MILLI, 3 * MILLI, Happening::Step(self.last_run));
    }

    /// Restate tries an invocation again, from its last acknowledged step.
    pub(crate) fn retry(&mut self, invocation: u64) {
        let Some(running) = self.object.running.filter(|running| running.id == invocation) else {
            return;
        };
        if let Some(back) = self.reached_again() {
            return self.at(back + SECOND, Happening::Retry(invocation));
        }
        let is_alive = |run: &Run| run.invocation == invocation && !run.is_given_up;
        if !self.runs.values().any(is_alive) {
            self.start_run(invocation, running.before);
        }
    }

    /// Does the rightful run break at this step? Then whatever it was doing must stop; `again` is
    /// what a frozen one goes on with.
    pub(crate) fn breaks(&mut self, run_id: u64, point: Point, again: Happening) -> bool {
        let Some(run) = self.runs.get(&run_id) else { return true };
        if run.is_given_up {
            return false;
        }
        let invocation = run.invocation;
        let mishap = self.take_armed(|what| match what {
            What::Crash(at) | What::Kill(at) | What::Freeze(at, _) => *at == point,
            _ => false,
        });
        if mishap.is_some() {
            self.tell(|_| format!("{mishap:?}"));
        }
        match mishap {
            Some(What::Freeze(_, lasts)) => {
                let until = self.now + lasts;
                if let Some(run) = self.runs.get_mut(&run_id) {
                    (run.is_given_up, run.frozen_until) = (true, until);
                }
                self.at(until, again);
                self.after(SECOND, 5 * SECOND, Happening::Retry(invocation));
                true
            }
            Some(What::Kill(_)) => {
                self.dies(run_id);
                self.object.running = None;
                self.at(self.now, Happening::Pop);
                true
            }
            Some(_) => {
                self.dies(run_id);
                self.after(100 * MILLI, 2 * SECOND, Happening::Retry(invocation));
                true
            }
            None => false,
        }
    }

    /// A run that may not go on: Restate tries again, if it still waits for it.
    pub(crate) fn fails(&mut self, run_id: u64) {
        let Some(run) = self.runs.remove(&run_id) else { return };
        if !run.is_given_up {
            self.after(100 * MILLI, 2 * SECOND, Happening::Retry(run.invocation));
        }
    }

    fn dies(&mut self, run_id: u64) {
        let Some(run) = self.runs.remove(&run_id) else { return };
        if self.rules.has(Mutation::LostOutcomeTakenForSettled) {
            let flights = run.slice.map(|slice| slice.flights).unwrap_or_default();
            flights.iter().for_each(|flight| self.database.take_for_delivered(flight.facts.id));
        }
    }

    /// A slice is done; its result is on its way to Restate.
    pub(crate) fn acknowledge(&mut self, run_id: u64, report: Report) {
        let Some(run) = self.runs.get_mut(&run_id) else { return };
        (run.slice, run.report, run.cancels) = (None, Some(report), false);
        let late = self.dice.pick(&[MILLI, 50 * MILLI, 200 * MILLI]);
        self.after(0, late, Happening::Acknowledged(run_id));
    }

    /// The result is recorded, and the wake goes on by the product's rule.
    pub(crate) fn acknowledged(&mut self, run_id: u64) {
        if self.breaks(run_id, Point::BeforeAcknowledgement, Happening::Acknowledged(run_id)) {
            return;
        }
        let again = Happening::Step(run_id);
        let Some(run) = self.runs.get(&run_id) else { return };
        let Some(report) = run.report else { return };
        let invocation = self.object.running.filter(|running| running.id == run.invocation);
        let Some(mut invocation) = invocation.filter(|_| !run.is_given_up) else {
            self.runs.remove(&run_id);
            return;
        };
        if let Some(unseen) = self.object.unseen.take() {
            self.object.looks = unseen;
        }
        invocation.slices += 1;
        invocation.elapsed += std::time::Duration::from_micros(report.took.unsigned_abs());
        invocation.before = Some(report);
        self.object.running = Some(invocation);
        if let Some(run) = self.runs.get_mut(&run_id) {
            (run.before, run.report) = (Some(report), None);
        }
        match self.after_slice(&invocation, report) {
            Next::LookAgain => {
                if !self.breaks(run_id, Point::AfterAcknowledgement, again) {
                    self.after(MILLI / 2, 2 * MILLI, again);
                }
            }
            Next::End => self.leave(run_id, &invocation, report),
            Next::HandOver => {
                let looks = invocation.raised.unwrap_or(0);
                self.send(WakeCall::Continued { looks }, Some(Key::Looks(looks)));
                self.leave(run_id, &invocation, report);
            }
        }
    }

    fn after_slice(&self, invocation: &Invocation, report: Report) -> Next {
        if self.rules.has(Mutation::LastLookLeftOut) && !report.end.more {
            return Next::End;
        }
        wake::after_slice(invocation.slices, invocation.elapsed, report.end)
    }

    /// What a wake leaves behind: a timer, when there is something to come.
    fn leave(&mut self, run_id: u64, invocation: &Invocation, report: Report) {
        self.runs.remove(&run_id);
        self.witness.ends(self.now, invocation, &report);
        // Cancelling and arming are journaled one by one: a kill may come between them.
        let is_killed = self.take_armed(|what| *what == What::Kill(Point::AfterAcknowledgement));
        let now_ms = millis_up(self.now);
        let armed_ms = self.object.timer.map(|timer| timer.at_ms);
        if report.is_gone {
            self.forget(is_killed.is_some());
        } else if report.is_stuck {
            let delay = wake::stuck_wait(self.object.stuck);
            self.object.stuck += 1;
            self.set_timer(length(delay), 0, is_killed.is_some());
        } else {
            self.object.stuck = 0;
            let early = matches!(invocation.call, WakeCall::Timer { .. }) && report.attempts == 0;
            let arm = match wake::arm(armed_ms, report.next_ms, now_ms, early) {
                Arm::New { .. }
                    if self.rules.has(Mutation::LaterTimerStays)
                        && armed_ms.is_some_and(|armed_ms| armed_ms > now_ms) =>
                {
                    Arm::Keep
                }
                arm => arm,
            };
            if let Arm::New { delay, at_ms } = arm {
                self.set_timer(length(delay), at_ms, is_killed.is_some());
            }
        }
        self.object.running = None;
        self.witness.wake_ended(self.now, &self.database, &self.object);
        self.at(self.now, Happening::Pop);
    }

    /// Nothing stays of an endpoint that was deleted.
    fn forget(&mut self, is_killed: bool) {
        if let Some(timer) = self.object.timer {
            self.object.cancel(timer.invocation);
        }
        if !is_killed && !self.rules.has(Mutation::DeletionLeavesState) {
            self.object.clear_all();
        }
    }

    fn set_timer(&mut self, delay: Micros, at_ms: i64, is_killed: bool) {
        if let Some(armed) = self.object.timer
            && !self.rules.has(Mutation::TimerNotCancelled)
        {
            self.object.cancel(armed.invocation);
        }
        if is_killed {
            return;
        }
        self.object.generation += 1;
        let generation = self.object.generation;
        let fires_at = self.now + (delay - self.scenario.early).max(0);
        let invocation = self.object.send_at(WakeCall::Timer { generation }, fires_at);
        self.object.timer = Some(Timer { at_ms, generation, invocation });
        self.at(fires_at, Happening::Fire(invocation));
    }
}
