//! The gate between a client's byte stream and hyper: strict about framing where hyper is lenient.
//!
//! # Why
//!
//! hyper takes line ends of a bare LF, drops a `Content-Length` that follows a `Transfer-Encoding`, takes
//! `Transfer-Encoding: gzip, chunked` and equal `Content-Length`s, and writes some refusals itself. Two parsers
//! that see different requests in the same bytes are how requests are smuggled, and an answer written past the
//! status table is not in `docs/api.md`. So nothing reaches hyper that this module has not judged.
//!
//! # Data flow
//!
//! ```text
//! client ──▶ Held (≤ 16 KiB) ──▶ HeadScan ─▶ framing_of ─┬─ accepted: the head, then exactly its body ──▶ hyper
//!                                                        └─ refused: a stand-in request, then the end ──▶ hyper
//!                                             verdict ──▶ Verdicts (one slot) ──▶ the service
//! ```
//!
//! A head is held back until it is complete. One that passes is handed on byte for byte, followed by the bytes that
//! its own framing makes its body ([`Framing`], [`ChunkedFraming`]), and the gate looks for the next head. One that
//! does not is replaced by a stand-in, with a [`HeadVerdict`] beside it, so that its 400 or 431 is written by the
//! service, after the answers to the requests before it. A chunked body that breaks its framing ends in a read error
//! that [`BodyError::find`] recognises.
//!
//! # Invariants
//!
//! * hyper sees a head only if [`inspect_head`] accepts it, and then the same end of its body as the gate.
//! * Each request hyper passes on has one verdict in the slot. This rests on hyper not reading ahead while a request
//!   is served, which is what `half_close(true)` does; a slot found full ends the connection.
//! * No head is read while bytes of an answer wait for the client: a client that reads no answers is read no further.
//! * A connection costs at most [`MAX_HEAD_BYTES`] of buffer here, and two timers; each byte is scanned once.
//! * The gate never waits without a deadline, but in a body, whose deadline is the service's.
//!
//! hyper's server must be built with `half_close(true)`, without a header timeout of its own, and with no limit of
//! its own below the ones here. At the end the gate must be taken back from it and shut down, however the connection
//! has ended: hyper does not do that after an error, nor once a request had an `Upgrade` header. To do it twice does no
//! harm.

mod alarm;
mod chunked;
mod head;
mod held;
mod octet;
#[cfg(test)]
mod tests;
mod verdict;

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use configuration::Deadlines;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use alarm::Alarm;
use held::{Held, READ_CHUNK_BYTES};

pub use chunked::{
    BodyError, ChunkedFraming, MAX_CHUNK_BYTES, MAX_CHUNK_EXTENSION_BYTES, MAX_CHUNK_SIZE_DIGITS,
    MAX_TRAILER_BYTES, MAX_TRAILER_FIELDS,
};
pub use head::{Framing, HeadError, HeadScan, MAX_HEAD_BYTES, MAX_HEADERS, inspect_head};
pub use verdict::{HeadVerdict, Verdicts};

/// The head that hyper gets in place of a refused one: the shortest that it parses, and that closes the connection.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: -\r\nconnection: close\r\n\r\n";

/// How long a closed connection is still read, so that a client in the middle of sending gets its answer: closing over
/// unread bytes resets the connection, which can destroy what was written. A few round trips.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// How much a closed connection is still read: thirty times the largest body accepted.
const MAX_LINGER_BYTES: usize = 1024 * 1024;

/// A client's byte stream as hyper may see it. Reads and writes must come from one task.
#[derive(Debug)]
pub struct HeadGate<S> {
    stream: S,
    deadlines: Deadlines,
    verdicts: Verdicts,
    phase: Phase,
    held: Held,
    /// How many of the held bytes are judged and hyper's to read.
    released: usize,
    /// The deadline that `read_alarm` stands for.
    wait: Wait,
    read_alarm: Alarm,
    /// Set while bytes of an answer wait for the client.
    write_alarm: Alarm,
    /// The reader to wake once they are out.
    held_back: Option<Waker>,
    /// `Some` once the write side is shut down: how many bytes were discarded since.
    lingered_bytes: Option<usize>,
}

