//! Standard output as the far end of a connection.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Stdout, stdout};
use tokio::sync::Mutex;
use tokio::time::timeout;
use transport::Stream;

use crate::buffer::SIZE_BYTES;
use crate::metrics::RouteMetrics;

/// Journals split lines at 48 KiB; an event that takes more than this is not one a person reads.
const LINE_MAX_BYTES: usize = 8 * 1024;

/// Ends a line whose rest was dropped.
const TRUNCATED: &str = " [truncated]";

/// Standard output, shared by the connections that write lines to it.
#[derive(Debug)]
pub(crate) struct LineSink(Mutex<Stdout>);

impl LineSink {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(stdout()))
    }

    /// Writes each line the client sends until it has no more, or is gone. A client may be quiet for as
    /// long as it likes. The error is that of standard output.
    pub(crate) async fn copy_lines(
        &self,
        client: &mut Stream,
        progress_timeout: Duration,
        metrics: &RouteMetrics,
    ) -> io::Result<()> {
        let mut lines = LineSplitter::default();
        let mut bytes = vec![0; SIZE_BYTES];
        loop {
            // A client that is gone has ended its last line as well as it could.
            let count = client.read(&mut bytes).await.unwrap_or(0);
            let text = if count == 0 { lines.finish() } else { lines.push(&bytes[..count]) };
            timeout(progress_timeout, self.write(&text)).await??;
            metrics.bytes_to_destination.inc_by(count as u64);
            if count == 0 {
                return Ok(());
            }
        }
    }

    /// Writes whole lines, so that those of two connections do not mix.
    async fn write(&self, text: &str) -> io::Result<()> {
        let mut stdout = self.0.lock().await;
        stdout.write_all(text.as_bytes()).await?;
        stdout.flush().await
    }
}

/// Turns bytes into lines of bounded length without control characters, which could drive a terminal.
#[derive(Debug, Default)]
struct LineSplitter {
    line: Vec<u8>,
    truncated: bool,
}

impl LineSplitter {
    /// The lines that these bytes complete.
    fn push(&mut self, bytes: &[u8]) -> String {
        let mut text = String::new();
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (content, complete) = match part.strip_suffix(b"\n") {
                Some(content) => (content, true),
                None => (part, false),
            };
            let room = LINE_MAX_BYTES - self.line.len();
            self.truncated |= content.len() > room;
            self.line.extend_from_slice(&content[..content.len().min(room)]);
            if complete {
                self.end_line(&mut text);
            }
        }
        text
    }

    /// The line that was begun and will not be completed.
    fn finish(&mut self) -> String {
        let mut text = String::new();
        if !self.line.is_empty() {
            self.end_line(&mut text);
        }
        text
    }

    fn end_line(&mut self, text: &mut String) {
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        text.extend(String::from_utf8_lossy(line).chars().map(|character| {
            if character.is_control() && character != '\t' { char::REPLACEMENT_CHARACTER } else { character }
        }));
        if self.truncated {
            text.push_str(TRUNCATED);
        }
        text.push('\n');
        self.line.clear();
        self.truncated = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_out_when_it_is_complete() {
        let mut lines = LineSplitter::default();
        assert_eq!(lines.push(b"one\r\ntwo\n\nthr"), "one\ntwo\n\n");
        assert_eq!(lines.push(b"ee"), "");
        assert_eq!(lines.push(b"\n"), "three\n");
        assert_eq!(lines.finish(), "");
        assert_eq!(lines.push(b"last"), "");
        assert_eq!(lines.finish(), "last\n");
    }

    #[test]
    fn a_line_is_bounded_and_harmless() {
        let mut lines = LineSplitter::default();
        for _ in 0..10 {
            assert_eq!(lines.push(&[b'a'; LINE_MAX_BYTES]), "");
            assert_eq!(lines.line.len(), LINE_MAX_BYTES);
        }
        let expected = format!("{}{TRUNCATED}\nb\n", "a".repeat(LINE_MAX_BYTES));
        assert_eq!(lines.push(b"\nb\n"), expected);
        assert_eq!(lines.push(b"\x1b[2J\xff\tx\0\n"), "\u{fffd}[2J\u{fffd}\tx\u{fffd}\n");
    }
}
