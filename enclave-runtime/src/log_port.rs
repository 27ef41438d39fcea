//! The log: lines to standard error, which is the console, and to the parent's log port. Outside debug mode an operator
//! sees only the latter. The parent reads every line, so none may hold a secret. Lines that it misses are counted, and
//! one line gives their number when it reads again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;
use tracing_subscriber::fmt::MakeWriter;
use transport::Stream;

use crate::aws::backoff::Backoff;
use crate::relay::{ParentCid, Relay};
use configuration::DEFAULT_LOG_PORT;

/// Lines that wait for the parent, 512 KiB at most. What comes when it is full is on the console only, and counted.
const MAX_WAITING_LINES: usize = 512;

/// Bytes of a line that are sent.
const MAX_LINE_BYTES: usize = 1024;

/// Time to connect, and to write a line. A parent that reads no log must not keep the signer from stopping.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two looks at whether the queue is empty.
const SETTLE_INTERVAL: Duration = Duration::from_millis(20);

const BETWEEN_TRIES: Backoff = Backoff { base: Duration::from_millis(500), cap: Duration::from_secs(30) };

/// Writes each line to standard error and, if there is room, to the queue for the parent.
#[derive(Clone)]
pub(crate) struct LogWriter {
    queue: Sender<Vec<u8>>,
    /// Ends the sender's wait for its next try.
    hurry: Arc<Notify>,
    counts: Arc<Counts>,
}

/// The queue's other end.
pub(crate) struct LogQueue {
    waiting: Receiver<Vec<u8>>,
    hurry: Arc<Notify>,
    counts: Arc<Counts>,
}

/// The counters of both ends.
#[derive(Default)]
struct Counts {
    /// Lines that were queued and are neither sent nor lost yet.
    pending: AtomicUsize,
    /// Lines that the parent was not sent, and was not told of.
    lost: AtomicU64,
}

/// Both ends.
pub(crate) fn log_port() -> (LogWriter, LogQueue) {
    let (queue, waiting) = channel(MAX_WAITING_LINES);
    let hurry = Arc::new(Notify::new());
    let counts = Arc::<Counts>::default();
    let writer = LogWriter { queue, hurry: Arc::clone(&hurry), counts: Arc::clone(&counts) };
    (writer, LogQueue { waiting, hurry, counts })
}

impl LogWriter {
    /// Waits until the parent has been sent what was written so far, for `patience` at most.
    pub(crate) async fn settle(&self, patience: Duration) {
        self.hurry.notify_one();
        let all_sent = async {
            while self.counts.pending.load(Ordering::Acquire) > 0 {
                tokio::time::sleep(SETTLE_INTERVAL).await;
            }
        };
        let _ = timeout(patience, all_sent).await;
    }
}

