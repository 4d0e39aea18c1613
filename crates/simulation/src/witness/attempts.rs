//! What is checked when an attempt begins: may it, in this order, at this time, by this run?

use domain::endpoint::{
    Breaker, DisabledReason, EndpointState, FinishReason, Ordering, Policy, Status,
};

use super::Witness;
use crate::clock::{Micros, shown};
use crate::database::{Database, Row, delivery_id};
use crate::shell::FRESH_FOR;

/// How far down the line a probe may be.
const WALK_MAX: usize = 8;

/// An attempt that begins, and what the run that begins it knows.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) number: u32,
    pub(crate) is_given_up: bool,
    pub(crate) fence: u64,
    pub(crate) version: usize,
    pub(crate) policy: Policy,
    /// Of the configuration that it goes by.
    pub(crate) config_version: u32,
    /// Attempts of this run that are under way already.
    pub(crate) in_flight: usize,
    /// Its look.
    pub(crate) looked: Micros,
    /// Its last look or settle.
    pub(crate) fresh: Micros,
}

impl Attempt {
    /// How many of its kind may be under way at once.
    fn at_once_max(&self) -> usize {
        let is_unordered = self.policy.ordering == Ordering::Unordered;
        if is_unordered { usize::from(self.policy.parallelism) } else { 1 }
    }
}

fn is_probed(state: &EndpointState) -> bool {
    let is_disabled =
        matches!(state.status, Status::Disabled { reason: DisabledReason::Unwell, .. });
    state.breaker != Breaker::Closed || is_disabled
}

impl Witness {
    /// An attempt begins.
    pub(crate) fn begins(&mut self, now: Micros, attempt: &Attempt, database: &Database) {
        let age = now - attempt.fresh;
        self.check(age <= FRESH_FOR, "no request starts long after the last look", now, || {
            format!("{age} µs after it, of {}", attempt.number)
        });
        self.begins_after_a_deletion(now, attempt, database);
        if database.fence != attempt.fence {
            return self.begins_late(now, attempt);
        }
        self.seen.entry(attempt.number).or_default().first_at.get_or_insert(now);
        self.goes_by_the_configuration(now, attempt, database);
        // What a command has changed, the run hears at its next settle.
        if database.version != attempt.version {
            return;
        }
        let state = &database.state;
        self.check(
            !state.waits(shown(now)),
            "nothing is sent while the endpoint waits",
            now,
            || format!("{} at {state:?}", attempt.number),
        );
        self.lanes(now, attempt, state);
        let id = delivery_id(attempt.number);
        if let Some(row) = database.row(id) {
            return self.order(now, attempt, row, database);
        }
        // An expiry that changes nothing about the endpoint is heard of at the next look.
        let reason = database.finished.get(&id).map(|finished| finished.reason);
        let has_expired = reason == Some(FinishReason::Expired);
        self.check(has_expired, "what is over is not sent", now, || {
            format!("{} {reason:?}", attempt.number)
        });
    }

    /// A change of the URL or the policy holds from the next attempt on.
    fn goes_by_the_configuration(&mut self, now: Micros, attempt: &Attempt, database: &Database) {
        let is_known = attempt.config_version == database.config_version;
        let check =
            "nothing is sent by an old configuration after a look or a settle that saw the new";
        self.check(is_known || attempt.fresh <= database.configured_at, check, now, || {
            format!("{} by version {}", attempt.number, attempt.config_version)
        });
    }

    /// Who knows of a deletion sends nothing, and nobody goes on for long without knowing.
    fn begins_after_a_deletion(&mut self, now: Micros, attempt: &Attempt, database: &Database) {
        let Some(deleted_at) = database.deleted_at else { return };
        let check = "nothing is sent by a look or a settle that knows of the deletion";
        self.check(attempt.fresh <= deleted_at, check, now, || {
            format!("{}, deleted at {deleted_at}", attempt.number)
        });
        let count = self.after_deletion.entry(attempt.fence).or_default();
        *count += 1;
        let (count, allowed) = (*count, attempt.at_once_max());
        let check = "after a deletion only what was beginning is sent";
        self.check(count <= allowed, check, now, || {
            format!("{count} requests of fence {}", attempt.fence)
        });
    }

