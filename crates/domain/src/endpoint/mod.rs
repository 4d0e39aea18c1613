//! The endpoint: what it may be told, what then is true, and when it is asked again.
//!
//! `decide(state, policy, command, now, jitter)` says what follows, `evolve(state, event)` folds
//! what was said. Both are total and pure. The store writes the events and their fold in one
//! transaction; the actor performs what was decided. No rule about who waits for whom, and for how
//! long, stands anywhere else.

mod backoff;
mod decide;
mod event;
mod evolve;
mod jitter;
mod policy;
mod schedule;
mod state;

pub use backoff::Backoff;
pub use decide::{Command, Decision, DeliveryFacts, Disposition, FinishReason, decide};
pub use event::{DisabledReason, EndpointEvent, JOURNAL_SCHEMA_VERSION};
pub use evolve::{evolve, fold};
pub use jitter::Jitter;
pub use policy::{Ordering, Policy};
pub use schedule::Schedule;
pub use state::{Breaker, EndpointState, FaultSpan, Status, UnwellSpan};
