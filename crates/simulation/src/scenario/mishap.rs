//! Mishaps: what breaks on our side, and where.
//!
//! Some break a step of the shell the next time it is taken, some last for a while. Each is data
//! with a time, so that it can be left out of a run.

use super::{Payment, moments};
use crate::clock::{DAY, HOUR, MILLI, MINUTE, Micros, SECOND};
use crate::dice::Dice;

/// Something that breaks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mishap {
    /// When it happens, or from when on it is waited for.
    pub(crate) at: Micros,
    pub(crate) what: What,
}

/// A step of the shell at which a run may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    BeforeLook,
    AfterLook,
    BeforeAttempt,
    /// The request is out; its answer will be lost.
    DuringAttempt,
    BeforeSettle,
    AfterSettle,
    /// The slice is done; its result is not recorded.
    BeforeAcknowledgement,
    /// It is recorded; the next step is not begun.
    AfterAcknowledgement,
}

/// What breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// The worker dies at this step; Restate tries again.
    Crash(Point),
    /// The run is frozen at this step, for so long; Restate takes it for dead and starts another,
    /// and then it thaws: a zombie.
    Freeze(Point, Micros),
    /// Somebody kills the invocation at this step: what it had not yet left is lost.
    Kill(Point),
    /// PostgreSQL's answer to the next settle is lost: it is settled again.
    AnswerLost,
    /// The next record comes so much later.
    RecordLate(Micros),
    RecordLost,
    RecordTwice,
    /// The wake that waits longest is sent once more.
    WakeTwice,
    /// The wake that waits longest is cancelled.
    WakeLost,
    /// The armed timer is cancelled.
    TimerLost,
    /// A timer fires that was armed before the present one.
    TimerOfBefore,
    /// Restate does not take the wake that follows the next command.
    OrderUnheard,
    /// All workers are away.
    WorkersAway(Micros),
    DatabaseAway(Micros),
    /// The data service is away: no payload can be had.
    PayloadsAway(Micros),
    /// Restate takes what is sent to it and reaches no worker.
    Unreachable(Micros),
    /// All of Restate's data is gone: state, timers, inboxes.
    RestateLost,
}

impl What {
    /// May it lose a record, a timer or a wake, so that the sweeper has something to find?
    pub(crate) const fn may_lose(self) -> bool {
        match self {
            Self::Crash(_)
            | Self::AnswerLost
            | Self::RecordTwice
            | Self::WakeTwice
            | Self::TimerOfBefore
            | Self::PayloadsAway(_) => false,
            // A frozen run holds its key until Restate gives it up; workers and the database may be
            // away for longer than the sweeper's patience.
            Self::Freeze(..)
            | Self::Kill(_)
            | Self::RecordLate(_)
            | Self::RecordLost
            | Self::WakeLost
            | Self::TimerLost
            | Self::OrderUnheard
            | Self::WorkersAway(_)
            | Self::DatabaseAway(_)
            | Self::Unreachable(_)
            | Self::RestateLost => true,
        }
    }
}

impl Mishap {
    /// When it is over, at the latest.
    pub(super) fn is_over_at(&self) -> Micros {
        match self.what {
            What::RecordLate(lasts)
            | What::Freeze(_, lasts)
            | What::WorkersAway(lasts)
            | What::DatabaseAway(lasts)
            | What::Unreachable(lasts)
            | What::PayloadsAway(lasts) => self.at + lasts,
            _ => self.at,
        }
    }
}

const POINTS: [Point; 8] = [
    Point::BeforeLook,
    Point::AfterLook,
    Point::BeforeAttempt,
    Point::DuringAttempt,
    Point::BeforeSettle,
    Point::AfterSettle,
    Point::BeforeAcknowledgement,
    Point::AfterAcknowledgement,
];

fn what(dice: &mut Dice, harmless: bool) -> What {
    let point = dice.pick(&POINTS);
    match dice.index(if harmless { 9 } else { 22 }) {
        0..=4 => What::Crash(point),
        5 => What::AnswerLost,
        6 => What::RecordTwice,
        7 => What::WakeTwice,
        8 => What::TimerOfBefore,
        9 | 10 => What::Freeze(point, dice.between(SECOND, 3 * MINUTE)),
        11 => What::Kill(point),
        12 => What::RecordLate(dice.pick(&[100 * MILLI, 5 * SECOND, HOUR, 2 * DAY])),
        13 => What::RecordLost,
        14 => What::WakeLost,
        15 => What::TimerLost,
        16 => What::WorkersAway(dice.pick(&[10 * SECOND, 10 * MINUTE, 6 * HOUR, 6 * DAY])),
        17 => What::DatabaseAway(dice.pick(&[SECOND, 5 * SECOND, MINUTE, HOUR])),
        18 => What::PayloadsAway(dice.pick(&[10 * SECOND, HOUR, 6 * HOUR])),
        19 => What::OrderUnheard,
        20 => What::Unreachable(dice.pick(&[10 * SECOND, 5 * MINUTE, HOUR])),
        _ => What::RestateLost,
    }
}

pub(super) fn generate(dice: &mut Dice, payments: &[Payment], horizon: Micros) -> Vec<Mishap> {
    let harmless = dice.chance(35);
    let count = dice.between(1, 25);
    let mut mishaps: Vec<Mishap> = moments(dice, count, horizon)
        .into_iter()
        .map(|at| Mishap { at, what: what(dice, harmless) })
        .collect();
    // Most of the time nothing is under way; so many of them wait where something will be.
    for mishap in &mut mishaps {
        if dice.chance(60) && !payments.is_empty() {
            let near = payments[dice.index(payments.len())].commits_at;
            mishap.at = near + dice.between(-10 * MILLI, 200 * MILLI);
        }
    }
    mishaps.sort_by_key(|mishap| mishap.at);
    mishaps
}
