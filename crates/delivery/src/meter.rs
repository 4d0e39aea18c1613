//! A bound on what one attempt may receive.
//!
//! It sits between the socket and everything that parses, TLS included, so that it also ends what
//! stays within each parser's own bounds and never stops. Filled up again for each attempt on the
//! connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::RECEIVED_BYTES_MAX;

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

    /// Has everything been received that may be?
    pub(crate) fn is_used_up(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// A stream that ends in an error once its meter is used up.
pub(crate) struct Metered<T> {
    pub(crate) inner: T,
    pub(crate) meter: Meter,
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.meter.0.load(Ordering::Relaxed);
        if left == 0 {
            return Poll::Ready(Err(io::Error::other("received more than an attempt may")));
        }
        let mut bounded = ReadBuf::new(buf.initialize_unfilled_to(left.min(buf.remaining())));
        let result = Pin::new(&mut self.inner).poll_read(ctx, &mut bounded);
        let received = bounded.filled().len();
        buf.advance(received);
        self.meter.0.fetch_sub(received, Ordering::Relaxed);
        result
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Metered<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(ctx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(ctx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(ctx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(ctx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
