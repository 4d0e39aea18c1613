//! What a server says by TLS when it ends a connection.
//!
//! In TLS 1.3 a server that wants a certificate of ours says so only after the request is on its
//! way. HTTP/2's errors drop what lies beneath them, so it is heard here, where it comes in.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The alert that ended a connection, once there is one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Alert(Arc<OnceLock<AlertDescription>>);

impl Alert {
    /// Which it was.
    pub(crate) fn get(&self) -> Option<AlertDescription> {
        self.0.get().copied()
    }
}

/// A TLS stream whose alerts are noted.
pub(crate) struct Heard<T> {
    pub(crate) inner: T,
    pub(crate) alert: Alert,
}

impl<T: AsyncRead + Unpin> AsyncRead for Heard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_read(ctx, buf);
        if let Poll::Ready(Err(error)) = &result
            && let Some(rustls::Error::AlertReceived(alert)) =
                error.get_ref().and_then(|inner| inner.downcast_ref())
        {
            let _ = self.alert.0.set(*alert);
        }
        result
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Heard<T> {
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
