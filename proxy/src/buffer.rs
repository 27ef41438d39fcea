//! The memory of one direction of a connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Holds half of the largest request in one read; two directions of 2,048 connections take 64 MiB.
pub(crate) const SIZE_BYTES: usize = 16 * 1024;

/// Bytes that were read and are not yet written.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; SIZE_BYTES].into_boxed_slice(), start: 0, end: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn is_full(&self) -> bool {
        self.end == self.bytes.len()
    }

    pub(crate) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Appends what `source` has; the number is 0 at its end. The buffer must not be full.
    pub(crate) fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
    ) -> Poll<io::Result<usize>> {
        debug_assert!(!self.is_full(), "a full buffer would read as the end");
        let mut free = ReadBuf::new(&mut self.bytes[self.end..]);
        ready!(Pin::new(source).poll_read(cx, &mut free))?;
        let count = free.filled().len();
        self.end += count;
        Poll::Ready(Ok(count))
    }

    /// Writes what `sink` takes, at least one byte. The buffer must not be empty.
    pub(crate) fn poll_drain<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut S,
    ) -> Poll<io::Result<usize>> {
        let waiting = &self.bytes[self.start..self.end];
        let count = ready!(Pin::new(sink).poll_write(cx, waiting))?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.start += count;
        if self.is_empty() {
            self.clear();
        }
        Poll::Ready(Ok(count))
    }
}
