//! How many wakes an endpoint is sent while nobody looks at it.
//!
//! A wake that was sent and not looked for yet stands for whatever is announced meanwhile. So an
//! endpoint gets [`UNLOOKED_MAX`] wakes at most; those that come then are held until the database
//! says whether somebody looked. If so, they are sent as one, and it begins anew. If nobody did, they
//! need not be sent at all: the look that is still to come sees their rows, which every reader saw
//! before they were held. However long the workers are away, an endpoint has a handful of
//! invocations waiting for them. Restate may give a wake up meanwhile (it tries for half a minute), so
//! none stands for others without end: one more is sent after a minute, then after two, four, …
//!
//! Whether somebody looked is told by the endpoint's fence, which every look changes; a look that is
//! under way counts as one. It is a value: questions and answers are its caller's. What must never
//! happen: a delivery that is in no wake and for which none stands; a wake that counts before Kafka
//! has it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use domain::EndpointId;
use uuid::Uuid;

use crate::merge::Wake;

/// Wakes that an endpoint is sent without a look at it.
pub(crate) const UNLOOKED_MAX: u32 = 4;
/// The one with which it is worth a question, so that a healthy endpoint's wakes are hardly ever held.
const ASKED_WITH: u32 = UNLOOKED_MAX / 2;
/// How long the last of them stands for others; doubled each time.
const STANDS_FOR: Duration = Duration::from_secs(60);
/// Endpoints in one question.
const ASKED_MAX: usize = 1_000;
/// Endpoints that are remembered, about 100 bytes each; then those with nothing under way are
/// forgotten, which costs each of them a few wakes more.
const REMEMBERED_MAX: usize = 100_000;

/// What became of deliveries that were held.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict<R> {
    /// To be sent now.
    Send(Wake<R>),
    /// A wake before stands for these: they count as announced.
    StoodFor(Vec<u64>),
}

/// What an endpoint was sent.
#[derive(Debug)]
struct Sent<R> {
    /// As it was when the database was last asked; none: it was not, or somebody was looking.
    fence: Option<Uuid>,
    /// Wakes since then.
    wakes: u32,
    /// When the last of them was sent, and how long it stands for others.
    last: Option<(Instant, Duration)>,
    /// Wakes that Kafka has not acknowledged, those from before among them.
    unacknowledged: u32,
    held: Option<Wake<R>>,
    /// What was held when the question was asked: the answer is about this.
    asked: Option<Wake<R>>,
    /// Is it to be asked about?
    is_to_ask: bool,
}

/// The endpoints that were sent wakes and may not have been looked at.
#[derive(Debug)]
pub(crate) struct Unlooked<R> {
    endpoints: HashMap<EndpointId, Sent<R>>,
    /// Those with `is_to_ask`.
    to_ask: Vec<EndpointId>,
}

impl<R> Unlooked<R> {
    pub(crate) fn new() -> Self {
        Self { endpoints: HashMap::new(), to_ask: Vec::new() }
    }

    /// Takes a wake that is due; it comes back when it is to be sent now.
    pub(crate) fn offer(&mut self, wake: Wake<R>, now: Instant) -> Option<Wake<R>> {
        if self.endpoints.len() >= REMEMBERED_MAX && !self.endpoints.contains_key(&wake.endpoint) {
            self.endpoints.retain(|_, sent| sent.is_under_way());
        }
        let endpoint = wake.endpoint;
        let sent = self.endpoints.entry(endpoint).or_insert_with(Sent::nothing);
        if sent.wakes < UNLOOKED_MAX {
            sent.wakes += 1;
            sent.unacknowledged += 1;
            sent.last = Some((now, STANDS_FOR));
            if sent.wakes == ASKED_WITH {
                sent.ask(endpoint, &mut self.to_ask);
            }
            return Some(wake);
        }
        sent.hold(wake);
        sent.ask(endpoint, &mut self.to_ask);
        None
    }

