//! Dialing on behalf of a client that waits.

use std::future::{Future, pending, poll_fn};
use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, timeout_at};
use transport::Stream;

use crate::backoff::Backoff;
use crate::buffer::Buffer;

/// An enclave that is about to listen does so within tens of milliseconds; one that boots takes a second.
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(10);

/// Keeps several attempts within the dial timeout without crowding the enclave.
const LAST_RETRY_DELAY: Duration = Duration::from_millis(200);

/// How often a client that closed its writing half is asked whether it still reads.
const PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// How dialing ended.
#[derive(Debug)]
pub(crate) enum Connect {
    /// With a connection.
    Connected(Stream),
    /// The client left first.
    ClientLeft,
    /// The last attempt failed like this, and no time is left for another.
    Failed(io::Error),
}

/// Dials until it succeeds, the time is over, or the client leaves. What the client sends meanwhile goes
/// into `early`.
pub(crate) async fn connect<F>(
    dial: impl Fn() -> F,
    dial_timeout: Duration,
    client: &mut Stream,
    early: &mut Buffer,
) -> Connect
where
    F: Future<Output = io::Result<Stream>>,
{
    tokio::select! {
        // A destination that is there is reached at the first poll: the client is only watched when there
        // is a wait.
        biased;
        dialed = dial_until(dial, Instant::now() + dial_timeout) => match dialed {
            Ok(stream) => Connect::Connected(stream),
            Err(error) => Connect::Failed(error),
        },
        () = wait_until_left(client, early) => Connect::ClientLeft,
    }
}

async fn dial_until<F>(dial: impl Fn() -> F, deadline: Instant) -> io::Result<Stream>
where
    F: Future<Output = io::Result<Stream>>,
{
    let mut backoff = Backoff::new(FIRST_RETRY_DELAY, LAST_RETRY_DELAY);
    let mut last_error = io::Error::from(io::ErrorKind::TimedOut);
    loop {
        match timeout_at(deadline, dial()).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last_error = error,
            Err(_) => return Err(last_error),
        }
        let delay = backoff.next_delay();
        if Instant::now() + delay >= deadline {
            return Err(last_error);
        }
        sleep(delay).await;
    }
}

/// Returns when the client is gone: it reset the connection, or closed it without
/// asking anything. One that asked and closed its writing half still waits for its answer.
async fn wait_until_left(client: &mut Stream, early: &mut Buffer) {
    while !early.is_full() {
        match poll_fn(|cx| early.poll_fill(cx, client)).await {
            Ok(0) if early.is_empty() => return,
            Ok(0) => break,
            Ok(_) => {}
            Err(_) => return,
        }
    }
    if early.is_full() {
        // More would have to be read to notice that the client left. The dial timeout is short.
        return pending().await;
    }
    while client.write(&[]).await.is_ok() {
        sleep(PROBE_INTERVAL).await;
    }
}
