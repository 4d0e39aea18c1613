//! Idle connections, kept for the next request of the same endpoint to the same origin.
//!
//! Bounded per endpoint, in all and in time. A connection never serves another endpoint, so one
//! merchant's odd server cannot answer for another's; and whoever takes one judges its address
//! again, so none outlives a changed policy.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use domain::EndpointId;

use crate::connection::Connection;
use crate::limits::{
    IDLE_CONNECTION_TIMEOUT, IDLE_CONNECTIONS_MAX, IDLE_CONNECTIONS_PER_ENDPOINT_MAX,
};

/// Whose connection it is, and to which scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PoolKey {
    pub(crate) endpoint_id: EndpointId,
    pub(crate) is_https: bool,
    pub(crate) authority: String,
}

/// How often the pool looks for connections that have waited too long.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The idle connections.
#[derive(Default)]
pub(crate) struct Pool(Mutex<Idle>);

#[derive(Default)]
struct Idle {
    by_key: HashMap<PoolKey, Vec<(Connection, Instant)>>,
    count: usize,
}

impl Pool {
    /// An empty pool, and a task that sweeps it for as long as it lives.
    pub(crate) fn start() -> Arc<Self> {
        let pool = Arc::new(Self::default());
        tokio::spawn(sweep_until_dropped(Arc::downgrade(&pool)));
        pool
    }

    /// The connection that was used last, if one is open.
    pub(crate) fn take(&self, key: &PoolKey) -> Option<Connection> {
        let mut idle = self.idle();
        let mut found = None;
        let mut taken = 0;
        if let Some(waiting) = idle.by_key.get_mut(key) {
            while let Some((connection, since)) = waiting.pop() {
                taken += 1;
                if !connection.is_closed() && since.elapsed() < IDLE_CONNECTION_TIMEOUT {
                    found = Some(connection);
                    break;
                }
            }
            if waiting.is_empty() {
                idle.by_key.remove(key);
            }
        }
        idle.count -= taken;
        found
    }

    /// Keeps a connection whose last answer was read to its end, if there is room.
    pub(crate) fn put(&self, key: PoolKey, connection: Connection) {
        let mut idle = self.idle();
        if connection.is_closed() || idle.count >= IDLE_CONNECTIONS_MAX {
            return;
        }
        let waiting = idle.by_key.entry(key).or_default();
        if waiting.len() < IDLE_CONNECTIONS_PER_ENDPOINT_MAX {
            waiting.push((connection, Instant::now()));
            idle.count += 1;
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.idle().count
    }

    fn sweep(&self) {
        let mut idle = self.idle();
        idle.by_key.retain(|_, waiting| {
            waiting.retain(|(connection, since)| {
                !connection.is_closed() && since.elapsed() < IDLE_CONNECTION_TIMEOUT
            });
            !waiting.is_empty()
        });
        idle.count = idle.by_key.values().map(Vec::len).sum();
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sweep_until_dropped(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.sweep();
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use uuid::Uuid;

    use super::*;
    use crate::alert::Alert;
    use crate::dial::Dialled;
    use crate::meter::Meter;

    #[tokio::test]
    async fn of_all_endpoints_together_five_hundred_and_twelve_connections_wait() {
        let pool = Pool::default();
        let mut others = Vec::new();
        for n in 0..600 {
            let (ours, theirs) = tokio::io::duplex(64);
            others.push(theirs);
            let dialled = Dialled {
                stream: Box::new(ours),
                meter: Meter::full(),
                alert: Alert::default(),
                address: SocketAddr::from(([127, 0, 0, 1], 1)),
                is_http2: false,
            };
            let connection = Connection::open(dialled).await.expect("a connection");
            let endpoint_id = Uuid::from_u128(n).into();
            let authority = "merchant.example:443".to_owned();
            pool.put(PoolKey { endpoint_id, is_https: true, authority }, connection);
        }
        assert_eq!(pool.len(), 512);
    }
}
