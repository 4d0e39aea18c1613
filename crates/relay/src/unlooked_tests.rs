//! A wake that nobody looked for stands for others, and never for one that would be missed.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use domain::EndpointId;
use proptest::prelude::*;
use uuid::Uuid;

use crate::merge::Wake;
use crate::unlooked::{ASKED_WITH, REMEMBERED_MAX, STANDS_FOR, UNLOOKED_MAX, Unlooked, Verdict};

fn endpoint() -> EndpointId {
    Uuid::from_u128(1).into()
}

fn wake(number: u64) -> Wake<u64> {
    Wake { endpoint: endpoint(), record: number, stands_for: vec![number] }
}

#[test]
fn while_nobody_looks_an_endpoint_gets_a_handful_of_wakes_and_the_rest_is_stood_for() {
    let mut unlooked = Unlooked::new();
    let fence = Some(Uuid::from_u128(7));
    let (mut sent, mut sent_at, mut stood_for) = (0, Vec::new(), 0);
    let begun = Instant::now();
    // Three a second, for nearly an hour.
    for number in 0..10_000 {
        let now = begun + Duration::from_millis(333 * number);
        if unlooked.offer(wake(number), now).is_some() {
            sent += 1;
            unlooked.acknowledged(endpoint());
        }
        for endpoint in unlooked.ask() {
            match unlooked.answered(endpoint, fence, now) {
                Some(Verdict::Send(_)) => {
                    sent += 1;
                    sent_at.push(now);
                    unlooked.acknowledged(endpoint);
                }
                Some(Verdict::StoodFor(numbers)) => stood_for += numbers.len(),
                None => {}
            }
        }
    }
    assert!(sent <= ASKED_WITH + UNLOOKED_MAX + 6, "{sent} wakes");
    let again = begun + STANDS_FOR;
    let minutes = [again, again + 2 * STANDS_FOR, again + 6 * STANDS_FOR];
    for minute in minutes {
        let is_near = |at: &Instant| *at >= minute && *at < minute + Duration::from_secs(5);
        assert!(sent_at.iter().any(is_near), "none of them stands for others without end");
    }
    assert_eq!(sent as usize + stood_for, 10_000);
}

#[test]
fn an_endpoint_that_is_looked_at_is_never_held() {
    let mut unlooked = Unlooked::new();
    for number in 0..1_000 {
        let now = Instant::now();
        assert!(unlooked.offer(wake(number), now).is_some(), "{number} is held");
        unlooked.acknowledged(endpoint());
        for endpoint in unlooked.ask() {
            let fence = Some(Uuid::from_u128(number.into()));
            assert_eq!(unlooked.answered(endpoint, fence, now), None);
        }
    }
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut unlooked = Unlooked::new();
    for number in 0..(REMEMBERED_MAX as u64 + 10) {
        let endpoint = Uuid::from_u128(number.into()).into();
        let wake = Wake { endpoint, ..wake(number) };
        assert!(unlooked.offer(wake, Instant::now()).is_some());
        unlooked.acknowledged(endpoint);
    }
    assert!(unlooked.endpoints.len() <= 10);
}

/// One step of a run at one endpoint.
#[derive(Debug, Clone, Copy)]
enum Step {
    Commit,
    Acknowledge,
    Ask,
    Answer,
    NoAnswer,
    LookBegins,
    LookEnds,
    LookFails,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Commit),
        4 => Just(Step::Acknowledge),
        3 => Just(Step::Ask),
        3 => Just(Step::Answer),
        1 => Just(Step::NoAnswer),
        2 => Just(Step::LookBegins),
        2 => Just(Step::LookEnds),
        1 => Just(Step::LookFails),
    ];
    prop::collection::vec(step, 1..300)
}

/// An endpoint, its wakes on Kafka, and who looks. A look serves the wakes that were there when it
/// began, and sees what was committed by then; one that fails serves nobody.
#[derive(Default)]
struct World {
    committed: u64,
    seen: HashSet<u64>,
    /// Sent, not acknowledged: a look may serve them already.
    sent: VecDeque<Wake<u64>>,
    /// A wake is there for which nobody has looked.
    is_waiting: bool,
    /// What the look under way sees.
    looking: Option<u64>,
    fence: u128,
    /// The fence when the question reached the database, if one is under way.
    question: Option<(Vec<EndpointId>, Option<Uuid>)>,
    settled: HashSet<u64>,
}

impl World {
    fn send(&mut self, wake: Wake<u64>) {
        self.is_waiting = true;
        self.sent.push_back(wake);
    }

    fn acknowledge(&mut self, unlooked: &mut Unlooked<u64>) {
        if let Some(wake) = self.sent.pop_front() {
            self.settled.extend(wake.stands_for);
            unlooked.acknowledged(endpoint());
        }
    }

    fn answer(&mut self, unlooked: &mut Unlooked<u64>) {
        let Some((asked, fence)) = self.question.take() else { return };
        for endpoint in asked {
            match unlooked.answered(endpoint, fence, Instant::now()) {
                Some(Verdict::Send(wake)) => self.send(wake),
                Some(Verdict::StoodFor(numbers)) => self.settled.extend(numbers),
                None => {}
            }
        }
    }

    fn look(&mut self) {
        if let Some(seen) = self.looking.take() {
            self.seen.extend(0..seen);
            self.fence += 1;
        }
    }

    /// What counts as announced was seen, or a wake is there that will see it.
    fn nobody_is_missed(&self) -> bool {
        self.is_waiting || self.settled.iter().all(|number| self.seen.contains(number))
    }

    fn step(&mut self, step: Step, unlooked: &mut Unlooked<u64>) {
        match step {
            Step::Commit => {
                let number = self.committed;
                self.committed += 1;
                if let Some(wake) = unlooked.offer(wake(number), Instant::now()) {
                    self.send(wake);
                }
            }
            Step::Acknowledge => self.acknowledge(unlooked),
            Step::Ask if self.question.is_none() && unlooked.has_a_question() => {
                let fence = Uuid::from_u128(self.fence);
                let asked = unlooked.ask();
                self.question = Some((asked, self.looking.is_none().then_some(fence)));
            }
            Step::Answer => self.answer(unlooked),
            Step::NoAnswer => {
                if let Some((asked, _)) = self.question.take() {
                    unlooked.unanswered(&asked);
                }
            }
            Step::LookBegins if self.looking.is_none() && self.is_waiting => {
                self.is_waiting = false;
                self.looking = Some(self.committed);
            }
            Step::LookEnds => self.look(),
            // Whoever took it up does so again.
            Step::LookFails => self.is_waiting |= self.looking.take().is_some(),
            Step::Ask | Step::LookBegins => {}
        }
    }
}

proptest! {
    #[test]
    fn whatever_counts_as_announced_is_seen_by_a_look(steps in steps()) {
        let (mut world, mut unlooked) = (World::default(), Unlooked::new());
        for (at, step) in steps.iter().enumerate() {
            world.step(*step, &mut unlooked);
            if world.looking.is_none() {
                prop_assert!(world.nobody_is_missed(), "after step {at}: {step:?}");
            }
        }
        // At rest everything is announced, and was looked for.
        for _ in 0..10 {
            for step in [Step::Acknowledge, Step::Answer, Step::Ask, Step::LookEnds] {
                for _ in 0..300 {
                    world.step(step, &mut unlooked);
                }
            }
            world.step(Step::LookBegins, &mut unlooked);
        }
        world.look();
        prop_assert_eq!(world.settled.len() as u64, world.committed, "all count in the end");
        prop_assert!(world.nobody_is_missed());
    }
}
