//! The pure core: what the words mean and what the rules are.
//!
//! Values come in (ids, a state, a command, the time, a jitter), values go out. Nothing here
//! reads a clock, draws a random number, touches IO or awaits: the crate's dependencies and its
//! `clippy.toml` enforce that. Everything that arrives from outside is parsed into these types
//! once, at the edge; inside, no string is checked a second time.

pub mod endpoint;
mod event;
pub mod guard;
mod ids;
mod invalid;
mod merchant;
mod outcome;
mod payment;
mod timestamp;
pub mod wake;

pub use event::EventType;
pub use ids::{AttemptId, DeliveryId, EndpointId, EventId, IdError, PaymentId};
pub use invalid::Invalid;
pub use merchant::{MerchantId, MerchantName};
pub use outcome::{Fault, Outcome, Unwell};
pub use payment::{Amount, Currency, FirstStatus, NewPayment, Payment, PaymentStatus};
pub use timestamp::{rfc3339_micros, rfc3339_seconds};
