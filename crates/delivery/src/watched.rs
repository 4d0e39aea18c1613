//! A stream of which somebody watches what comes in: what goes out passes untouched.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Who watches.
pub(crate) trait Watch {
    /// How many bytes may come in now, before they do; none left is an error.
    fn room(&self) -> io::Result<usize> {
        Ok(usize::MAX)
    }

    /// These bytes came in, or it ended like this.
    fn came(&mut self, read: Result<&[u8], &io::Error>);
}

/// A stream and who watches it.
pub(crate) struct Watched<T, W> {
    pub(crate) inner: T,
    pub(crate) watch: W,
}

impl<T: AsyncRead + Unpin, W: Watch + Unpin> AsyncRead for Watched<T, W> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = self.watch.room()?;
        let before = buf.filled().len();
        let result = if room >= buf.remaining() {
            Pin::new(&mut self.inner).poll_read(ctx, buf)
        } else {
            let mut bounded = ReadBuf::new(buf.initialize_unfilled_to(room));
            let result = Pin::new(&mut self.inner).poll_read(ctx, &mut bounded);
            let received = bounded.filled().len();
            buf.advance(received);
            result
        };
        if let Poll::Ready(result) = &result {
            self.watch.came(result.as_ref().map(|()| &buf.filled()[before..]));
        }
        result
    }
}

impl<T: AsyncWrite + Unpin, W: Unpin> AsyncWrite for Watched<T, W> {
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
