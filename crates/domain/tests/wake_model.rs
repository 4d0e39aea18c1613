//! The merge rule of notify and wake, against every interleaving of a few transactions' commit,
//! notify, acknowledgement, look and crash.
//!
//! The model is an explicit-state search over the product's own rule (`domain::wake`): whenever
//! nothing can move any more, every committed delivery must have been delivered. It must be able
//! to fail: with the last look left out, or no timer armed by a wake that ends because the whole
//! endpoint waits, it finds the delivery that is missed.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use domain::wake::{Next, SliceEnd, after_slice, raised, runs};

/// Transactions in the model, one delivery each.
const DELIVERIES: usize = 3;
/// A look returns at most this many.
const LIMIT: usize = 2;
/// Crashes in one run, at most.
const CRASHES: u8 = 1;
/// Wakes without a counter (a timer, a command) in one run, at most.
const PLAIN_WAKES: u8 = 1;
/// Slices in one run that find the endpoint unwell, at most.
const UNWELL: u8 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Delivery {
    /// Its transaction is open: nobody sees it.
    Open,
    /// Committed and visible; its record is on the topic.
    Announced,
    /// Its notify has read the counter and is about to send.
    Read(u64),
    /// Its notify has sent.
    Notified,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Running {
    key: Option<u64>,
    slices: u32,
    /// What the current slice's look saw; none before it looks.
    looked: Option<SliceEnd>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    deliveries: [Delivery; DELIVERIES],
    delivered: BTreeSet<usize>,
    /// The counter, as notifies read it.
    looks: u64,
    /// Raised by the running wake, not yet seen by notifies.
    raised: Option<u64>,
    inbox: Vec<Option<u64>>,
    running: Option<Running>,
    crashes: u8,
    plain_wakes: u8,
    unwell: u8,
    /// The whole endpoint waits.
    waits: bool,
    /// Its timer is armed; when it fires, the wait is over.
    timer: bool,
    /// Does a wake that ends while the endpoint waits arm the timer? The product's does.
    arms: bool,
    /// Was the endpoint deleted? Then who is delivered is cancelled, and a wake that ends forgets the
    /// counter.
    is_deleted: bool,
}

type Rule = fn(u32, SliceEnd) -> Next;

fn product_rule(slices: u32, end: SliceEnd) -> Next {
    after_slice(slices, Duration::ZERO, end)
}

/// The rule without the last look: it ends as soon as a look found no more.
fn without_the_last_look(slices: u32, end: SliceEnd) -> Next {
    if end.more { after_slice(slices, Duration::ZERO, end) } else { Next::End }
}

/// Hands over after every second slice, so that hand-overs are part of the search.
fn impatient(slices: u32, end: SliceEnd) -> Next {
    match product_rule(slices, end) {
        Next::LookAgain if slices >= 2 => Next::HandOver,
        next => next,
    }
}

impl World {
    fn new(arms: bool) -> Self {
        Self {
            deliveries: [Delivery::Open; DELIVERIES],
            delivered: BTreeSet::new(),
            looks: 0,
            raised: None,
            inbox: Vec::new(),
            running: None,
            crashes: 0,
            plain_wakes: 0,
            unwell: 0,
            waits: false,
            timer: false,
            arms,
            is_deleted: false,
        }
    }

    /// Sends a wake; with a key, one that waits or runs under that key swallows it.
    fn send(&mut self, key: Option<u64>) {
        let running = self.running.as_ref().is_some_and(|running| running.key == key);
        if key.is_some() && (running || self.inbox.contains(&key)) {
            return;
        }
        self.inbox.push(key);
    }

    fn visible(&self, index: usize) -> bool {
        self.deliveries[index] != Delivery::Open
    }

    /// A look and its slice: what is visible is delivered, up to the limit.
    fn look(&mut self) -> SliceEnd {
        if self.waits {
            return SliceEnd { more: false, waits: true };
        }
        let due: Vec<usize> = (0..DELIVERIES)
            .filter(|index| self.visible(*index) && !self.delivered.contains(index))
            .take(LIMIT)
            .collect();
        let more = due.len() == LIMIT;
        self.delivered.extend(due);
        SliceEnd { more, waits: false }
    }

    fn steps(&self, rule: Rule) -> Vec<World> {
        let mut next = Vec::new();
        for index in 0..DELIVERIES {
            self.step_delivery(index, &mut next);
        }
        if self.plain_wakes < PLAIN_WAKES {
            let mut world = self.clone();
            world.plain_wakes += 1;
            world.send(None);
            next.push(world);
        }
        if self.timer {
            let mut world = self.clone();
            (world.timer, world.waits) = (false, false);
            world.send(None);
            next.push(world);
        }
        if let Some(raised) = self.raised {
            // The counter may become visible at any moment until the first slice is acknowledged.
            let mut world = self.clone();
            world.looks = raised;
            world.raised = None;
            next.push(world);
        }
        match &self.running {
            None => self.step_begin(&mut next),
            Some(running) => self.step_wake(running, rule, &mut next),
        }
        next
    }

    fn step_delivery(&self, index: usize, next: &mut Vec<World>) {
        let mut world = self.clone();
        world.deliveries[index] = match self.deliveries[index] {
            Delivery::Open => Delivery::Announced,
            Delivery::Announced => Delivery::Read(self.looks),
            Delivery::Read(looks) => {
                world.send(Some(looks));
                Delivery::Notified
            }
            Delivery::Notified => return,
        };
        next.push(world);
    }

    fn step_begin(&self, next: &mut Vec<World>) {
        let Some(key) = self.inbox.first().copied() else { return };
        let mut world = self.clone();
        world.inbox.remove(0);
        if runs(key, self.looks) {
            world.raised = Some(raised(key, self.looks));
            world.running = Some(Running { key, slices: 0, looked: None });
        }
        next.push(world);
    }

    fn step_wake(&self, running: &Running, rule: Rule, next: &mut Vec<World>) {
        if self.crashes < CRASHES {
            // The step that was not acknowledged runs again; what it settled stays settled.
            let mut world = self.clone();
            world.crashes += 1;
            world.running = Some(Running { looked: None, ..running.clone() });
            next.push(world);
        }
        let mut world = self.clone();
        let Some(end) = running.looked else {
            if self.unwell < UNWELL && !self.is_deleted {
                // The first request finds the endpoint unwell.
                let mut world = self.clone();
                (world.unwell, world.waits) = (self.unwell + 1, true);
                let end = world.look();
                world.running = Some(Running { looked: Some(end), ..running.clone() });
                next.push(world);
            }
            let end = world.look();
            world.running = Some(Running { looked: Some(end), ..running.clone() });
            next.push(world);
            return;
        };
        // The acknowledgement of a slice comes after that of the state that was set before it.
        if let Some(raised) = world.raised.take() {
            world.looks = raised;
        }
        let slices = running.slices + 1;
        match rule(slices, end) {
            Next::LookAgain => {
                world.running = Some(Running { slices, looked: None, ..running.clone() });
            }
            Next::End => {
                world.running = None;
                world.timer |= end.waits && world.arms;
                if world.is_deleted {
                    world.looks = 0;
                }
            }
            Next::HandOver => {
                let looks = world.looks;
                world.send(Some(looks));
                world.running = None;
            }
        }
        next.push(world);
    }
}

/// Searches every interleaving; the world in which a delivery is missed, if there is one.
fn search(rule: Rule, arms: bool) -> (usize, Option<World>) {
    search_from(World::new(arms), rule)
}

fn search_from(world: World, rule: Rule) -> (usize, Option<World>) {
    let mut seen = HashSet::new();
    let mut open = vec![world];
    while let Some(world) = open.pop() {
        if !seen.insert(world.clone()) {
            continue;
        }
        assert!(world.inbox.len() <= 4, "the inbox grows: {world:?}");
        // What is committed must be delivered without anybody's further help.
        let settled = world.deliveries.iter().all(|d| *d == Delivery::Notified);
        if settled && world.running.is_none() && world.inbox.is_empty() && !world.timer {
            let missed = (0..DELIVERIES).any(|index| !world.delivered.contains(&index));
            if missed {
                return (seen.len(), Some(world));
            }
        }
        open.extend(world.steps(rule));
    }
    (seen.len(), None)
}

#[test]
fn no_interleaving_misses_a_delivery() {
    let (states, missed) = search(product_rule, true);
    assert!(states > 10_000, "only {states} states: the model is too small to mean anything");
    assert_eq!(missed, None);
}

#[test]
fn no_interleaving_misses_a_delivery_when_wakes_hand_over() {
    assert_eq!(search(impatient, true).1, None);
}

#[test]
fn no_interleaving_misses_who_commits_after_the_endpoint_was_deleted() {
    // Its counter is wherever it was.
    for looks in 0..3 {
        let world = World { looks, is_deleted: true, ..World::new(true) };
        assert_eq!(search_from(world, product_rule).1, None);
    }
}

#[test]
fn the_model_finds_the_delivery_that_is_missed_when_the_last_look_is_left_out() {
    assert!(search(without_the_last_look, true).1.is_some());
}

#[test]
fn the_model_finds_the_delivery_that_is_missed_when_no_timer_is_armed() {
    assert!(search(product_rule, false).1.is_some());
}
