//! A bound on what one attempt may receive.
//!
//! It watches what comes from the socket, below everything that parses, TLS included, so that it
//! also ends what stays within each parser's own bounds and never stops. Filled up again for each
//! attempt on the connection.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::RECEIVED_BYTES_MAX;
use crate::watched::Watch;

/// How many bytes may still be received.
#[derive(Debug, Clone)]
pub(crate) struct Meter(Arc<AtomicUsize>);

impl Meter {
    pub(crate) fn full() -> Self {
        Self(Arc::new(AtomicUsize::new(RECEIVED_BYTES_MAX)))
    }

    /// Another attempt begins.
    pub(crate) fn fill_up(&self) {
        self.0.store(RECEIVED_BYTES_MAX, Ordering::Relaxed);
    }

    /// Nothing more may be received.
    pub(crate) fn use_up(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Has everything been received that may be?
    pub(crate) fn is_used_up(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

impl Watch for Meter {
    fn room(&self) -> io::Result<usize> {
        match self.0.load(Ordering::Relaxed) {
            0 => Err(io::Error::other("received more than an attempt may")),
            left => Ok(left),
        }
    }

    fn came(&mut self, read: Result<&[u8], &io::Error>) {
        self.0.fetch_sub(read.map_or(0, <[u8]>::len), Ordering::Relaxed);
    }
}
