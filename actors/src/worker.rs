//! What the object's code stands on: the database, the way to merchants, the data service.

use std::sync::{Arc, PoisonError, RwLock};

use store::Store;
use tokio::sync::Semaphore;

use crate::awaited::OF_OUR_RELAY;

/// Shared by all invocations; holds no state of any endpoint.
pub(crate) struct Worker {
    pub(crate) store: Store,
    /// Looks for the rows of records, of which a CDC that catches up brings thousands at once: they
    /// leave most connections to slices.
    pub(crate) row_looks: Semaphore,
    pub(crate) client: delivery::Client,
    pub(crate) keys: delivery::secrets::KeyRing,
    pub(crate) payloads: data_service::Client,
    pub(crate) wake_topic: WakeTopic,
}

/// The topic whose records wake endpoints, as Restate last said it; for whoever reads a trace.
#[derive(Debug, Clone)]
pub(crate) struct WakeTopic(Arc<RwLock<Arc<str>>>);

impl WakeTopic {
    /// Our relay's, until Restate says another one.
    pub(crate) fn of_our_relay() -> Self {
        Self(Arc::new(RwLock::new(OF_OUR_RELAY.into())))
    }

    /// What it is called.
    pub(crate) fn name(&self) -> Arc<str> {
        // It is written as a whole: a panic leaves one or the other.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// It is `name`.
    pub(crate) fn is(&self, name: &str) {
        if *self.name() != *name {
            *self.0.write().unwrap_or_else(PoisonError::into_inner) = name.into();
        }
    }
}
