//! Merchants: what one answers, when, and how long it takes.
//!
//! A merchant is a list of behaviours in time. It knows nothing of us but the request in hand: the
//! delivery, which of our URLs for it was called, and what time it is.

use std::time::Duration;

use domain::{Fault, Outcome, Unwell};

use super::moments;
use crate::clock::{DAY, HOUR, MILLI, MINUTE, Micros, SECOND};
use crate::dice::Dice;
use crate::script::Replies;

/// What a merchant does, from some moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Answers 200 within milliseconds.
    Healthy,
    /// Answers 200 after seconds.
    Slow,
    /// Fails the same way whatever is asked.
    Down(Unwell),
    /// Fails now and then, so many of a hundred.
    Flapping(u8),
    /// Answers 410 at the URL that it had at first; not all of its servers have heard of it yet.
    Gone,
    /// Answers 429 and says how many seconds it wants to be left alone.
    Throttling(u32),
    /// Refuses every tenth event for good.
    RefusingEveryTenth,
}

/// A merchant.
#[derive(Debug, Clone)]
pub(crate) struct Merchant {
    /// Behaviours, each from its moment on; the first from the beginning.
    pub(crate) segments: Vec<(Micros, Behaviour)>,
    /// Events that make its code answer 500 whenever they come, while it answers at all.
    pub(crate) poison: Vec<u32>,
    /// Events whose payload is missing on our side, for good.
    pub(crate) missing: Vec<u32>,
    /// What it answers by a script; then nothing else counts.
    pub(crate) script: Option<Replies>,
}

/// What came of a request, and how long it took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    pub(crate) takes: Micros,
}

/// A request as the merchant sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub(crate) number: u32,
    pub(crate) url_version: u32,
    pub(crate) at: Micros,
    /// How many came before it.
    pub(crate) before: usize,
}

impl Merchant {
    /// One that answers by a script.
    pub(crate) fn scripted(replies: Replies) -> Self {
        let script = Some(replies);
        Self { segments: Vec::new(), poison: Vec::new(), missing: Vec::new(), script }
    }

    pub(super) fn generate(dice: &mut Dice, horizon: Micros, payments: usize) -> Self {
        let mut segments = vec![(0, behaviour(dice))];
        let turns = dice.between(0, 6);
        for from in moments(dice, turns, horizon) {
            segments.push((from, behaviour(dice)));
            if dice.chance(60) {
                let lasts = dice.pick(&[MINUTE, 10 * MINUTE, HOUR, 8 * HOUR, 2 * DAY, 8 * DAY]);
                segments.push((from + lasts, Behaviour::Healthy));
            }
        }
        segments.sort_by_key(|(from, _)| *from);
        bound_throttling(&mut segments);
        // Most come back in the end: then everything that waits must go out.
        if dice.chance(75) {
            segments.push((horizon, Behaviour::Healthy));
        }
        let any = |dice: &mut Dice| u32::try_from(dice.index(payments)).unwrap_or(0) + 1;
        let poison = if dice.chance(20) { vec![any(dice); 1] } else { Vec::new() };
        let missing = if dice.chance(10) { vec![any(dice)] } else { Vec::new() };
        Self { segments, poison, missing, script: None }
    }

    /// What it does at `at`.
    pub(crate) fn behaviour(&self, at: Micros) -> Behaviour {
        let begun = self.segments.iter().take_while(|(from, _)| *from <= at);
        begun.last().map_or(Behaviour::Healthy, |(_, behaviour)| *behaviour)
    }

    /// What comes of `request`.
    pub(crate) fn answer(&self, request: Request, dice: &mut Dice) -> Answer {
        if self.missing.contains(&request.number) {
            return answer(Outcome::Fault { fault: Fault::PayloadMissing }, MILLI);
        }
        let quick = dice.between(2 * MILLI, 120 * MILLI);
        if let Some(script) = self.script {
            return answer(script.outcome(request.number, request.before), quick);
        }
        let poison = self.poison.contains(&request.number);
        let accepted = Outcome::of_status(if poison { 500 } else { 200 }, None);
        match self.behaviour(request.at) {
            Behaviour::Healthy => answer(accepted, quick),
            Behaviour::Slow => answer(accepted, dice.between(SECOND, 12 * SECOND)),
            Behaviour::Down(Unwell::Timeout) => answer(unwell(Unwell::Timeout), 15 * SECOND),
            Behaviour::Down(Unwell::Status(status)) => {
                answer(Outcome::of_status(status, None), quick)
            }
            Behaviour::Down(cause) => answer(unwell(cause), quick),
            Behaviour::Flapping(percent) if dice.chance(u64::from(percent)) => {
                answer(unwell(dice.pick(&[Unwell::Connect, Unwell::Status(502)])), quick)
            }
            Behaviour::Flapping(_) => answer(accepted, quick),
            Behaviour::Gone if request.url_version == 0 && dice.chance(70) => {
                answer(Outcome::of_status(410, None), quick)
            }
            Behaviour::Gone => answer(accepted, quick),
            Behaviour::Throttling(secs) => {
                let asked = Duration::from_secs(u64::from(secs));
                answer(Outcome::of_status(429, Some(asked)), quick)
            }
            Behaviour::RefusingEveryTenth if request.number.is_multiple_of(10) => {
                answer(Outcome::of_status(422, None), quick)
            }
            Behaviour::RefusingEveryTenth => answer(accepted, quick),
        }
    }
}

fn answer(outcome: Outcome, takes: Micros) -> Answer {
    Answer { outcome, takes }
}

fn unwell(cause: Unwell) -> Outcome {
    match cause {
        Unwell::Status(status) => Outcome::of_status(status, None),
        cause => Outcome::Unwell { cause, retry_after: None },
    }
}

fn behaviour(dice: &mut Dice) -> Behaviour {
    let causes = [
        Unwell::Connect,
        Unwell::Timeout,
        Unwell::Dns,
        Unwell::Status(500),
        Unwell::Status(500),
        Unwell::Status(503),
    ];
    match dice.index(12) {
        0..=3 => Behaviour::Healthy,
        4 => Behaviour::Slow,
        5 | 6 => Behaviour::Down(dice.pick(&causes)),
        7 | 8 => Behaviour::Flapping(dice.pick(&[10, 30, 60])),
        9 => Behaviour::RefusingEveryTenth,
        10 => Behaviour::Throttling(dice.pick(&[1, 30, 600, 3_600])),
        _ if dice.chance(40) => Behaviour::Gone,
        _ => Behaviour::Healthy,
    }
}

/// One that asks for a second at a time, for days, would only cost us simulated requests.
fn bound_throttling(segments: &mut Vec<(Micros, Behaviour)>) {
    let mut bounded = Vec::new();
    for (index, (from, behaviour)) in segments.iter().enumerate() {
        bounded.push((*from, *behaviour));
        let until = segments.get(index + 1).map_or(Micros::MAX, |(next, _)| *next);
        if matches!(behaviour, Behaviour::Throttling(secs) if *secs < 600) && until - from > HOUR {
            bounded.push((from + HOUR, Behaviour::Healthy));
        }
    }
    *segments = bounded;
}
