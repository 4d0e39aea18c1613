//! PostgreSQL: every SQL statement of the product but the relay's slot calls.
//!
//! Domain values come in, domain values go out; SQL is lower case and stands in the file of the
//! thing it is about. No rule of the domain is decided here: a statement does what it was told,
//! in one transaction, or nothing.

mod alone;
mod answered;
mod attempts;
mod backlog;
mod cdc;
mod endpoints;
mod error;
mod form;
mod idempotency;
mod journal;
mod load;
mod merchants;
mod parked;
mod payments;
mod pool;
mod relay_progress;
mod republish;
mod secrets;
mod timeline;
mod turn;
mod visibility;
mod why;

pub use alone::{Alone, Chore};
pub use attempts::{ShownAttempt, ShownDelivery};
pub use backlog::{Backlog, EndpointBacklog, SlotSize, Standings, Sums};
pub use cdc::{CdcProducer, SlotState};
pub use endpoints::{Endpoint, FIRST_SECRET_VERSION, NewEndpoint, SealedSecret};
pub use error::StoreError;
pub use idempotency::{Once, Write, Written};
pub use journal::{JournalEntry, Standing};
pub use merchants::Merchant;
pub use parked::{ParkedRecord, ShownRecord};
pub use pool::Store;
pub use relay_progress::{Owed, RelayProgress};
pub use republish::{DeliveryText, FinishedCursor};
pub use secrets::{KeptSecret, NewSecret, RotatedSecrets, Rotation, SealedUnder};
pub use timeline::Timeline;
pub use turn::{
    AttemptRow, Changes, Commanded, DueDelivery, Ended, EndpointConfig, Expired, ExpiredDelivery,
    LastLook, LeftAlone, LiveSecret, Look, NewHeaders, NewSignatures, Obeyed, Order,
    Reconfiguration, Reconfigured, Redeliverable, Replaced, Settled, Settlement, Told,
};
pub use visibility::{Found, Snapshot};
