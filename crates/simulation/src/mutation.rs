//! Planted bugs: each makes the rules or the shell wrong in one way that somebody might write.
//!
//! They live here and not in the product: the simulation asks the product's rules and spoils the
//! answer, or leaves a step of the shell out. Each must be caught, or the checks prove nothing.

use domain::endpoint::{
    Command, Decision, DeliveryFacts, DisabledReason, Disposition, EnabledBecause, EndpointEvent,
    EndpointState, FinishReason, Jitter, Ordering, Policy, Status, decide, next_up,
};
use domain::{Outcome, Unwell};
use time::OffsetDateTime;

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    // Of the rules.
    /// A strict endpoint's refused event steps aside.
    StrictStepsAside,
    /// Nobody is ever found poisonous.
    ConvictsNobody,
    /// Probes never leave the head.
    WalksNot,
    /// An unwell endpoint is asked again at once.
    WaitsNot,
    /// The time of our own outages counts as the merchant's.
    OutageCounts,
    /// A fault of ours counts as the merchant's.
    FaultCounts,
    /// An endpoint that is unwell for days is never disabled.
    NeverDisables,
    /// An answer enables an endpoint that said 410.
    AnswerEnablesGone,
    /// A paused endpoint is sent to.
    PausedSends,
    /// What an unwell endpoint exhausts takes a day and not the whole span.
    ExhaustsEarly,
    /// An endpoint that is disabled loses its head to answers of 5xx.
    DisabledUsesUp,
    /// A new URL enables what an operator has disabled.
    NewUrlEnablesAll,
    /// A refused event is tried for ever.
    RefusedForEver,
    /// All lanes are back at once after a recovery.
    RampSkipped,
    /// Two attempts at once at an ordered endpoint.
    TwoAtOnce,
    /// Attempts that began together count one by one.
    StaleCounts,
    // Of the shell.
    /// A wake ends as soon as a look found no more.
    LastLookLeftOut,
    /// A wake takes an endpoint with a daily probe for one that waits for an operator.
    DisabledTakenForWaiting,
    /// A settle does not look at the fence.
    FenceIgnored,
    /// A run that thaws goes on sending.
    FreshnessIgnored,
    /// A settle does not look at the version.
    VersionIgnored,
    /// A settle that is repeated is written again.
    SettledTwice,
    /// The state is written and its events are not.
    EventsForgotten,
    /// Every notify uses the same key.
    OneKeyForAll,
    /// A timer that is armed stays, also when something is due earlier.
    LaterTimerStays,
    /// A timer is armed and the old one is not cancelled.
    TimerNotCancelled,
    /// No timer is armed for deliveries that stepped aside.
    AsideNotTimed,
    /// A command that is repeated is obeyed again.
    CommandTwice,
    /// A crash makes the worker take the outcome in hand for settled.
    LostOutcomeTakenForSettled,
    /// The sweeper sends a wake each round, whoever waits already.
    SweepsWithoutKey,
    /// The sweeper takes what has just become due, where nobody looked for long, for neglected.
    SweepsWhatIsFresh,
    /// A slice goes on with its line after a command has come in between.
    LineOutlivesCommand,
    /// A slice goes on with its line after the configuration has changed.
    LineOutlivesChange,
    /// A slice does not hear who was found poisonous meanwhile.
    LineKnowsNoPoison,
    /// The question of the last look is asked before the look before it was acknowledged.
    QuestionAskedEarly,
    /// The question passes over those that stepped aside.
    QuestionForgetsAside,
    /// What the slice before said is believed though something happened since.
    QuestionForgetsEvents,
    // Of a deletion.
    /// A look does not see that the endpoint was deleted.
    DeletedLookedAt,
    /// A slice cancels what fits into one statement and says that this was all.
    CancelsOnce,
    /// The object of a deleted endpoint keeps its state.
    DeletionLeavesState,
    /// The sweeper does not look for deleted endpoints at which nobody looked.
    DeletedNotSwept,
    /// A wake that was sent for a counter that was forgotten since is taken for an old one.
    ForgottenCounterIsOld,
}

impl Mutation {
    /// Every one of them.
    pub const ALL: [Self; 42] = [
        Self::StrictStepsAside,
        Self::ConvictsNobody,
        Self::WalksNot,
        Self::WaitsNot,
        Self::OutageCounts,
        Self::FaultCounts,
        Self::NeverDisables,
        Self::AnswerEnablesGone,
        Self::PausedSends,
        Self::ExhaustsEarly,
        Self::DisabledUsesUp,
        Self::NewUrlEnablesAll,
        Self::RefusedForEver,
        Self::RampSkipped,
        Self::TwoAtOnce,
        Self::StaleCounts,
        Self::LastLookLeftOut,
        Self::DisabledTakenForWaiting,
        Self::FenceIgnored,
        Self::FreshnessIgnored,
        Self::VersionIgnored,
        Self::SettledTwice,
        Self::EventsForgotten,
        Self::OneKeyForAll,
        Self::LaterTimerStays,
        Self::TimerNotCancelled,
        Self::AsideNotTimed,
        Self::CommandTwice,
        Self::LostOutcomeTakenForSettled,
        Self::SweepsWithoutKey,
        Self::SweepsWhatIsFresh,
        Self::LineOutlivesCommand,
        Self::LineOutlivesChange,
        Self::LineKnowsNoPoison,
        Self::QuestionAskedEarly,
        Self::QuestionForgetsAside,
        Self::QuestionForgetsEvents,
        Self::DeletedLookedAt,
        Self::CancelsOnce,
        Self::DeletionLeavesState,
        Self::DeletedNotSwept,
        Self::ForgottenCounterIsOld,
    ];
}

