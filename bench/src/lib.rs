//! The benchmark: a load of payments against a running stack, with the receiver beside it.
//!
//! `load` makes payments in one of two `way`s and writes down what was acknowledged; `receiver`
//! writes down what arrived; `judge` compares the two; `report` prints it with its `conditions`.
//! Nothing here trusts our own tables or counters, and a run in which anything was lost or out of
//! order ends with an error that names it.

mod breakdown;
mod conditions;
mod config;
mod event;
mod judge;
mod load;
mod receiver;
mod report;
mod run;
mod setup;
mod stack;
mod target;
mod usage;
mod way;

pub use conditions::{cpu, git_revision, load_average};
pub use config::{Config, Scenario, Via};
pub use event::{Arrival, Event, Kind, Made, micros_of, now_us};
pub use judge::{Verdict, judge};
pub use load::{End, Load, Stream};
pub use run::run;
pub use setup::merchants;
pub use stack::{Service, Stack};
pub use way::{JsonFront, Refusal, Way};
