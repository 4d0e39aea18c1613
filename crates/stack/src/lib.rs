//! Local PostgreSQL, Kafka, Restate and, if it was built, Jaeger: found or fetched, configured,
//! started, watched, stopped.
//!
//! A part's file knows what is particular about it and ends in a [`Service`]: what to run, when it
//! is ready, how it is stopped. `supervise` runs services, whatever they are, so `up` runs our own
//! roles through it as well. Everything lies below one state directory and listens on loopback.
//!
//! What must never happen: a process that outlives its `up`; two of a kind on one data folder; a
//! data folder of another version touched; a start that half happened because of something that
//! could have been looked at before.

mod before;
mod data_version;
mod dev_null;
mod error;
pub mod exec;
mod fetch;
mod jaeger;
mod kafka;
mod launch;
mod leftovers;
mod log_file;
mod ports;
mod postgres;
mod probe;
mod progress;
mod restate;
mod secrets;
mod state_dir;
mod status;
mod supervise;
mod template;

pub use before::Before;
pub use error::StackError;
pub use jaeger::Jaeger;
pub use kafka::Kafka;
pub use launch::Launch;
pub use leftovers::wait_until_gone;
pub use ports::{PortChoice, Ports, PortsError};
pub use postgres::Postgres;
pub use probe::Probe;
pub use progress::Progress;
pub use restate::{Restate, Tracing};
pub use state_dir::{StateDir, database_url};
pub use status::{Board, Kind, ServiceStatus, State, Status};
pub use supervise::{Service, Supervisor};
