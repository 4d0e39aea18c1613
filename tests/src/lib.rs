//! What the end-to-end tests share: a stack of their own, its client, a merchant of their own.
//!
//! Everything is real: `posthorn up` runs PostgreSQL, Kafka, Restate and our roles as it does for a
//! user; tests talk to it as users do, and kill its processes by the pids that `status.json` tells.
//! Nothing here sleeps for a fixed time and hopes: it waits for a condition, and says which one
//! did not come.

mod api;
mod lab;
mod other_build;
mod prometheus;
mod receiver;
mod restate;
mod scraped;
mod trace;
mod wait;

pub use api::Api;
pub use lab::{Lab, binary, refusal, state_dir};
pub use other_build::{OtherBuild, OtherWorker};
pub use prometheus::Prometheus;
pub use receiver::{Answer, Receiver, Request};
pub use restate::invocations_of;
pub use scraped::Scraped;
pub use trace::{Span, Trace, Traces};
pub use wait::until;
