//! The pump over in-memory pipes and a clock that jumps.

use std::io;
use std::sync::Arc;
use std::task::ready;

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::buffer::{Buffer, SIZE_BYTES};

/// Small, so that a peer that does not read is noticed soon.
const PIPE_BYTES: usize = 64;

const DEADLINES: Deadlines =
    Deadlines { idle_timeout: Duration::from_secs(90), progress_timeout: Duration::from_secs(30) };

fn carrier() -> Carrier {
    Carrier { buffer: Buffer::new(), moved_bytes: Counter::default() }
}

fn spawn<C, D>(mut client: C, mut destination: D) -> JoinHandle<Outcome>
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    D: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        Pump::new((&mut client, carrier()), (&mut destination, carrier()), DEADLINES)
            .run(&AtomicBool::new(false))
            .await
    })
}

/// A running pump and the far ends of its two streams.
fn start() -> (DuplexStream, DuplexStream, JoinHandle<Outcome>) {
    let (client, client_side) = duplex(PIPE_BYTES);
    let (destination, destination_side) = duplex(PIPE_BYTES);
    (client, destination, spawn(client_side, destination_side))
}

async fn read_all(stream: &mut DuplexStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test(start_paused = true)]
async fn the_client_closes_its_half_first() {
    let (mut client, mut destination, pump) = start();
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut destination).await, "question");
    destination.write_all(b"answer").await.unwrap();
    destination.shutdown().await.unwrap();
    assert_eq!(read_all(&mut client).await, "answer");
    assert_eq!(pump.await.unwrap(), Outcome::Complete);
}

#[tokio::test(start_paused = true)]
async fn the_destination_closes_its_half_first() {
    let (mut client, mut destination, pump) = start();
    destination.write_all(b"greeting").await.unwrap();
    destination.shutdown().await.unwrap();
    assert_eq!(read_all(&mut client).await, "greeting");
    // Longer than any linger: a half-closed destination that reads is not a dead one.
    tokio::time::sleep(Duration::from_secs(60)).await;
    client.write_all(b"at last").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut destination).await, "at last");
    assert_eq!(pump.await.unwrap(), Outcome::Complete);
}

#[tokio::test(start_paused = true)]
async fn an_answer_arrives_although_the_request_is_refused() {
    let (mut client, mut destination, pump) = start();
    client.write_all(b"half a request").await.unwrap();
    destination.write_all(b"too large").await.unwrap();
    drop(destination);
    let (mut reader, mut writer) = tokio::io::split(client);
    let sending = tokio::spawn(async move {
        let body = vec![0; 1024 * 1024];
        writer.write_all(&body).await
    });
    let mut answer = String::new();
    reader.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "too large");
    sending.await.unwrap().unwrap();
    drop(reader);
    assert_eq!(pump.await.unwrap(), Outcome::Complete);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_ignores_the_end_is_closed_after_the_linger() {
    let (mut client, destination, pump) = start();
    let start = Instant::now();
    drop(destination);
    assert_eq!(read_all(&mut client).await, "");
    assert!(start.elapsed() < Duration::from_millis(10));
    assert_eq!(pump.await.unwrap(), Outcome::Abandoned);
    assert!(start.elapsed() >= LINGER_TIMEOUT);
    assert!(start.elapsed() < LINGER_TIMEOUT + PROBE_INTERVAL);
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_side_that_dies_later_is_noticed() {
    let (mut client, mut destination, pump) = start();
    destination.shutdown().await.unwrap();
    assert_eq!(read_all(&mut client).await, "");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!pump.is_finished());
    let start = Instant::now();
    drop(destination);
    assert_eq!(pump.await.unwrap(), Outcome::Abandoned);
    assert!(start.elapsed() < LINGER_TIMEOUT + PROBE_INTERVAL * 2);
}

