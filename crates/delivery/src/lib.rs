//! The delivery: the guarded, signed, bounded POST, and the only HTTP client that may reach a
//! merchant.
//!
//! A [`Request`] goes in, an [`Attempt`] comes out: whatever the receiver does is a value, never
//! an error. No attempt reaches an address that the guard refuses, follows a redirect, uses a
//! proxy from the environment, repeats a request on its own, or costs more than its [`limits`].
//!
//! The way of a request: `client` (the steps and the deadline) → `gate` (a free place) → `pool` or
//! `dial` (`names`, the guard, `tls`) → `connection` → `message` (signed) → `answer` → `record`.

mod alert;
mod answer;
mod attempt;
mod client;
mod config;
mod connection;
mod dial;
mod excerpt;
mod failure;
mod gate;
mod headers;
mod heads;
mod key_config;
pub mod limits;
mod message;
mod meter;
mod names;
mod pool;
mod proxy;
mod record;
mod request;
mod retry_after;
pub mod secrets;
pub mod sign;
mod span;
mod tls;
pub mod verify;
mod watched;

pub use attempt::{Attempt, Code, Detail, Split};
pub use client::{Client, ClientConfig};
pub use config::{Config, ConfigError, Nat64List, NetworkList};
pub use headers::CustomHeaders;
pub use key_config::{KeyConfig, KeyText};
pub use message::AGENT;
pub use names::{Answer, NameError, NameTable, Names};
pub use proxy::{EgressProxy, ProxyError};
pub use request::{Request, body};
pub use tls::TlsError;
