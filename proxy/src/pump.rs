//! Moves bytes between two streams until both are done.
//!
//! Both directions follow the same rules:
//!
//! * The end of one side's bytes is passed on: the other side's writing half is closed, its reading half
//!   stays open.
//! * A side that takes no more bytes does not end the connection, because its answer may be on the way (an
//!   HTTP server that refuses a large body answers first and then stops reading). What the other side still
//!   sends is discarded.
//! * A side whose bytes ended is asked, with empty writes, whether it still takes any: a half-closed peer
//!   does, a dead one does not, and both look alike to a reader.
//! * While the client does not take its answers, nothing more is read from it. Otherwise a client that sends and never
//!   reads would fill the buffers of everything behind. The destination is read all the same: an answer may come before
//!   the request is taken.
//! * At the end of a drain the destination gets nothing more from the client: what the client still sends is discarded.
//!   The destination is not told, because some vsock devices end a half-closed connection. Its answers to what it got
//!   before are delivered.
//! * When one side is gone and the last bytes for the other are written, the other's bytes are discarded
//!   for a while. Closing a tcp socket with unread bytes sends a reset, and a reset destroys what the peer
//!   has not read yet.

mod direction;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};

pub(crate) use self::direction::Carrier;
use self::direction::{Direction, Intake};

/// How long bytes are discarded before a connection with nowhere to send them is closed. A peer that reads
/// its answer closes within a round trip.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a half-closed side is asked whether it still reads. Its own descriptor does not always report
/// it.
const PROBE_INTERVAL: Duration = Duration::from_millis(250);

/// The deadlines of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    /// Without a byte in either direction.
    pub(crate) idle_timeout: Duration,
    /// With bytes that one side does not take.
    pub(crate) progress_timeout: Duration,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Both sides sent everything they had.
    Complete,
    /// One side went away before the other was done.
    Abandoned,
    /// No byte moved for the idle timeout.
    Idle,
    /// One side took no byte for the progress timeout.
    Stalled,
}

/// A connection between a client and what it was connected to.
pub(crate) struct Pump<'a, C, D> {
    client: &'a mut C,
    destination: &'a mut D,
    to_destination: Direction,
    to_client: Direction,
    deadlines: Deadlines,
    linger_until: Option<Instant>,
}

impl<'a, C, D> Pump<'a, C, D>
where
    C: AsyncRead + AsyncWrite + Unpin,
    D: AsyncRead + AsyncWrite + Unpin,
{
    pub(crate) fn new(
        (client, to_destination): (&'a mut C, Carrier),
        (destination, to_client): (&'a mut D, Carrier),
        deadlines: Deadlines,
    ) -> Self {
        let now = Instant::now();
        Self {
            client,
            destination,
            to_destination: Direction::new(to_destination, now),
            to_client: Direction::new(to_client, now),
            deadlines,
            linger_until: None,
        }
    }

    /// Runs until the connection is to be closed, which is the caller's to do. Once `is_closing`, the destination gets
    /// nothing more from the client.
    pub(crate) async fn run(mut self, is_closing: &AtomicBool) -> Outcome {
        let mut timer = pin!(sleep_until(self.next_deadline(Instant::now())));
        poll_fn(|cx| {
            // Nothing wakes the pump for it: it matters when the client sends.
            if is_closing.load(Ordering::Relaxed) {
                self.to_destination.stop_taking();
            }
            loop {
                let now = Instant::now();
                if let Some(outcome) = self.advance(cx, now) {
                    return Poll::Ready(outcome);
                }
                // Most polls only move the deadline back. The timer is left to fire and is then set again.
                let next = self.next_deadline(now);
                if timer.is_elapsed() || next < timer.deadline() {
                    timer.as_mut().reset(next);
                }
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    fn advance(&mut self, cx: &mut Context<'_>, now: Instant) -> Option<Outcome> {
        self.move_bytes(cx, now);

        let (up, down) = (&self.to_destination, &self.to_client);
        if up.is_finished() && down.is_finished() {
            return Some(Outcome::Complete);
        }
        if up.is_discarding() && down.is_discarding() {
            return Some(Outcome::Abandoned);
        }
        let lingering =
            (up.is_finished() && down.is_discarding()) || (down.is_finished() && up.is_discarding());
        if lingering {
            let until = *self.linger_until.get_or_insert(now + LINGER_TIMEOUT);
            if now >= until || up.is_budget_spent() || down.is_budget_spent() {
                return Some(Outcome::Abandoned);
            }
        }
        if self.progress_deadline().is_some_and(|deadline| now >= deadline) {
            return Some(Outcome::Stalled);
        }
        (now >= self.idle_deadline()).then_some(Outcome::Idle)
    }

    /// Moves what can be moved, and tells each direction what the other learned about their common sides.
    fn move_bytes(&mut self, cx: &mut Context<'_>, now: Instant) {
        loop {
            let destination_failed =
                self.to_client.poll(cx, self.destination, self.client, now, Intake::Open);
            let intake = if self.to_client.is_stalled() { Intake::Closed } else { Intake::Open };
            let client_failed = self.to_destination.poll(cx, self.client, self.destination, now, intake);

            let client_gone =
                client_failed || (self.to_destination.is_finished() && refuses(cx, self.client));
            let destination_gone =
                destination_failed || (self.to_client.is_finished() && refuses(cx, self.destination));

            let mut changed = false;
            if client_gone {
                changed |= self.to_client.give_up_writing();
            }
            if destination_gone {
                changed |= self.to_destination.give_up_writing();
            }
            if !changed {
                return;
            }
        }
    }

    fn idle_deadline(&self) -> Instant {
        self.to_destination.last_moved().max(self.to_client.last_moved()) + self.deadlines.idle_timeout
    }

    fn progress_deadline(&self) -> Option<Instant> {
        [&self.to_destination, &self.to_client]
            .into_iter()
            .filter_map(Direction::stalled_since)
            .min()
            .map(|since| since + self.deadlines.progress_timeout)
    }

    fn next_deadline(&self, now: Instant) -> Instant {
        let half_closed = self.to_destination.is_finished() != self.to_client.is_finished();
        [self.progress_deadline(), self.linger_until, half_closed.then_some(now + PROBE_INTERVAL)]
            .into_iter()
            .flatten()
            .fold(self.idle_deadline(), Instant::min)
    }
}

/// Whether the kernel knows that this side reads no more. An empty write sends nothing.
fn refuses<S: AsyncWrite + Unpin>(cx: &mut Context<'_>, side: &mut S) -> bool {
    matches!(Pin::new(side).poll_write(cx, &[]), Poll::Ready(Err(_)))
}

#[cfg(test)]
mod tests;
