//! The endpoint: what it may be told, what then is true, and when it is asked again.
//!
//! `decide(state, policy, command, now, jitter)` says what follows, `evolve(state, event)` folds
//! what was said, `next_up(…)` says who may be attempted now. All are total and pure. The store
//! writes the events and their fold in one transaction; the actor performs what was decided. No
//! rule about who waits for whom, and for how long, stands anywhere else. `invariants` has what
//! must be true of every step, whoever makes it.

mod backoff;
mod command;
mod decide;
mod event;
mod evolve;
mod history;
pub mod invariants;
mod jitter;
mod next_up;
mod policy;
mod schedule;
mod settle;
mod state;
mod time_between;
mod trouble;
mod walk;
mod why;
mod window;

pub use backoff::Backoff;
pub use command::{Command, DeliveryFacts, Objection, objection};
pub use decide::{Decision, Disposition, FinishReason, decide};
pub use event::{DisabledReason, EnabledBecause, EndpointEvent, JOURNAL_SCHEMA_VERSION};
pub use evolve::{evolve, fold};
pub use history::{Entry, history, history_from};
pub use jitter::Jitter;
pub use next_up::{LINE_MIN, next_up};
pub use policy::{Ordering, Policy, PolicySettings};
pub use schedule::Schedule;
pub use state::{
    Block, Breaker, EndpointState, FaultSpan, Ramp, STATE_SCHEMA_VERSION, Status, UnwellSpan,
};
pub use trouble::{Faulty, trouble};
pub use walk::Walk;
pub use why::{Asked, DeliveryStory, Ended, EndpointStory, LastAttempt, NotAsked, Subject, Why};
pub use window::Window;
