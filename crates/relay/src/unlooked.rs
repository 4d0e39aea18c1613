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
pub(crate) const ASKED_WITH: u32 = UNLOOKED_MAX / 2;
/// How long the last of them stands for others; doubled each time.
pub(crate) const STANDS_FOR: Duration = Duration::from_secs(60);
/// Endpoints in one question.
const ASKED_MAX: usize = 1_000;
/// Endpoints that are remembered, about 100 bytes each; then those with nothing under way are
/// forgotten, which costs each of them a few wakes more.
pub(crate) const REMEMBERED_MAX: usize = 100_000;

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
pub(crate) struct Sent<R> {
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
    pub(crate) endpoints: HashMap<EndpointId, Sent<R>>,
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
