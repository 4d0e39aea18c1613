//! The pool of connections, and the schema that they find.

use std::str::FromStr;
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::StoreError;
use crate::answered::Pool;

/// Longest wait for a free connection: what comes later is better told that the database is away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that was idle for longer is asked whether it is still alive before it is used; one
/// that was at work just now need not be: that would be one more round trip for each statement.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);
/// One that does not answer that in time was lost, and nobody said so: a new one takes its place.
const ALIVE_TIMEOUT: Duration = Duration::from_secs(1);
/// A statement that runs longer is stuck behind a lock that nobody gives back.
const STATEMENT_TIMEOUT_MS: &str = "10000";
/// A session whose client has gone ends in the middle of its statement, not behind it: whoever gives
/// up takes a new connection, and the old ones must not pile up at the server.
const CLIENT_CHECK_INTERVAL_MS: &str = "1000";
/// A client that vanished inside a transaction must not keep an endpoint's row locked.
const IDLE_IN_TRANSACTION_TIMEOUT_MS: &str = "10000";

/// The database, as the roles see it. Clones share the pool.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) pool: Pool,
}

impl Store {
    /// A pool of at most `connections_max` connections to the database at `url`.
    ///
    /// It connects when the first statement needs it, so a role starts while the database is away.
    ///
    /// # Errors
    /// When the URL cannot be read.
    pub fn new(url: &str, name: &str, connections_max: u32) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url)?.application_name(name).options([
            ("statement_timeout", STATEMENT_TIMEOUT_MS),
            ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_TIMEOUT_MS),
            ("client_connection_check_interval", CLIENT_CHECK_INTERVAL_MS),
            ("timezone", "UTC"),
            // Short statements by the thousand: compiling one would take longer than running it.
            ("jit", "off"),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .before_acquire(|connection, idle| {
                Box::pin(async move {
                    if idle.idle_for > TRUSTED_IDLE {
                        let answer = tokio::time::timeout(ALIVE_TIMEOUT, connection.ping()).await;
                        answer.map_err(std::io::Error::from)??;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(options);
        Ok(Self { pool: Pool(pool) })
    }

    /// Brings the schema up to date; does nothing when it is.
    ///
    /// # Errors
    /// When a migration fails, or the database was migrated by a newer version.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        sqlx::migrate!("../../migrations").run(&self.pool.0).await?;
        Ok(())
    }

    /// Does the database answer?
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("select 1").execute(&self.pool).await?;
        Ok(())
    }
}