/// The product's rules, spoiled by at most one bug.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules(pub(crate) Option<Mutation>);

impl Rules {
    pub(crate) fn has(self, mutation: Mutation) -> bool {
        self.0 == Some(mutation)
    }

    pub(crate) fn next_up(
        self,
        state: &EndpointState,
        policy: &Policy,
        line: &[DeliveryFacts],
        in_flight: usize,
        now: OffsetDateTime,
    ) -> Option<usize> {
        let mut state = *state;
        let mut in_flight = in_flight;
        match self.0 {
            Some(Mutation::PausedSends) if matches!(state.status, Status::Paused { .. }) => {
                state.status = Status::Active;
            }
            Some(Mutation::DeletedLookedAt) if !state.may_send() => state.status = Status::Active,
            Some(Mutation::WalksNot) => state.walk = domain::endpoint::Walk::default(),
            Some(Mutation::TwoAtOnce) if policy.ordering == Ordering::Ordered => {
                in_flight = in_flight.saturating_sub(1);
            }
            _ => {}
        }
        next_up(&state, policy, line, in_flight, now)
    }

    pub(crate) fn decide(
        self,
        state: &EndpointState,
        policy: &Policy,
        command: &Command,
        now: OffsetDateTime,
        jitter: Jitter,
    ) -> Decision {
        let Some(mutation) = self.0 else { return decide(state, policy, command, now, jitter) };
        let told = match *command {
            Command::Settle { delivery, started_at, outcome: Outcome::Fault { .. } }
                if mutation == Mutation::FaultCounts =>
            {
                let outcome = Outcome::Unwell { cause: Unwell::Connect, retry_after: None };
                Command::Settle { delivery, started_at, outcome }
            }
            Command::Settle { delivery, outcome, .. } if mutation == Mutation::StaleCounts => {
                Command::Settle { delivery, started_at: now, outcome }
            }
            command => command,
        };
        let mut decision = decide(state, policy, &told, now, jitter);
        spoil(mutation, state, &told, now, &mut decision);
        decision
    }
}

fn spoil(
    mutation: Mutation,
    state: &EndpointState,
    command: &Command,
    now: OffsetDateTime,
    decision: &mut Decision,
) {
    let events = &mut decision.events;
    match mutation {
        Mutation::StrictStepsAside if decision.disposition == Disposition::Block => {
            let until = now + time::Duration::seconds(5);
            decision.disposition = Disposition::StepAside { until, refused: true };
            events.retain(|event| !matches!(event, EndpointEvent::Blocked { .. }));
        }
        Mutation::ConvictsNobody => {
            events.retain(|event| !matches!(event, EndpointEvent::FoundPoisonous { .. }));
        }
        Mutation::NeverDisables => events.retain(|event| {
            !matches!(event, EndpointEvent::Disabled { reason: DisabledReason::Unwell, .. })
        }),
        Mutation::AnswerEnablesGone
            if matches!(state.status, Status::Disabled { reason: DisabledReason::Gone, .. })
                && decision.disposition == Disposition::Finish(FinishReason::Delivered) =>
        {
            events.push(EndpointEvent::Enabled { because: EnabledBecause::Probe, at: now });
        }
        Mutation::ExhaustsEarly => {
            let Command::Settle { delivery, .. } = command else { return };
            let age = delivery.first_attempt_at.map_or(time::Duration::ZERO, |first| now - first);
            let fails = events.iter().any(|e| matches!(e, EndpointEvent::FoundUnwell { .. }));
            if fails && age >= time::Duration::DAY {
                decision.disposition = Disposition::Finish(FinishReason::Unwell);
            }
        }
        Mutation::DisabledUsesUp => {
            let is_disabled =
                matches!(state.status, Status::Disabled { reason: DisabledReason::Unwell, .. });
            let is_a_500 = |event: &EndpointEvent| {
                let cause = Unwell::Status(500);
                matches!(event, EndpointEvent::FoundUnwell { cause: seen, .. } if *seen == cause)
            };
            if is_disabled && events.iter().any(is_a_500) {
                decision.disposition = Disposition::Finish(FinishReason::Unwell);
            }
        }
        Mutation::NewUrlEnablesAll => {
            let is_of_an_operator =
                matches!(state.status, Status::Disabled { reason: DisabledReason::Operator, .. });
            if is_of_an_operator && *command == Command::UrlChanged {
                events.push(EndpointEvent::Enabled { because: EnabledBecause::NewUrl, at: now });
            }
        }
        Mutation::RefusedForEver => {
            if let Disposition::StepAside { refused, .. } = &mut decision.disposition {
                *refused = false;
            }
        }
        _ => events.iter_mut().for_each(|event| spoil_event(mutation, state, event)),
    }
}

fn spoil_event(mutation: Mutation, state: &EndpointState, event: &mut EndpointEvent) {
    match (mutation, event) {
        (Mutation::WaitsNot, EndpointEvent::FoundUnwell { at, not_before, .. }) => {
            *not_before = *at;
        }
        (Mutation::OutageCounts, EndpointEvent::FoundUnwell { span_begins, .. }) => {
            *span_begins = state.unwell.is_none();
        }
        (Mutation::RampSkipped, EndpointEvent::Recovered { lanes, .. }) => *lanes = None,
        _ => {}
    }
}
