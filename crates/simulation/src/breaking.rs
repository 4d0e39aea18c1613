//! What breaks, and what that does to the world: parts that are away, things that are lost.
//!
//! A mishap that waits for a step of the shell is only armed here; the shell takes it when it gets
//! there.

use crate::clock::{Micros, SECOND};
use crate::restate::WakeCall;
use crate::scenario::What;
use crate::world::{Happening, World};

impl World<'_> {
    /// When the part that is away at this moment will be back.
    fn back(&self, lasts: impl Fn(What) -> Option<Micros>) -> Option<Micros> {
        let away = self.scenario.mishaps.iter().take_while(|mishap| mishap.at <= self.now);
        away.filter_map(|mishap| lasts(mishap.what).map(|lasts| mishap.at + lasts))
            .filter(|back| *back > self.now)
            .max()
    }

    pub(crate) fn workers_back(&self) -> Option<Micros> {
        self.back(|what| if let What::WorkersAway(lasts) = what { Some(lasts) } else { None })
    }

    /// When Restate reaches a worker again.
    pub(crate) fn reached_again(&self) -> Option<Micros> {
        let lasts = |what| if let What::Unreachable(lasts) = what { Some(lasts) } else { None };
        self.back(lasts).max(self.workers_back())
    }

    pub(crate) fn database_back(&self) -> Option<Micros> {
        self.back(|what| if let What::DatabaseAway(lasts) = what { Some(lasts) } else { None })
    }

    pub(crate) fn payloads_are_away(&self) -> bool {
        let lasts = |what| if let What::PayloadsAway(lasts) = what { Some(lasts) } else { None };
        self.back(lasts).is_some()
    }

    pub(crate) fn mishap(&mut self, what: What) {
        self.tally.mishaps += 1;
        self.witness.mishap(self.now, what);
        match what {
            What::WakeTwice => {
                if let Some(waiting) = self.object.inbox.front().copied() {
                    self.object.send(waiting.call, None);
                }
            }
            What::WakeLost => {
                self.object.inbox.pop_front();
            }
            What::TimerLost => {
                if let Some(timer) = self.object.timer {
                    self.object.cancel(timer.invocation);
                }
            }
            What::TimerOfBefore => {
                let generation = self.object.generation.saturating_sub(1);
                self.send(WakeCall::Timer { generation }, None);
            }
            What::WorkersAway(lasts) => {
                self.runs.clear();
                if let Some(running) = self.object.running {
                    self.after(lasts + SECOND, lasts + 2 * SECOND, Happening::Retry(running.id));
                }
                self.after(lasts, lasts + SECOND, Happening::Pop);
            }
            What::Unreachable(lasts) => {
                self.runs.values_mut().for_each(|run| run.is_given_up = true);
                if let Some(running) = self.object.running {
                    self.after(lasts + SECOND, lasts + 2 * SECOND, Happening::Retry(running.id));
                }
                self.after(lasts, lasts + SECOND, Happening::Pop);
            }
            What::RestateLost => {
                self.object.lose_everything();
                self.runs.values_mut().for_each(|run| run.is_given_up = true);
            }
            What::DatabaseAway(_) | What::PayloadsAway(_) => {}
            _ => self.armed.push(what),
        }
    }
}
