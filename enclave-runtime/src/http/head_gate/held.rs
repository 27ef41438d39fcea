//! The bytes the gate has read and not yet handed on.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::head::MAX_HEAD_BYTES;

/// One read from the client: eight times a usual request, half of the largest head, a quarter of the largest body.
pub(super) const READ_CHUNK_BYTES: usize = 8 * 1024;

/// A queue of at most [`MAX_HEAD_BYTES`], in length and in allocation.
#[derive(Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    start: usize,
}

impl Held {
    pub(super) fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Drops `count` bytes from the front. What an idle connection keeps is no more than one read.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count);
        if self.start >= self.bytes.len() {
            self.start = 0;
            self.bytes.clear();
            self.bytes.shrink_to(READ_CHUNK_BYTES);
        }
    }

    /// Forgets what is held and holds `bytes` instead.
    pub(super) fn replace(&mut self, bytes: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
        self.start = 0;
    }

    /// Reads once from `stream` behind what is held, as much as there is room for; zero is its end.
    ///
    /// There is room whenever less than [`MAX_HEAD_BYTES`] is unread.
    pub(super) fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        // Unread bytes move to the front once. Then `start` is zero until a head or body is handed on.
        self.bytes.drain(..self.start.min(self.bytes.len()));
        self.start = 0;

        let room = MAX_HEAD_BYTES.saturating_sub(self.bytes.len()).min(READ_CHUNK_BYTES);
        let mut chunk = [MaybeUninit::uninit(); READ_CHUNK_BYTES];
        let Some(space) = chunk.get_mut(..room).filter(|space| !space.is_empty()) else {
            return Poll::Ready(Err(io::Error::other("head gate buffer is full")));
        };
        let mut chunk = ReadBuf::uninit(space);
        ready!(Pin::new(stream).poll_read(cx, &mut chunk))?;
        let received = chunk.filled();
        let needed = self.bytes.len().saturating_add(received.len());
        if needed > self.bytes.capacity() {
            // By powers of two up to the bound, which is one itself; a vector left alone could double past it.
            let capacity = needed.next_power_of_two();
            self.bytes.reserve_exact(capacity.saturating_sub(self.bytes.len()));
        }
        self.bytes.extend_from_slice(received);
        Poll::Ready(Ok(received.len()))
    }
}

/// Tells how much is held and not what: heads carry the API key, bodies carry tickets.
impl fmt::Debug for Held {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Held").field("unread_bytes", &self.unread().len()).finish_non_exhaustive()
    }
}
