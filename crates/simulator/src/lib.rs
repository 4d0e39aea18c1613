//! The simulator role: merchants that do what they are told, and a ledger of what arrived.
//!
//! A webhook comes in at `/webhooks/{merchant}` (`receive`), is answered as the merchant was told
//! to (`behaviour`) and written down (`ledger`, `file`). What the ledger says is what arrived: it
//! never asks the sender, and no request is answered 2xx before it is in the ledger's file.
//! It is a tool for demonstrations and tests. It verifies no signature.

mod api;
mod behaviour;
mod config;
mod counts;
mod entry;
mod file;
mod ledger;
mod line;
mod receive;
mod serve;

use std::sync::{Mutex, MutexGuard};

pub use config::Config;
pub use serve::{Error, run};

use behaviour::Behaviours;
use file::LedgerFile;
use ledger::Ledger;

/// What every request of the role shares.
#[derive(Debug)]
struct Simulator {
    ledger: Mutex<Ledger>,
    behaviours: Mutex<Behaviours>,
    file: Option<LedgerFile>,
}

impl Simulator {
    /// The ledger. Held for the few microseconds of one entry; never across an await.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        locked(&self.ledger)
    }

    /// What the merchants were told to do. Held as shortly.
    fn behaviours(&self) -> MutexGuard<'_, Behaviours> {
        locked(&self.behaviours)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while it was held is a bug that has been reported; counting on is more useful.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
