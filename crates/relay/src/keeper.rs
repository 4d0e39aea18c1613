//! Keeps, beside the slot, when the last confirmed commit was made.
//!
//! Commit times come in as they are confirmed; at most once a second the last one is written. It
//! never holds up the stream, and a time that is not written is only an older one: then more is
//! announced again, should the slot be lost.

use std::time::Duration;

use store::Store;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Shortest time between two writes: each is a commit of its own.
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// Writes what it is told, in a task that ends with it.
pub(crate) struct Keeper {
    committed_at: watch::Sender<Option<OffsetDateTime>>,
    task: JoinSet<()>,
}

impl Keeper {
    /// A keeper for the slot `slot`.
    pub(crate) fn start(store: Store, slot: String) -> Self {
        let (committed_at, mut to_write) = watch::channel(None);
        let mut task = JoinSet::new();
        task.spawn(async move {
            // Ends when the stream does; what came last is still written.
            while to_write.changed().await.is_ok() {
                let Some(at) = *to_write.borrow_and_update() else { continue };
                if let Err(error) = store.relay_confirmed(&slot, at).await {
                    tracing::debug!(%error, "how far the relay came could not be written");
                }
                tokio::select! {
                    () = tokio::time::sleep(WRITE_EVERY) => {}
                    () = closed(&to_write) => {}
                }
            }
        });
        Self { committed_at, task }
    }

    /// A commit is confirmed.
    pub(crate) fn confirmed(&self, committed_at: Option<OffsetDateTime>) {
        self.committed_at.send_if_modified(|last| {
            let is_later = committed_at > *last;
            if is_later {
                *last = committed_at;
            }
            is_later
        });
    }

    /// Writes what is left.
    pub(crate) async fn close(&mut self) {
        let (closed, _) = watch::channel(None);
        self.committed_at = closed;
        // A database that is away holds this up no longer than one statement's own time limit.
        let _ = tokio::time::timeout(WRITE_EVERY, self.task.join_next()).await;
    }
}

async fn closed(to_write: &watch::Receiver<Option<OffsetDateTime>>) {
    let mut to_write = to_write.clone();
    while to_write.changed().await.is_ok() {}
}