    /// Kafka has a wake that [`Self::offer`] or a verdict gave.
    pub(crate) fn acknowledged(&mut self, endpoint: EndpointId) {
        if let Some(sent) = self.endpoints.get_mut(&endpoint) {
            sent.unacknowledged -= 1;
        }
    }

    /// Is there something to ask?
    pub(crate) const fn has_a_question(&self) -> bool {
        !self.to_ask.is_empty()
    }

    /// Whom to ask about now; the answer is about what is held by now. One question at a time.
    pub(crate) fn ask(&mut self) -> Vec<EndpointId> {
        let rest = self.to_ask.split_off(self.to_ask.len().min(ASKED_MAX));
        let asked = std::mem::replace(&mut self.to_ask, rest);
        for endpoint in &asked {
            if let Some(sent) = self.endpoints.get_mut(endpoint) {
                sent.is_to_ask = false;
                sent.asked = sent.held.take();
            }
        }
        asked
    }

    /// The answer about one of them; `fence`: none when somebody is looking just now, or there is no
    /// such endpoint.
    pub(crate) fn answered(
        &mut self,
        endpoint: EndpointId,
        fence: Option<Uuid>,
        now: Instant,
    ) -> Option<Verdict<R>> {
        let sent = self.endpoints.get_mut(&endpoint)?;
        if fence.is_none() || sent.fence != fence {
            // Only what is sent from now on can be known not to have been looked for.
            (sent.fence, sent.wakes) = (fence, 0);
            sent.hold_what_was_asked();
            let wake = sent.held.take()?;
            sent.wakes = 1;
            sent.unacknowledged += 1;
            sent.last = Some((now, STANDS_FOR));
            return Some(Verdict::Send(wake));
        }
        if let Some((at, stands_for)) = sent.last
            && now.duration_since(at) > stands_for
        {
            sent.hold_what_was_asked();
            let wake = sent.held.take()?;
            sent.unacknowledged += 1;
            sent.last = Some((now, stands_for * 2));
            return Some(Verdict::Send(wake));
        }
        let is_stood_for = sent.wakes > 0 && sent.unacknowledged == 0;
        let verdict = match sent.asked.take() {
            Some(asked) if is_stood_for => Some(Verdict::StoodFor(asked.stands_for)),
            asked => {
                sent.asked = asked;
                sent.hold_what_was_asked();
                None
            }
        };
        if sent.held.is_some() {
            sent.ask(endpoint, &mut self.to_ask);
        }
        verdict
    }

    /// There was no answer: it is asked again.
    pub(crate) fn unanswered(&mut self, endpoints: &[EndpointId]) {
        for endpoint in endpoints {
            if let Some(sent) = self.endpoints.get_mut(endpoint) {
                sent.hold_what_was_asked();
                sent.ask(*endpoint, &mut self.to_ask);
            }
        }
    }
}

impl<R> Sent<R> {
    const fn nothing() -> Self {
        Self {
            fence: None,
            wakes: 0,
            last: None,
            unacknowledged: 0,
            held: None,
            asked: None,
            is_to_ask: false,
        }
    }

    const fn is_under_way(&self) -> bool {
        self.unacknowledged > 0 || self.held.is_some() || self.asked.is_some() || self.is_to_ask
    }

    fn ask(&mut self, endpoint: EndpointId, to_ask: &mut Vec<EndpointId>) {
        if !self.is_to_ask {
            self.is_to_ask = true;
            to_ask.push(endpoint);
        }
    }

    fn hold(&mut self, wake: Wake<R>) {
        self.held = Some(match self.held.take() {
            Some(held) => held.and(wake),
            None => wake,
        });
    }

    fn hold_what_was_asked(&mut self) {
        if let Some(asked) = self.asked.take() {
            let newer = self.held.replace(asked);
            newer.into_iter().for_each(|wake| self.hold(wake));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashSet, VecDeque};

    use proptest::prelude::*;

    use super::*;

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
}
