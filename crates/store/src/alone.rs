//! Chores that one process does at a time, whoever of them comes first.
//!
//! The right to a chore is a lock of a session of its own: it ends with the value, and with a process
//! that dies. What is done by it is asked of the value, so nothing of it can be done without.

use sqlx::Row;
use sqlx::postgres::PgConnection;

use crate::answered::{Pool, in_time};
use crate::{Store, StoreError};

/// What is done by one process at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chore {
    /// Partitions ahead of time, and the end of what waited for too long: the workers'.
    Upkeep,
    /// Answers to old idempotency keys and secrets that have ended: the api's.
    Forgetting,
    /// Who announces, and what Restate reads of it: a switch's, and a registration's.
    Announcing,
}

impl Chore {
    /// Key of its advisory lock: "posthorn" in bytes, as the sweeper's, and a number.
    const fn key(self) -> i64 {
        match self {
            Self::Upkeep => 0x706f_7374_686f_726f,
            Self::Forgetting => 0x706f_7374_686f_7270,
            Self::Announcing => 0x706f_7374_686f_7271,
        }
    }
}

/// The right to do a chore, as long as it lives.
#[derive(Debug)]
pub struct Alone {
    pub(crate) pool: Pool,
    /// Its session has the lock. It is none of the pool's: there, a lock that is left behind would
    /// be held by whoever gets the connection next.
    _lock: PgConnection,
}

impl Store {
    /// The right to do `chore`; none while another process has it.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn alone(&self, chore: Chore) -> Result<Option<Alone>, StoreError> {
        let mut session = self.pool.detach().await?;
        let lock = sqlx::query("select pg_try_advisory_lock($1)").bind(chore.key());
        let is_mine: bool = in_time(lock.fetch_one(&mut session)).await?.try_get(0)?;
        Ok(is_mine.then(|| Alone { pool: self.pool.clone(), _lock: session }))
    }
}
