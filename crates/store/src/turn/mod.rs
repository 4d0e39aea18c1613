//! An endpoint's turn in the database: looks, settles, and who was left alone.
//!
//! The SQL stands in `migrations/0005_look_and_settle.sql`; here it gets its types. A look takes the
//! turn by a new fence; a settle with an older one writes its attempt and nothing else.

mod look;
mod partitions;
mod payload;
mod settle;
mod sweep;

pub use look::{DueDelivery, EndpointConfig, LiveSecret, Look};
pub use settle::{AttemptRow, Settled, Settlement};
pub use sweep::LeftAlone;
