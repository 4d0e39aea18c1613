//! One attempt and its settle, and where each can break.

use domain::Outcome;
use domain::endpoint::invariants::Step;
use domain::endpoint::{Command, Decision, DeliveryFacts, Disposition};

use super::slice::PATIENCE;
use crate::clock::{MILLI, Micros, SECOND, micros, shown};
use crate::database::{Settled, Settlement, delivery_id};
use crate::mutation::Mutation;
use crate::scenario::{Answer, Point, Request, What};
use crate::witness::Attempt;
use crate::world::{Happening, World};

/// An attempt that has begun and is not settled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flight {
    pub(crate) attempt: u64,
    pub(crate) facts: DeliveryFacts,
    pub(crate) started_at: Micros,
    pub(crate) outcome: Outcome,
}

impl World<'_> {
    /// Begins an attempt at the one in this place; false when the run broke while it did.
    pub(super) fn begin_attempt(&mut self, run_id: u64, place: usize) -> bool {
        let Some(run) = self.runs.get_mut(&run_id) else { return false };
        let is_given_up = run.is_given_up;
        let Some(slice) = run.slice.as_mut() else { return false };
        let facts = slice.line.remove(place);
        let attempt = Attempt {
            number: number_of(&facts),
            is_given_up,
            fence: slice.fence,
            version: slice.version,
            policy: slice.seen.policy.clone(),
            config_version: slice.seen.config_version,
            in_flight: slice.flights.len(),
            looked: slice.looked,
            fresh: slice.fresh,
        };
        slice.attempts += 1;
        let url_version = slice.seen.url_version;
        let Answer { outcome, takes } = self.ask(&attempt, url_version);
        self.last_attempt += 1;
        let attempt = self.last_attempt;
        let flight = Flight { attempt, facts, started_at: self.now, outcome };
        self.tell(|_| format!("request {} gets {outcome:?}", number_of(&facts)));
        if let Some(slice) = self.runs.get_mut(&run_id).and_then(|run| run.slice.as_mut()) {
            slice.flights.push(flight);
        }
        let answered = Happening::Answered(run_id, attempt);
        if self.breaks(run_id, Point::DuringAttempt, answered) {
            return false;
        }
        self.after(takes, takes, answered);
        true
    }

    /// What comes of a request. A fault of ours means that the merchant got none.
    fn ask(&mut self, attempt: &Attempt, url_version: u32) -> Answer {
        self.witness.begins(self.now, attempt, &self.database);
        if self.payloads_are_away() {
            let outcome = Outcome::Fault { fault: domain::Fault::PayloadUnavailable };
            return Answer { outcome, takes: 5 * MILLI };
        }
        let before = self.requests.len();
        let request = Request { number: attempt.number, url_version, at: self.now, before };
        let answer = self.scenario.merchant.answer(request, &mut self.dice);
        if !matches!(answer.outcome, Outcome::Fault { .. }) {
            self.tally.requests += 1;
            self.requests.push(attempt.number);
            let accepted = matches!(answer.outcome, Outcome::Delivered { .. });
            let is_again = self.witness.requested(self.now, attempt, accepted, &self.database);
            self.tally.duplicates += u64::from(is_again);
        }
        answer
    }

    /// An attempt ends: decide and settle.
    pub(crate) fn answered(&mut self, run_id: u64, attempt: u64) {
        let again = Happening::Answered(run_id, attempt);
        let Some(run) = self.runs.get(&run_id) else { return };
        if run.frozen_until > self.now {
            let until = run.frozen_until;
            return self.at(until, again);
        }
        if self.breaks(run_id, Point::BeforeSettle, again) {
            return;
        }
        if let Some(back) = self.database_back() {
            if back - self.now <= PATIENCE {
                return self.after(back - self.now, back - self.now + SECOND, again);
            }
            // The outcome in hand is lost with the slice.
            return self.give_up(run_id);
        }
        let Some(slice) = self.runs.get_mut(&run_id).and_then(|run| run.slice.as_mut()) else {
            return;
        };
        let Some(place) = slice.flights.iter().position(|flight| flight.attempt == attempt) else {
            return;
        };
        let flight = slice.flights.remove(place);
        if !self.settle(run_id, flight) {
            self.tally.fences_lost += 1;
            return self.stop_once_settled(run_id);
        }
        if !self.breaks(run_id, Point::AfterSettle, Happening::Step(run_id)) {
            self.after(0, 2 * MILLI, Happening::Step(run_id));
        }
    }

    /// The turn is lost: nothing begins any more, and what is in flight is still kept as attempts.
    fn stop_once_settled(&mut self, run_id: u64) {
        self.take_over(run_id, |slice| slice.is_closing = true);
        let slice = self.runs.get(&run_id).and_then(|run| run.slice.as_ref());
        if slice.is_none_or(|slice| slice.flights.is_empty()) {
            self.fails(run_id);
        }
    }

    /// Decides and settles until no command comes in between; false when the turn is lost.
    fn settle(&mut self, run_id: u64, flight: Flight) -> bool {
        let jitter = self.jitter();
        let command = Command::Settle {
            delivery: flight.facts,
            started_at: shown(flight.started_at),
            outcome: flight.outcome,
        };
        loop {
            let rules = self.rules;
            let Some(slice) = self.runs.get_mut(&run_id).and_then(|run| run.slice.as_mut()) else {
                return false;
            };
            let (before, version, fence) = (slice.state, slice.version, slice.fence);
            let policy = slice.seen.policy.clone();
            let now = shown(self.now);
            let decision = rules.decide(&before, &policy, &command, now, jitter);
            let after = decision.state_after(before);
            self.tally.settles += 1;
            let step = Step {
                before: &before,
                policy: &policy,
                command: &command,
                now,
                decision: &decision,
                after: &after,
            };
            self.witness.decided(self.now, &step);
            match self.write(&flight, fence, version, &decision) {
                Settled::FenceLost => return false,
                Settled::Moved { state, version, policy } => {
                    self.tally.moved += 1;
                    self.take_over(run_id, |slice| {
                        (slice.state, slice.version) = (state, version);
                        slice.seen.policy = policy;
                        // The command may have taken somebody out of the line: look again.
                        if !rules.has(Mutation::LineOutlivesCommand) {
                            (slice.more, slice.is_closing) = (true, true);
                        }
                    });
                }
                Settled::Done { state, version, config_version } => {
                    let started_at = flight.started_at;
                    self.witness.settled(self.now, &step, started_at, &self.database);
                    let now = self.now;
                    self.take_over(run_id, |slice| {
                        (slice.state, slice.version, slice.fresh) = (state, version, now);
                        if !rules.has(Mutation::LineKnowsNoPoison) {
                            slice.hears_of_poison(&decision);
                        }
                        slice.goes_on(decision.disposition);
                        if config_version != slice.seen.config_version
                            && !rules.has(Mutation::LineOutlivesChange)
                        {
                            (slice.more, slice.is_closing) = (true, true);
                        }
                    });
                    return true;
                }
            }
        }
    }

    fn take_over(&mut self, run_id: u64, change: impl FnOnce(&mut super::Slice)) {
        if let Some(slice) = self.runs.get_mut(&run_id).and_then(|run| run.slice.as_mut()) {
            change(slice);
        }
    }

    fn write(
        &mut self,
        flight: &Flight,
        fence: u64,
        version: usize,
        decision: &Decision,
    ) -> Settled {
        let settlement = Settlement {
            fence,
            version,
            attempt: flight.attempt,
            delivery: flight.facts.id,
            started_at: flight.started_at,
            decision,
        };
        let settled = self.database.settle(&settlement);
        // An answer that is lost is asked for again.
        let is_written = matches!(settled, Settled::Done { .. });
        if is_written && self.take_armed(|what| *what == What::AnswerLost).is_some() {
            return self.database.settle(&settlement);
        }
        settled
    }
}

impl super::Slice {
    /// Who was found poisonous by this attempt is still in line, as the look saw it.
    fn hears_of_poison(&mut self, decision: &Decision) {
        for marked in decision.marks_poisonous() {
            let in_line = self.line.iter_mut().filter(|facts| facts.id == marked);
            in_line.for_each(|facts| facts.poisonous = true);
        }
    }

    /// What the slice does after a settled attempt; whether anything may begin, the rules say.
    fn goes_on(&mut self, disposition: Disposition) {
        match disposition {
            Disposition::StepAside { until, .. } => {
                let until = micros(until);
                self.next_due = Some(self.next_due.map_or(until, |due| due.min(until)));
            }
            // It is due again as soon as the endpoint does not wait any more.
            Disposition::Stay | Disposition::Block => self.more = true,
            Disposition::Finish(_) => {}
        }
    }
}

fn number_of(facts: &DeliveryFacts) -> u32 {
    let number = u32::try_from(facts.id.uuid().as_u128()).unwrap_or(0);
    debug_assert_eq!(delivery_id(number), facts.id);
    number
}
