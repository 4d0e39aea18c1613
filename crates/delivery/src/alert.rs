//! What a server says by TLS when it ends a connection.
//!
//! In TLS 1.3 a server that wants a certificate of ours says so only after the request is on its
//! way. HTTP/2's errors drop what lies beneath them, so it is heard here, where it comes in.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::AlertDescription;

use crate::watched::Watch;

/// The alert that ended a connection, once there is one. It watches a TLS stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Alert(Arc<OnceLock<AlertDescription>>);

impl Alert {
    /// Which it was.
    pub(crate) fn get(&self) -> Option<AlertDescription> {
        self.0.get().copied()
    }
}

impl Watch for Alert {
    fn came(&mut self, read: Result<&[u8], &io::Error>) {
        if let Err(error) = read
            && let Some(rustls::Error::AlertReceived(alert)) =
                error.get_ref().and_then(|inner| inner.downcast_ref())
        {
            let _ = self.0.set(*alert);
        }
    }
}
