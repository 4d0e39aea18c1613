//! An endpoint's turn in the database: looks, settles, commands, and who was left alone.
//!
//! The SQL stands in `migrations/0005_look_and_settle.sql`; here it gets its types. A look takes the
//! turn by a new fence; a settle with an older one writes its attempt and nothing else.

mod command;
mod configure;
mod delete;
mod expire;
mod faulty;
mod look;
mod partitions;
mod payload;
mod redeliver;
mod secret_made;
mod settle;
mod sweep;
mod unsent;

pub(crate) use faulty::faulty_of;

pub use command::{Commanded, Obeyed, Order, Told};
pub use configure::{Changes, NewHeaders, NewSignatures, Reconfiguration, Reconfigured, Replaced};
pub use expire::{Expired, ExpiredDelivery};
pub use look::{DueDelivery, EndpointConfig, LastLook, LiveSecret, Look};
pub use redeliver::{Ended, Redeliverable};
pub use settle::{AttemptRow, Settled, Settlement};
pub use sweep::LeftAlone;
