//! The merge window: many announcements for one endpoint become one wake.
//!
//! The first announcement for an endpoint goes out at once and opens a window; those that follow
//! within it become one, at its end. Then the window is closed, and the next announcement is a
//! first one again. So a burst costs an endpoint at most two wakes per window, and a single event
//! none of its latency.
//!
//! The window is a value: the time is an argument. What must never happen: a delivery that is in
//! no wake sent after it was seen; memory for endpoints that are quiet.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use domain::EndpointId;

/// How long announcements wait for others. Restate pops a long inbox slowly: one record per
/// delivery makes a burst at one endpoint a wall for all others on its partition.
pub(crate) const WINDOW: Duration = Duration::from_millis(25);

/// A wake that is to be sent now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wake<R> {
    /// The key.
    pub(crate) endpoint: EndpointId,
    /// The record that announces: of the last one it stands for.
    pub(crate) record: R,
    /// The numbers of all the announcements that it stands for; never empty.
    pub(crate) stands_for: Vec<u64>,
}

impl<R> Wake<R> {
    /// One wake for both; `newer` has the record.
    pub(crate) fn and(mut self, newer: Self) -> Self {
        self.stands_for.extend(newer.stands_for);
        Self { stands_for: self.stands_for, ..newer }
    }
}

#[derive(Debug)]
struct Waiting<R> {
    record: R,
    stands_for: Vec<u64>,
}

/// The windows that are open.
#[derive(Debug)]
pub(crate) struct Merge<R> {
    window: Duration,
    // Some: what waits for the window's end.
    open: HashMap<EndpointId, Option<Waiting<R>>>,
    // In the order in which they end: all windows are of one length.
    ends: VecDeque<(Instant, EndpointId)>,
}

impl<R> Merge<R> {
    pub(crate) fn new(window: Duration) -> Self {
        Self { window, open: HashMap::new(), ends: VecDeque::new() }
    }

    /// Takes an announcement; the wake, when it goes out at once.
    pub(crate) fn announce(
        &mut self,
        endpoint: EndpointId,
        number: u64,
        record: R,
        now: Instant,
    ) -> Option<Wake<R>> {
        match self.open.get_mut(&endpoint) {
            None => {
                self.open.insert(endpoint, None);
                self.ends.push_back((now + self.window, endpoint));
                return Some(Wake { endpoint, record, stands_for: vec![number] });
            }
            Some(Some(waiting)) => {
                waiting.record = record;
                waiting.stands_for.push(number);
            }
            Some(none) => *none = Some(Waiting { record, stands_for: vec![number] }),
        }
        None
    }

    /// When the next window ends.
    pub(crate) fn next_end(&self) -> Option<Instant> {
        self.ends.front().map(|(end, _)| *end)
    }

    /// Closes the windows that have ended; what waited in them goes out now.
    pub(crate) fn close_ended(&mut self, now: Instant) -> Vec<Wake<R>> {
        let mut wakes = Vec::new();
        while let Some((end, endpoint)) = self.ends.front().copied()
            && end <= now
        {
            self.ends.pop_front();
            if let Some(Some(Waiting { record, stands_for })) = self.open.remove(&endpoint) {
                wakes.push(Wake { endpoint, record, stands_for });
            }
        }
        wakes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn endpoint(n: u8) -> EndpointId {
        Uuid::from_u128(u128::from(n)).into()
    }

    #[test]
    fn the_first_goes_at_once_and_those_that_follow_become_one_at_the_end() {
        let mut merge = Merge::new(WINDOW);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let first = merge.announce(endpoint(1), 1, "a", at(0)).expect("at once");
        assert_eq!(first.stands_for, [1]);
        assert_eq!(merge.announce(endpoint(1), 2, "b", at(1)), None);
        assert_eq!(merge.announce(endpoint(1), 3, "c", at(24)), None);
        assert!(merge.announce(endpoint(2), 4, "d", at(24)).is_some(), "another endpoint");
        assert_eq!(merge.close_ended(at(24)), []);
        let merged = Wake { endpoint: endpoint(1), record: "c", stands_for: vec![2, 3] };
        assert_eq!(merge.close_ended(at(25)), [merged]);
        assert!(merge.announce(endpoint(1), 5, "e", at(26)).is_some(), "a first one again");
    }

    #[test]
    fn a_window_in_which_nothing_came_sends_nothing_and_is_forgotten() {
        let mut merge = Merge::new(WINDOW);
        let start = Instant::now();
        merge.announce(endpoint(1), 1, (), start);
        assert_eq!(merge.close_ended(start + WINDOW), []);
        assert_eq!(merge.next_end(), None);
        assert!(merge.open.is_empty());
    }

    proptest! {
        // A run: announcements and looks at the clock, at times that only grow.
        #[test]
        fn every_announcement_is_in_exactly_one_wake_sent_after_it_and_within_the_window(
            steps in prop::collection::vec((0_u8..4, 0_u64..20, any::<bool>()), 1..200)
        ) {
            let mut merge = Merge::new(WINDOW);
            let start = Instant::now();
            let mut now = start;
            let mut seen = HashMap::new();
            let mut sent: HashMap<u64, Instant> = HashMap::new();
            let mut last_record = HashMap::new();
            let mut take = |wake: Wake<u64>, now: Instant, last: &HashMap<EndpointId, u64>| {
                assert_eq!(Some(&wake.record), last.get(&wake.endpoint), "the newest announces");
                for number in wake.stands_for {
                    assert!(sent.insert(number, now).is_none(), "{number} is in two wakes");
                }
            };
            for (number, (key, pause_ms, announces)) in (0_u64..).zip(steps) {
                now += Duration::from_millis(pause_ms);
                // The shell wakes up at a window's end: nothing is announced before it is closed.
                while let Some(end) = merge.next_end() && end <= now {
                    for wake in merge.close_ended(end) {
                        take(wake, end, &last_record);
                    }
                }
                if announces {
                    seen.insert(number, now);
                    last_record.insert(endpoint(key), number);
                    if let Some(wake) = merge.announce(endpoint(key), number, number, now) {
                        take(wake, now, &last_record);
                    }
                }
                prop_assert!(merge.open.len() <= 4, "memory is bounded by who was heard of now");
                prop_assert_eq!(merge.open.len(), merge.ends.len());
            }
            while let Some(end) = merge.next_end() {
                for wake in merge.close_ended(end) {
                    take(wake, end, &last_record);
                }
            }
            prop_assert!(merge.open.is_empty(), "quiet endpoints cost nothing");
            for (number, at) in &seen {
                let sent = sent.get(number);
                prop_assert!(sent.is_some(), "{number} was swallowed");
                let delay = sent.map(|sent| sent.duration_since(*at));
                prop_assert!(delay <= Some(WINDOW), "{number} waited for {delay:?}");
            }
            prop_assert_eq!(sent.len(), seen.len());
        }
    }
}