    /// A run that has lost its turn sends at most what it had begun to.
    fn begins_late(&mut self, now: Micros, attempt: &Attempt) {
        let count = self.late_requests.entry(attempt.fence).or_default();
        *count += 1;
        let (count, allowed) = (*count, attempt.at_once_max());
        self.check(count <= allowed, "a run without its turn stops", now, || {
            format!("{count} requests of fence {}", attempt.fence)
        });
    }

    fn lanes(&mut self, now: Micros, attempt: &Attempt, state: &EndpointState) {
        let at_once = attempt.in_flight + 1;
        let allowed = match attempt.policy.ordering {
            Ordering::Unordered if !is_probed(state) => usize::from(attempt.policy.parallelism),
            _ => 1,
        };
        self.check(at_once <= allowed, "never more at once than allowed", now, || {
            format!("{at_once} at {state:?}")
        });
        let Some(answers) = self.answers else { return };
        let ramped = 1_usize << answers.min(20);
        self.check(at_once <= ramped, "an endpoint is not flooded when it is back", now, || {
            format!("{at_once} at once after {answers} answers")
        });
    }

    fn order(&mut self, now: Micros, attempt: &Attempt, row: &Row, database: &Database) {
        let earlier = database.waiting.range(..row.sequence).map(|(_, row)| row);
        // A row that became visible after the look is not known to this slice.
        let earlier = earlier.filter(|earlier| earlier.committed_at < attempt.looked);
        match attempt.policy.ordering {
            Ordering::Unordered => {}
            Ordering::Strict => {
                let passed = earlier.map(|earlier| earlier.number).next();
                self.check(passed.is_none(), "in strict nobody is passed", now, || {
                    format!("{} passes {passed:?}", attempt.number)
                });
            }
            Ordering::Ordered => {
                let in_line =
                    earlier.filter(|e| e.next_attempt_at.is_none_or(|at| at <= attempt.looked));
                let is_probe = is_probed(&database.state);
                let passed: Vec<&Row> = in_line
                    .filter(|earlier| !(is_probe && earlier.facts.poisonous))
                    .take(WALK_MAX)
                    .collect();
                let untried = passed.iter().find(|row| row.facts.attempts == 0);
                self.check(untried.is_none(), "a probe passes nobody untried", now, || {
                    format!("{} passes {:?}", attempt.number, untried.map(|row| row.number))
                });
                let allowed = if is_probe { WALK_MAX - 1 } else { 0 };
                let check = "in ordered only who stepped aside is passed, but by a probe";
                self.check(passed.len() <= allowed, check, now, || {
                    let passed: Vec<u32> = passed.iter().map(|row| row.number).collect();
                    format!("{} passes {passed:?}", attempt.number)
                });
            }
        }
    }

    /// The merchant got a request; is it one for what it had accepted before?
    pub(crate) fn requested(
        &mut self,
        now: Micros,
        attempt: &Attempt,
        accepted: bool,
        database: &Database,
    ) -> bool {
        let has_its_turn = database.fence == attempt.fence && !attempt.is_given_up;
        let seen = self.seen.entry(attempt.number).or_default();
        let was_accepted = seen.accepted > 0;
        let is_settled = seen.is_settled;
        seen.accepted += u32::from(accepted);
        seen.has_it |= accepted;
        let check = "what was settled as delivered is not sent again";
        self.check(!(is_settled && has_its_turn), check, now, || format!("{}", attempt.number));
        self.duplicates += u32::from(was_accepted);
        let excused = !self.scenario.mishaps.is_empty();
        let check = "nothing is sent twice while nothing breaks";
        self.check(!was_accepted || excused, check, now, || format!("{}", attempt.number));
        was_accepted
    }
}
