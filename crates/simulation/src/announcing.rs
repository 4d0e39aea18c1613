//! How a commit becomes a wake: the relay, which merges, and `notify`, which reads the counter.
//!
//! A record announces; it carries no truth. It may come late, twice or never.

use crate::clock::{MILLI, Micros};
use crate::scenario::What;
use crate::world::{Happening, World};

/// The relay merges announcements for so long.
const MERGE: Micros = 25 * MILLI;

impl World<'_> {
    /// The relay: the first announcement goes out at once, those that follow soon become one.
    pub(crate) fn announce(&mut self) {
        if self.now < self.merges_until {
            self.merged = true;
            return;
        }
        self.merges_until = self.now + MERGE;
        self.at(self.merges_until, Happening::MergeEnds);
        self.send_record();
    }

    pub(crate) fn send_record(&mut self) {
        let mishap = self.take_armed(|what| {
            matches!(what, What::RecordLost | What::RecordLate(_) | What::RecordTwice)
        });
        match mishap {
            Some(What::RecordLost) => {}
            Some(What::RecordLate(late)) => self.after(late, late, Happening::Record),
            Some(_) => {
                self.after(2 * MILLI, 10 * MILLI, Happening::Record);
                self.after(2 * MILLI, 100 * MILLI, Happening::Record);
            }
            None => self.after(2 * MILLI, 10 * MILLI, Happening::Record),
        }
    }

    pub(crate) fn notify(&mut self) {
        if let Some(back) = self.reached_again() {
            return self.at(back + 10 * MILLI, Happening::Record);
        }
        let looks = self.object.looks;
        self.after(MILLI, 6 * MILLI, Happening::NotifySends(looks));
    }
}