#[tokio::test(start_paused = true)]
async fn what_a_client_sends_after_its_answer_is_bounded() {
    let (mut client, destination, pump) = start();
    drop(destination);
    let flood = vec![0; 64 * 1024];
    let mut sent_bytes = 0;
    while client.write_all(&flood).await.is_ok() {
        sent_bytes += flood.len();
    }
    assert!(sent_bytes <= 17 * 1024 * 1024);
    assert_eq!(pump.await.unwrap(), Outcome::Abandoned);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_ends_the_destination_too() {
    let (client, mut destination, pump) = start();
    drop(client);
    assert_eq!(read_all(&mut destination).await, "");
    drop(destination);
    assert_eq!(pump.await.unwrap(), Outcome::Complete);
}

#[tokio::test(start_paused = true)]
async fn silence_ends_at_the_idle_deadline_and_a_byte_postpones_it() {
    let (mut client, mut destination, pump) = start();
    let start = Instant::now();
    let mut byte = [0];
    for _ in 0..3 {
        tokio::time::sleep(DEADLINES.idle_timeout - Duration::from_secs(1)).await;
        client.write_all(b"x").await.unwrap();
        destination.read_exact(&mut byte).await.unwrap();
    }
    assert_eq!(pump.await.unwrap(), Outcome::Idle);
    let expected = DEADLINES.idle_timeout * 4 - Duration::from_secs(3);
    assert!(start.elapsed() >= expected);
    assert!(start.elapsed() < expected + Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_closed_and_costs_one_buffer() {
    let (_client, mut destination, pump) = start();
    let start = Instant::now();
    let mut sent_bytes = 0;
    while destination.write_all(&[0; 16]).await.is_ok() {
        sent_bytes += 16;
    }
    assert_eq!(pump.await.unwrap(), Outcome::Stalled);
    assert!(start.elapsed() >= DEADLINES.progress_timeout);
    assert!(sent_bytes <= 2 * PIPE_BYTES + SIZE_BYTES + PIPE_BYTES);
}

#[tokio::test(start_paused = true)]
async fn requests_wait_with_a_client_that_does_not_read_its_answers() {
    let (mut client, destination, pump) = start();
    let answers = vec![7; 4 * SIZE_BYTES];
    let (mut requests, mut answering) = tokio::io::split(destination);
    let sending = tokio::spawn(async move { answering.write_all(&answers).await });
    // The answers fill what there is for them.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut sent_bytes = 0;
    while let Ok(written) = timeout(Duration::from_secs(1), client.write(&[1; 16])).await {
        sent_bytes += written.unwrap();
    }
    assert_eq!(sent_bytes, PIPE_BYTES, "only the client's own buffer takes them");
    let first = timeout(Duration::from_secs(1), requests.read_u8()).await;
    assert!(first.is_err(), "a request was passed on");

    // A client that reads again is served again.
    let mut answer = vec![0; 4 * SIZE_BYTES];
    client.read_exact(&mut answer).await.unwrap();
    let mut arrived = [0; PIPE_BYTES];
    requests.read_exact(&mut arrived).await.unwrap();
    assert_eq!(arrived, [1; PIPE_BYTES]);
    sending.await.unwrap().unwrap();
    drop((client, requests));
    pump.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_comes_while_the_destination_takes_no_request() {
    let (mut client, mut destination, pump) = start();
    let filling = timeout(Duration::from_secs(1), client.write_all(&vec![0; 4 * SIZE_BYTES])).await;
    assert!(filling.is_err(), "the request fills what there is for it");
    destination.write_all(b"too large").await.unwrap();
    let mut answer = [0; 9];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"too large");
    drop((client, destination));
    pump.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn slow_is_not_stalled() {
    let (mut client, mut destination, pump) = start();
    let sending = tokio::spawn(async move {
        destination.write_all(&[7; 4 * PIPE_BYTES]).await.unwrap();
        destination
    });
    let mut piece = [0; PIPE_BYTES];
    for _ in 0..4 {
        tokio::time::sleep(DEADLINES.progress_timeout - Duration::from_secs(1)).await;
        client.read_exact(&mut piece).await.unwrap();
        assert_eq!(piece, [7; PIPE_BYTES]);
    }
    drop(client);
    drop(sending.await.unwrap());
    assert_eq!(pump.await.unwrap(), Outcome::Complete);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_came_early_go_first_and_all_are_counted() {
    let (mut client, mut client_side) = duplex(PIPE_BYTES);
    let (mut destination, mut destination_side) = duplex(PIPE_BYTES);
    client.write_all(b"early ").await.unwrap();
    let mut early = carrier();
    let count = poll_fn(|cx| early.buffer.poll_fill(cx, &mut client_side)).await.unwrap();
    assert_eq!(count, 6);
    let moved_bytes = early.moved_bytes.clone();
    let pump = tokio::spawn(async move {
        let pump = Pump::new((&mut client_side, early), (&mut destination_side, carrier()), DEADLINES);
        pump.run(&AtomicBool::new(false)).await
    });
    client.write_all(b"late").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut destination).await, "early late");
    drop(destination);
    assert_eq!(pump.await.unwrap(), Outcome::Complete);
    assert_eq!(moved_bytes.get(), 10);
}

#[tokio::test(start_paused = true)]
async fn after_the_last_call_answers_come_and_requests_go_nowhere() {
    let (mut client, mut client_side) = duplex(PIPE_BYTES);
    let (mut destination, mut destination_side) = duplex(PIPE_BYTES);
    let is_closing = Arc::new(AtomicBool::new(false));
    let pump = tokio::spawn({
        let is_closing = Arc::clone(&is_closing);
        async move {
            let pump =
                Pump::new((&mut client_side, carrier()), (&mut destination_side, carrier()), DEADLINES);
            pump.run(&is_closing).await
        }
    });
    // More than the pipe to the destination holds: the rest is in the pump's buffer when the last answers begin.
    let question = "q".repeat(2 * PIPE_BYTES);
    client.write_all(question.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    is_closing.store(true, Ordering::Relaxed);
    let mut passed_on = vec![0; question.len()];
    destination.read_exact(&mut passed_on).await.unwrap();
    assert_eq!(passed_on, question.as_bytes());
    // More than the pipe holds: the pump takes it, so that closing does not reset the connection.
    client.write_all("late".repeat(PIPE_BYTES).as_bytes()).await.unwrap();
    destination.write_all(b"answer").await.unwrap();
    let mut answer = [0; 6];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"answer");
    // The destination learns of the client's end, and of nothing before it.
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut destination).await, "");
    drop(destination);
    assert_eq!(read_all(&mut client).await, "");
    assert_eq!(pump.await.unwrap(), Outcome::Complete);
}

/// A peer that resets the connection after its last byte.
struct Resetting(DuplexStream);

impl AsyncRead for Resetting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(cx, buffer))?;
        if buffer.filled().len() == before {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Resetting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_before_a_reset_is_delivered() {
    let (mut client, client_side) = duplex(PIPE_BYTES);
    let (mut destination, destination_side) = duplex(PIPE_BYTES);
    destination.write_all(b"last words").await.unwrap();
    destination.shutdown().await.unwrap();
    let start = Instant::now();
    let pump = spawn(client_side, Resetting(destination_side));
    assert_eq!(read_all(&mut client).await, "last words");
    // The destination still reads, but a reset ends both directions.
    assert_eq!(pump.await.unwrap(), Outcome::Abandoned);
    assert!(start.elapsed() < LINGER_TIMEOUT + PROBE_INTERVAL);
}
