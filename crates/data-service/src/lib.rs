//! The data-service role, and the client that asks it.
//!
//! A payment's id comes in, the payment as it is at this moment goes out: it is a webhook's
//! `data`. Every attempt asks again, so a merchant sees the current state and not history.
//! Nothing here remembers an answer: there is no cache, on either side.

mod client;
mod config;
mod server;
mod view;

pub use client::{Client, ClientError, Payload, PayloadError};
pub use config::Config;
pub use server::{Error, run};

/// The one path, as a pattern.
const ROUTE: &str = "/payload/{payment_id}";
