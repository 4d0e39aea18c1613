//! An endpoint that is led through its rules by hand, every step checked against the invariants.

use std::time::Duration;

use domain::endpoint::invariants::{Step, broken};
use domain::endpoint::{
    Command, Decision, DeliveryFacts, Disposition, EndpointEvent, EndpointState, Jitter, Ordering,
    Policy, decide,
};
use domain::{DeliveryId, Outcome, Unwell};
use time::OffsetDateTime;
use time::macros::datetime;

pub(crate) const NOON: OffsetDateTime = datetime!(2026-01-05 12:00 UTC);
pub(crate) const HOUR_S: u64 = 3_600;
pub(crate) const DAY_S: u64 = 24 * HOUR_S;

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn id(n: u128) -> DeliveryId {
    uuid::Uuid::from_u128(n).into()
}

pub(crate) fn status(status: u16) -> Outcome {
    Outcome::of_status(status, None)
}

pub(crate) const NO_CONNECTION: Outcome =
    Outcome::Unwell { cause: Unwell::Connect, retry_after: None };

/// A delivery that was not attempted yet.
pub(crate) fn delivery(n: u128) -> DeliveryFacts {
    DeliveryFacts { id: id(n), attempts: 0, refusals: 0, first_attempt_at: None, poisonous: false }
}

pub(crate) struct Endpoint {
    pub(crate) state: EndpointState,
    pub(crate) policy: Policy,
    pub(crate) now: OffsetDateTime,
    pub(crate) journal: Vec<EndpointEvent>,
}

impl Endpoint {
    pub(crate) fn new(ordering: Ordering) -> Self {
        Self {
            state: EndpointState::default(),
            policy: Policy::default().with_ordering(ordering),
            now: NOON,
            journal: Vec::new(),
        }
    }

    pub(crate) fn tell(&mut self, command: Command) -> Decision {
        let decision = decide(&self.state, &self.policy, &command, self.now, Jitter::NONE);
        let after = decision.state_after(self.state);
        let step = Step {
            before: &self.state,
            policy: &self.policy,
            command: &command,
            now: self.now,
            decision: &decision,
            after: &after,
        };
        assert_eq!(broken(&step), None, "{step:#?}");
        self.state = after;
        self.journal.extend(&decision.events);
        decision
    }

    /// An attempt at `delivery` that takes no time.
    pub(crate) fn attempt(&mut self, delivery: DeliveryFacts, outcome: Outcome) -> Disposition {
        self.attempt_begun_at(self.now, delivery, outcome)
    }

    pub(crate) fn attempt_begun_at(
        &mut self,
        started_at: OffsetDateTime,
        delivery: DeliveryFacts,
        outcome: Outcome,
    ) -> Disposition {
        self.tell(Command::Settle { delivery, started_at, outcome }).disposition
    }

    /// Waits until it may be attempted again.
    pub(crate) fn wait(&mut self) {
        self.now = self.state.not_before.map_or(self.now, |until| until.max(self.now));
    }

    /// Attempts at `delivery`, each at its time.
    pub(crate) fn attempts(&mut self, times: u32, delivery: DeliveryFacts, outcome: Outcome) {
        for _ in 0..times {
            self.wait();
            self.attempt(delivery, outcome);
        }
    }
}