impl io::Write for LogWriter {
    /// Takes a whole line, as tracing's formatter hands them out.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // The log is no reason to fail.
        let _ = io::Write::write_all(&mut io::stderr(), line);
        let mut sent = line[..line.len().min(MAX_LINE_BYTES)].to_vec();
        if sent.last() != Some(&b'\n') {
            sent.push(b'\n');
        }
        self.counts.pending.fetch_add(1, Ordering::AcqRel);
        if self.queue.try_send(sent).is_err() {
            self.counts.lost.fetch_add(1, Ordering::AcqRel);
            self.counts.pending.fetch_sub(1, Ordering::AcqRel);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for LogWriter {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

impl LogQueue {
    /// Sends lines to `relay` until there is nobody left to write any. A line is lost if the connection is. When no
    /// line waits, the parent is told of those that were lost; it does not hear of what it was sent and did not read.
    pub(crate) async fn send_to(mut self, relay: Relay) {
        let mut failures = 0;
        while let Some(first) = self.waiting.recv().await {
            match self.send_over(&relay, first).await {
                // It worked for a while.
                Ok(()) => failures = 0,
                Err(NotConnected) => {
                    failures += 1;
                    // A line that waits in the queue then gets its try at once.
                    let _ = timeout(BETWEEN_TRIES.wait(failures), self.hurry.notified()).await;
                }
            }
        }
    }

    async fn send_over(&mut self, relay: &Relay, first: Vec<u8>) -> Result<(), NotConnected> {
        let dialed = timeout(PATIENCE, relay.dial()).await;
        let Ok(Ok(mut stream)) = dialed else {
            self.loses(1);
            self.is_done_with_one();
            return Err(NotConnected);
        };
        let mut line = first;
        loop {
            let is_sent = self.send(&mut stream, &line).await;
            self.is_done_with_one();
            if !is_sent {
                return Ok(());
            }
            match self.waiting.recv().await {
                Some(next) => line = next,
                None => return Ok(()),
            }
        }
    }

    /// Writes `line`, and how many were lost if no other waits. Whether there may be a next one.
    async fn send(&self, stream: &mut Stream, line: &[u8]) -> bool {
        if !is_written(stream, line).await {
            self.loses(1);
            return false;
        }
        if !self.waiting.is_empty() {
            return true;
        }
        let lost = self.counts.lost.swap(0, Ordering::AcqRel);
        if lost > 0 && !is_written(stream, line_about(lost).as_bytes()).await {
            self.loses(lost);
            return false;
        }
        true
    }

    fn loses(&self, lines: u64) {
        self.counts.lost.fetch_add(lines, Ordering::AcqRel);
    }

    /// Sent or lost.
    fn is_done_with_one(&self) {
        self.counts.pending.fetch_sub(1, Ordering::AcqRel);
    }
}

fn line_about(lost: u64) -> String {
    format!("WARN {}: {lost} lines of the log did not reach the parent\n", module_path!())
}

async fn is_written(stream: &mut Stream, line: &[u8]) -> bool {
    matches!(timeout(PATIENCE, stream.write_all(line)).await, Ok(Ok(())))
}

/// Says why there will be no signer: to the console, and to the parent at its default log port. For what fails before
/// `nitro.toml` could tell where the log goes.
pub fn tell_unlogged(parent: &ParentCid, line: &str) {
    // Nothing is left to tell if the console is gone.
    let _ = io::Write::write_all(&mut io::stderr(), format!("{line}\n").as_bytes());
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let relay = Relay::of_parent(parent, DEFAULT_LOG_PORT);
    let sent = async {
        let mut stream = relay.dial().await?;
        stream.write_all(format!("{line}\n").as_bytes()).await?;
        // A device may drop what it has when the machine goes: wait until the parent has read to the end.
        stream.shutdown().await?;
        stream.read(&mut [0]).await
    };
    // A parent that reads no log misses it.
    let _ = runtime.block_on(async { timeout(PATIENCE, sent).await });
}

struct NotConnected;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tokio::io::{AsyncBufReadExt as _, BufReader};
    use transport::{Address, Listener};

    use super::{MAX_LINE_BYTES, MAX_WAITING_LINES, line_about, log_port};
    use crate::relay::Relay;

    #[tokio::test]
    async fn lines_reach_the_parent_also_one_that_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let address: Address = format!("unix:{}", folder.path().join("log").display()).parse().unwrap();
        let (mut writer, queue) = log_port();
        let long = "x".repeat(2 * MAX_LINE_BYTES);
        writer.write_all(b"one\n").unwrap();
        writer.write_all(long.as_bytes()).unwrap();
        let sending = tokio::spawn(queue.send_to(Relay::at(address.clone())));

        let listener = Listener::bind(&address).await.unwrap();
        let mut lines = BufReader::new(listener.accept().await.unwrap()).lines();
        let first = lines.next_line().await.unwrap().unwrap();
        // The first try may have come before the listener.
        if first == "one" {
            assert_eq!(lines.next_line().await.unwrap().unwrap(), long[..MAX_LINE_BYTES]);
        } else {
            assert_eq!(first, long[..MAX_LINE_BYTES]);
        }
        drop(lines);

        // Written to a connection that is gone, a line is lost; the next ones are not.
        let mut lines = loop {
            writer.write_all(b"again\n").unwrap();
            let wait = tokio::time::timeout(std::time::Duration::from_millis(100), listener.accept());
            if let Ok(stream) = wait.await {
                break BufReader::new(stream.unwrap()).lines();
            }
        };
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "again");
        drop(writer);
        while lines.next_line().await.unwrap().is_some() {}
        sending.await.unwrap();
    }