/// The part of the message that the first held byte belongs to.
#[derive(Debug)]
enum Phase {
    /// A head, scanned as far as it is held.
    Head(HeadScan),
    /// A body with this many bytes to come.
    Length(u64),
    /// A chunked body.
    Chunked(ChunkedFraming),
    /// Nothing: a head was refused. What follows it is discarded when the connection closes.
    Refused,
    /// Nothing: the client has ended its side, or a deadline has passed.
    Ended,
}

/// Which deadline of [`Deadlines`] is running for reads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wait {
    Off,
    Idle,
    Head,
}

/// The next step for hyper's read.
enum Step {
    /// Bytes are released.
    HandOn,
    /// The next byte decides.
    ReadMore,
    /// The last answer goes first.
    HoldBack,
    /// There is nothing more for hyper.
    End,
}

impl<S> HeadGate<S> {
    /// Puts a gate before `stream`; the deadline of the first head starts now.
    pub fn new(stream: S, deadlines: Deadlines) -> (Self, Verdicts) {
        let verdicts = Verdicts::default();
        let mut read_alarm = Alarm::default();
        read_alarm.set(Instant::now() + deadlines.head);
        let gate = Self {
            stream,
            deadlines,
            verdicts: verdicts.clone(),
            phase: Phase::Head(HeadScan::new()),
            held: Held::default(),
            released: 0,
            wait: Wait::Head,
            read_alarm,
            write_alarm: Alarm::default(),
            held_back: None,
            lingered_bytes: None,
        };
        (gate, verdicts)
    }

    /// Judges what is held, with nothing released yet.
    fn judge(&mut self) -> io::Result<Step> {
        let complete = match &self.phase {
            Phase::Length(remaining) => *remaining == 0,
            Phase::Chunked(framing) => framing.is_complete(),
            Phase::Head(_) | Phase::Refused | Phase::Ended => false,
        };
        if complete {
            self.phase = Phase::Head(HeadScan::new());
        }
        let unread = self.held.unread();
        match &mut self.phase {
            Phase::Head(_) if self.write_alarm.is_set() => Ok(Step::HoldBack),
            Phase::Head(scan) => {
                let known = scan.scanned_bytes();
                let fresh = unread.get(known..).unwrap_or_default();
                let judged = match scan.advance(fresh) {
                    Ok(None) => {
                        let started = !unread.is_empty();
                        self.wait_for_head(started);
                        return Ok(Step::ReadMore);
                    }
                    Ok(Some(end)) => {
                        let head = unread.get(..known.saturating_add(end)).unwrap_or_default();
                        head::framing_of(head).map(|framing| (framing, head.len()))
                    }
                    Err(error) => Err(error),
                };
                self.conclude(judged)?;
                Ok(Step::HandOn)
            }
            Phase::Length(_) | Phase::Chunked(_) if unread.is_empty() => Ok(Step::ReadMore),
            Phase::Length(remaining) => {
                self.released = chunked::within(*remaining, unread.len());
                *remaining = remaining.saturating_sub(chunked::as_u64(self.released));
                Ok(Step::HandOn)
            }
            Phase::Chunked(framing) => {
                self.released = framing.advance(unread)?;
                Ok(Step::HandOn)
            }
            Phase::Refused | Phase::Ended => Ok(Step::End),
        }
    }

    /// Opens the gate for a complete head, or puts the stand-in in its place.
    fn conclude(&mut self, judged: Result<(Framing, usize), HeadError>) -> io::Result<()> {
        self.wait = Wait::Off;
        self.read_alarm.clear();
        let verdict = match judged {
            Ok((framing, head_len)) => {
                self.released = head_len;
                self.phase = match framing {
                    Framing::Length(length) => Phase::Length(length),
                    Framing::Chunked => Phase::Chunked(ChunkedFraming::new()),
                };
                HeadVerdict::Accepted
            }
            Err(error) => {
                self.held.replace(STAND_IN);
                self.released = STAND_IN.len();
                self.phase = Phase::Refused;
                error.verdict()
            }
        };
        if self.verdicts.put(verdict) {
            Ok(())
        } else {
            self.released = 0;
            self.phase = Phase::Ended;
            Err(io::Error::other("a request was read before the one before it was served"))
        }
    }

    /// Starts the deadline that a head, begun or not, is waited for with; one that runs already is left alone.
    fn wait_for_head(&mut self, started: bool) {
        let (wait, patience) = match self.wait {
            Wait::Head => return,
            Wait::Off | Wait::Idle if started => (Wait::Head, self.deadlines.head),
            Wait::Idle => return,
            Wait::Off => (Wait::Idle, self.deadlines.idle),
        };
        self.wait = wait;
        self.read_alarm.set(Instant::now() + patience);
    }

