//! What the object's code stands on: the database, the way to merchants, the data service.

use store::Store;

/// Shared by all invocations; holds no state of any endpoint.
pub(crate) struct Worker {
    pub(crate) store: Store,
    pub(crate) client: delivery::Client,
    pub(crate) keys: delivery::secrets::KeyRing,
    pub(crate) payloads: data_service::Client,
}