    #[tokio::test]
    async fn lines_that_found_no_room_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let address: Address = format!("unix:{}", folder.path().join("log").display()).parse().unwrap();
        let listener = Listener::bind(&address).await.unwrap();
        let (mut writer, queue) = log_port();
        for _ in 0..MAX_WAITING_LINES + 37 {
            writer.write_all(b"line\n").unwrap();
        }
        let sending = tokio::spawn(queue.send_to(Relay::at(address)));
        let mut lines = BufReader::new(listener.accept().await.unwrap()).lines();
        for _ in 0..MAX_WAITING_LINES {
            assert_eq!(lines.next_line().await.unwrap().unwrap(), "line");
        }
        assert_eq!(lines.next_line().await.unwrap().unwrap(), line_about(37).trim_end());
        // The line appears once.
        for line in ["next", "last"] {
            writer.write_all(format!("{line}\n").as_bytes()).unwrap();
            assert_eq!(lines.next_line().await.unwrap().unwrap(), line);
        }
        drop(writer);
        assert_eq!(lines.next_line().await.unwrap(), None);
        sending.await.unwrap();
    }

    #[tokio::test]
    async fn lines_that_met_a_cut_connection_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let address: Address = format!("unix:{}", folder.path().join("log").display()).parse().unwrap();
        let listener = Listener::bind(&address).await.unwrap();
        let (mut writer, queue) = log_port();
        let sending = tokio::spawn(queue.send_to(Relay::at(address.clone())));
        writer.write_all(b"before\n").unwrap();
        let mut lines = BufReader::new(listener.accept().await.unwrap()).lines();
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "before");
        drop((lines, listener));

        // The first finds the connection cut, the others nobody to connect to.
        for _ in 0..3 {
            writer.write_all(b"lost\n").unwrap();
        }
        writer.settle(std::time::Duration::from_secs(20)).await;
        let listener = Listener::bind(&address).await.unwrap();
        writer.write_all(b"after\n").unwrap();
        let mut lines = BufReader::new(listener.accept().await.unwrap()).lines();
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "after");
        assert_eq!(lines.next_line().await.unwrap().unwrap(), line_about(3).trim_end());
        sending.abort();
    }

    /// The line that says why nothing starts is often the only one, and written just before the end.
    #[tokio::test]
    async fn the_last_line_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let address: Address = format!("unix:{}", folder.path().join("log").display()).parse().unwrap();
        let listener = Listener::bind(&address).await.unwrap();
        let (mut writer, queue) = log_port();
        let sending = tokio::spawn(queue.send_to(Relay::at(address)));
        writer.write_all(b"the last\n").unwrap();
        writer.settle(std::time::Duration::from_secs(20)).await;
        sending.abort();
        let mut lines = BufReader::new(listener.accept().await.unwrap()).lines();
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "the last");
    }

    #[tokio::test]
    async fn nothing_is_waited_for_without_a_line_or_without_a_parent() {
        let (mut writer, queue) = log_port();
        writer.settle(std::time::Duration::MAX).await;
        let sending = tokio::spawn(queue.send_to(Relay::at("unix:/nowhere/log".parse().unwrap())));
        writer.write_all(b"lost\n").unwrap();
        writer.settle(std::time::Duration::MAX).await;
        sending.abort();
    }

    #[test]
    fn a_parent_that_reads_nothing_stops_nobody() {
        let (mut writer, _queue) = log_port();
        for _ in 0..2 * MAX_WAITING_LINES {
            writer.write_all(b"line\n").unwrap();
        }
    }
}
