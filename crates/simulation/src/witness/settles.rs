//! What is checked when an attempt is settled: counted again from outside, by cruder means.

use std::time::Duration;

use domain::endpoint::invariants::Step;
use domain::endpoint::{
    Command, DeliveryFacts, DisabledReason, Disposition, EndpointEvent, EndpointState,
    FinishReason, Status,
};
use domain::{Outcome, Unwell};

use super::{Seen, Witness};
use crate::clock::{HOUR, MINUTE, Micros, length, micros};
use crate::database::Database;

/// A run of unwell outcomes, as the merchant would tell it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Streak {
    failures: u32,
    first_at: Micros,
    last_at: Micros,
    /// What the waits between them amount to, at least.
    waited: Micros,
    /// Failures without hours of silence in between.
    unbroken: u32,
}

/// Between two failures that belong together there is never more.
const SILENCE: Micros = 3 * HOUR;

impl Witness {
    /// A settle was written.
    pub(crate) fn settled(
        &mut self,
        now: Micros,
        step: &Step<'_>,
        started_at: Micros,
        database: &Database,
    ) {
        self.touched(now);
        self.journal(now, database);
        let Command::Settle { delivery, outcome, .. } = *step.command else { return };
        let number = u32::try_from(delivery.id.uuid().as_u128()).unwrap_or(0);
        self.streak(now, step, started_at, outcome);
        self.recovery(step, outcome);
        let seen = self.seen.entry(number).or_default();
        seen.is_settled |= matches!(outcome, Outcome::Delivered { .. });
        seen.refusals += u32::from(is_refused(step.before, &delivery, outcome));
        let seen = *seen;
        if let Disposition::Finish(reason) = step.decision.disposition {
            self.finished(now, step, number, seen, reason);
        }
        for event in &step.decision.events {
            if matches!(event, EndpointEvent::Disabled { reason: DisabledReason::Unwell, .. }) {
                let least = self.least(step, step.policy.disables_after);
                self.unbroken(now, least, "an endpoint is disabled for days of failures only");
            }
        }
        if self.streak.failures.is_multiple_of(8) {
            self.storage(now, step);
        }
    }

    /// Failures in a row: as many as the state says, and never closer than their waits.
    fn streak(&mut self, now: Micros, step: &Step<'_>, started_at: Micros, outcome: Outcome) {
        let found = step.decision.events.iter().find_map(|event| match event {
            EndpointEvent::FoundUnwell { at, not_before, .. } => Some((*at, *not_before)),
            _ => None,
        });
        let is_new = started_at >= self.streak.last_at;
        if let (Outcome::Delivered { .. } | Outcome::Refused { .. }, true) = (outcome, is_new) {
            self.streak = Streak { last_at: self.streak.last_at, ..Streak::default() };
        }
        let Some((at, not_before)) = found else { return };
        let streak = &mut self.streak;
        if streak.failures == 0 {
            (streak.first_at, streak.waited) = (now, 0);
        }
        let is_silent = streak.failures > 0 && started_at - streak.last_at > SILENCE;
        streak.unbroken = if is_silent { 1 } else { streak.unbroken + 1 };
        let (took, waited) = (now - streak.first_at, streak.waited);
        streak.failures += 1;
        streak.last_at = now;
        let n = streak.failures;
        // The waits of the rules, by the policy: shortened at most by the jitter or by a wish.
        let asked = matches!(outcome, Outcome::Unwell { retry_after: Some(_), .. });
        let least = step.policy.backoff.after(n).mul_f64(0.79);
        streak.waited += if asked { micros(not_before) - micros(at) } else { length(least) };
        self.check(
            took >= waited,
            "an unwell endpoint is left alone between failures",
            now,
            || format!("{n} failures within {took} µs"),
        );
        let counted = step.after.unwell.map_or(0, |span| span.consecutive);
        self.check(counted == n, "failures that began together count once", now, || {
            format!("{counted} in the state, {n} seen")
        });
    }

    fn recovery(&mut self, step: &Step<'_>, outcome: Outcome) {
        for event in &step.decision.events {
            if matches!(event, EndpointEvent::Recovered { .. }) {
                self.answers = Some(0);
            }
        }
        let is_an_answer = matches!(outcome, Outcome::Delivered { .. } | Outcome::Refused { .. });
        let has_recovered =
            step.decision.events.iter().any(|e| matches!(e, EndpointEvent::Recovered { .. }));
        if let Some(answers) = self.answers.as_mut().filter(|_| is_an_answer && !has_recovered) {
            *answers += 1;
        }
    }

    fn finished(
        &mut self,
        now: Micros,
        step: &Step<'_>,
        number: u32,
        seen: Seen,
        reason: FinishReason,
    ) {
        match reason {
            FinishReason::Refused => {
                let schedule = &step.policy.schedule;
                let is_used_up = schedule.after(seen.refusals).is_none();
                let check = "who is exhausted as refused was refused so often";
                self.check(is_used_up, check, now, || format!("{number}: {}", seen.refusals));
            }
            FinishReason::Unwell => {
                let age = now - seen.first_at.unwrap_or(now);
                let span = step.policy.schedule.span();
                let check = "who is exhausted by an unwell endpoint was tried for the whole span";
                self.check(age + MINUTE >= length(span), check, now, || format!("{number}: {age}"));
                let least = self.least(step, span);
                self.unbroken(now, least, "an unwell endpoint has failed all the time");
            }
            FinishReason::Delivered
            | FinishReason::Expired
            | FinishReason::Skipped
            | FinishReason::Deleted => {}
        }
    }

    /// How many failures there are at least, when they go on for `span`: the longest wait, the
    /// longest attempt, and some patience with our own delays.
    fn least(&self, step: &Step<'_>, span: Duration) -> u32 {
        let longest = step.policy.backoff.after(u32::MAX).mul_f64(1.2);
        let longest = longest.max(Duration::from_secs(3_600)) + Duration::from_secs(300);
        // A probe that hit a fault of ours, or a delivery that is missing, is no failure.
        u32::try_from(span.as_secs() / longest.as_secs() / 3).unwrap_or(u32::MAX)
    }

    fn unbroken(&mut self, now: Micros, least: u32, check: &'static str) {
        let unbroken = self.streak.unbroken;
        self.check(unbroken >= least, check, now, || format!("{unbroken} failures, not {least}"));
    }

    /// A state survives storage.
    fn storage(&mut self, now: Micros, step: &Step<'_>) {
        let read = serde_json::to_string(step.after)
            .and_then(|stored| serde_json::from_str::<EndpointState>(&stored));
        let is_same = read.is_ok_and(|read| read == *step.after);
        self.check(is_same, "a state survives storage", now, || format!("{:?}", step.after));
    }
}

fn is_refused(state: &EndpointState, delivery: &DeliveryFacts, outcome: Outcome) -> bool {
    let is_disabled =
        matches!(state.status, Status::Disabled { reason: DisabledReason::Unwell, .. });
    match outcome {
        Outcome::Refused { .. } => true,
        Outcome::Unwell { cause: Unwell::Status(500..), .. } => delivery.poisonous && !is_disabled,
        _ => false,
    }
}