    /// Passes on what a write came to, or that it has been stuck for too long.
    fn watch_write<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.write_alarm.clear();
            if let Some(reader) = self.held_back.take() {
                reader.wake();
            }
            return outcome;
        }
        if !self.write_alarm.is_set() {
            self.write_alarm.set(Instant::now() + self.deadlines.write_progress);
        }
        if self.write_alarm.is_due(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }

    /// Starts the idle deadline over: hyper may look for the next head before the last of an answer is out.
    ///
    /// Only for bytes that moved. hyper flushes whenever it is woken, and that must not keep a connection alive.
    fn restart_idle(&mut self) {
        if self.wait == Wait::Idle {
            self.read_alarm.set(Instant::now() + self.deadlines.idle);
        }
    }

    /// Whether the client may be in the middle of sending, so that its bytes are worth waiting for when closing.
    fn is_client_sending(&self) -> bool {
        match &self.phase {
            Phase::Length(remaining) => *remaining > 0,
            Phase::Chunked(framing) => !framing.is_complete(),
            Phase::Refused => true,
            Phase::Head(_) | Phase::Ended => false,
        }
    }
}

impl<S: AsyncRead + Unpin> HeadGate<S> {
    /// Discards what the client still sends, within the bounds of lingering.
    fn poll_linger(&mut self, mut lingered_bytes: usize, cx: &mut Context<'_>) -> Poll<()> {
        while lingered_bytes < MAX_LINGER_BYTES {
            let mut chunk = [MaybeUninit::uninit(); READ_CHUNK_BYTES];
            let mut chunk = ReadBuf::uninit(&mut chunk);
            match Pin::new(&mut self.stream).poll_read(cx, &mut chunk) {
                Poll::Ready(Ok(())) if !chunk.filled().is_empty() => {
                    lingered_bytes = lingered_bytes.saturating_add(chunk.filled().len());
                    self.lingered_bytes = Some(lingered_bytes);
                }
                Poll::Pending if self.is_client_sending() && !self.read_alarm.is_due(cx) => {
                    return Poll::Pending;
                }
                Poll::Ready(_) | Poll::Pending => break,
            }
        }
        self.phase = Phase::Ended;
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeadGate<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        loop {
            if gate.released > 0 || out.remaining() == 0 {
                let count = gate.released.min(out.remaining());
                out.put_slice(gate.held.unread().get(..count).unwrap_or_default());
                gate.held.consume(count);
                gate.released = gate.released.saturating_sub(count);
                return Poll::Ready(Ok(()));
            }
            match gate.judge()? {
                Step::HandOn => continue,
                Step::End => return Poll::Ready(Ok(())),
                Step::HoldBack => {
                    gate.held_back = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Step::ReadMore => {}
            }
            match gate.held.poll_fill(&mut gate.stream, cx)? {
                Poll::Ready(0) => gate.phase = Phase::Ended,
                Poll::Ready(_) => {}
                Poll::Pending if gate.read_alarm.is_due(cx) => gate.phase = Phase::Ended,
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for HeadGate<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let gate = self.get_mut();
        let outcome = Pin::new(&mut gate.stream).poll_write(cx, bytes);
        if outcome.is_ready() {
            gate.restart_idle();
        }
        gate.watch_write(cx, outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let gate = self.get_mut();
        let outcome = Pin::new(&mut gate.stream).poll_write_vectored(cx, slices);
        if outcome.is_ready() {
            gate.restart_idle();
        }
        gate.watch_write(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        let outcome = Pin::new(&mut gate.stream).poll_flush(cx);
        if outcome.is_ready() && gate.write_alarm.is_set() {
            gate.restart_idle();
        }
        gate.watch_write(cx, outcome)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        let lingered_bytes = match gate.lingered_bytes {
            Some(lingered_bytes) => lingered_bytes,
            None => {
                let outcome = Pin::new(&mut gate.stream).poll_shutdown(cx);
                ready!(gate.watch_write(cx, outcome))?;
                gate.lingered_bytes = Some(0);
                gate.wait = Wait::Off;
                gate.read_alarm.set(Instant::now() + LINGER);
                0
            }
        };
        gate.poll_linger(lingered_bytes, cx).map(Ok)
    }
}
