//! One direction of a connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::buffer::Buffer;

/// The most that is read from a side only to be thrown away. It bounds the work that a client can cause
/// after its answer; the time to linger usually ends first.
const DISCARD_MAX_BYTES: usize = 16 * 1024 * 1024;

/// The buffer and the counter of one direction.
pub(crate) struct Carrier {
    /// May hold bytes already.
    pub(crate) buffer: Buffer,
    /// Counts the bytes written.
    pub(crate) moved_bytes: Counter,
}

/// One direction of a connection: bytes from its source go to its sink.
pub(super) struct Direction {
    state: State,
    carrier: Carrier,
    discard_budget_bytes: usize,
    last_moved: Instant,
    stalled_since: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Reads and writes.
    Copying,
    /// The source has ended; what is left is written, then the sink's half is closed.
    Flushing,
    /// The sink gets what was read before, and the end of the source. What the source sends until then is thrown away.
    Ending,
    /// The sink takes no more; what the source sends is thrown away.
    Discarding,
    /// The source has ended, and the sink knows or does not care.
    Finished,
}

/// The treatment of bytes that the source has for the sink.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Intake {
    /// They are read.
    Open,
    /// They stay with the source, which is not watched either: the caller polls again when this changes.
    Closed,
}

impl Direction {
    pub(super) fn new(carrier: Carrier, now: Instant) -> Self {
        Self {
            state: State::Copying,
            carrier,
            discard_budget_bytes: DISCARD_MAX_BYTES,
            last_moved: now,
            stalled_since: None,
        }
    }

    /// Moves what can be moved now. True when reading failed, which means that the source is gone altogether.
    pub(super) fn poll<S, T>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut T,
        now: Instant,
        intake: Intake,
    ) -> bool
    where
        S: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        match self.poll_to_end(cx, source, sink, now, intake) {
            Poll::Ready(Err(_)) => {
                self.end_source();
                // Bytes that were read before the failure are still delivered. The source is not read again.
                let _ = self.poll_to_end(cx, source, sink, now, intake);
                true
            }
            Poll::Ready(Ok(())) | Poll::Pending => false,
        }
    }

    /// Ready when there is nothing left to do, or with the error of the source.
    fn poll_to_end<S, T>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut T,
        now: Instant,
        intake: Intake,
    ) -> Poll<io::Result<()>>
    where
        S: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        loop {
            match self.state {
                State::Copying | State::Flushing | State::Ending if !self.carrier.buffer.is_empty() => {
                    match self.carrier.buffer.poll_drain(cx, sink) {
                        Poll::Pending => {
                            self.stalled_since.get_or_insert(now);
                            return Poll::Pending;
                        }
                        Poll::Ready(Ok(count)) => {
                            self.stalled_since = None;
                            self.last_moved = now;
                            self.carrier.moved_bytes.inc_by(count as u64);
                        }
                        Poll::Ready(Err(_)) => {
                            self.give_up_writing();
                        }
                    }
                }
                State::Copying if intake == Intake::Closed => return Poll::Pending,
                State::Copying => {
                    if ready!(self.carrier.buffer.poll_fill(cx, source))? == 0 {
                        self.end_source();
                    } else {
                        self.last_moved = now;
                    }
                }
                State::Flushing => {
                    // A sink that cannot be closed is gone, and its own direction finds out.
                    let _ = ready!(Pin::new(&mut *sink).poll_shutdown(cx));
                    self.state = State::Finished;
                }
                State::Ending | State::Discarding => {
                    if self.is_budget_spent() {
                        return Poll::Pending;
                    }
                    self.carrier.buffer.clear();
                    let count = ready!(self.carrier.buffer.poll_fill(cx, source))?;
                    self.carrier.buffer.clear();
                    self.discard_budget_bytes = self.discard_budget_bytes.saturating_sub(count);
                    if count == 0 {
                        self.end_source();
                    }
                }
                State::Finished => return Poll::Ready(Ok(())),
            }
        }
    }

    fn end_source(&mut self) {
        self.state = match self.state {
            State::Copying | State::Flushing | State::Ending => State::Flushing,
            State::Discarding | State::Finished => State::Finished,
        };
    }

    /// From now on the sink gets only what was read already, and the end of the source.
    pub(super) fn stop_taking(&mut self) {
        if self.state == State::Copying {
            self.state = State::Ending;
        }
    }

    /// The sink takes no more bytes. True when that is news.
    pub(super) fn give_up_writing(&mut self) -> bool {
        let next = match self.state {
            State::Copying | State::Ending => State::Discarding,
            State::Flushing => State::Finished,
            State::Discarding | State::Finished => return false,
        };
        self.state = next;
        self.carrier.buffer.clear();
        self.stalled_since = None;
        true
    }

    pub(super) fn is_finished(&self) -> bool {
        self.state == State::Finished
    }

    pub(super) fn is_discarding(&self) -> bool {
        self.state == State::Discarding
    }

    pub(super) fn is_budget_spent(&self) -> bool {
        self.discard_budget_bytes == 0
    }

    /// When a byte was last read or written.
    pub(super) fn last_moved(&self) -> Instant {
        self.last_moved
    }

    /// Whether bytes wait that the sink does not take.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled_since.is_some()
    }

    /// Since when the sink has refused the bytes that wait.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        self.stalled_since
    }
}
