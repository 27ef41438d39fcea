//! A client of the proxy's file routes, as the signer's certificate store is: what it was told to be kept is kept.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::history::{Journal, Span};
use crate::load::Orders;

/// The proxy ends a transfer after ten seconds.
const PATIENCE: Duration = Duration::from_secs(12);

const PAUSE: Duration = Duration::from_millis(150);

/// The size of what is kept: that of a certificate and its chain.
const LENGTH: usize = 8000;

const RULE: &str = "what the proxy was told to keep is kept, whole";

/// Replaces a file through the proxy again and again, and reads it.
pub(crate) struct Keeper<'a> {
    pub(crate) journal: &'a Journal,
    /// A `replace:` route.
    pub(crate) write: PathBuf,
    /// A `file:` route to the same file.
    pub(crate) read: PathBuf,
}

impl Keeper<'_> {
    /// Replaces and reads, as `orders` are.
    pub(crate) fn run(&self, orders: &Orders) {
        let mut kept = None;
        for version in 1.. {
            while orders.rest.load(Ordering::Relaxed) && !orders.leave.load(Ordering::Relaxed) {
                thread::sleep(PAUSE);
            }
            if orders.leave.load(Ordering::Relaxed) {
                return;
            }
            let began = self.journal.now();
            match self.replace(version) {
                Ok(()) => kept = Some(version),
                Err(error) => self.notice_unless(
                    |span| matches!(span, Span::Down | Span::DiskFull),
                    began,
                    &format!("was not replaced: {error}"),
                ),
            }
            // A version that was not acknowledged may be in place.
            let is_right = |found: u64| found <= version && kept.is_none_or(|kept| found >= kept);
            let began = self.journal.now();
            match self.read() {
                Ok(found) if content_version(&found).is_some_and(is_right) => {}
                Ok(found) if found.is_empty() && kept.is_none() => {}
                // A proxy that is killed sends a part.
                Ok(found) => self.notice_unless(
                    |span| span == Span::Down,
                    began,
                    &format!("has {} bytes, which are not version {kept:?} to {version}", found.len()),
                ),
                Err(error) => {
                    self.notice_unless(|span| span == Span::Down, began, &format!("was not read: {error}"));
                }
            }
            thread::sleep(PAUSE);
        }
    }

    fn notice_unless(&self, is_excused: impl Fn(Span) -> bool, began: Duration, text: &str) {
        if !self.journal.history().was(is_excused, began, self.journal.now(), Duration::ZERO) {
            self.journal.notice(RULE, format!("at {:.3} s the proxy's file {text}", began.as_secs_f64()));
        }
    }

    fn replace(&self, version: u64) -> std::io::Result<()> {
        let mut stream = connect(&self.write)?;
        let content = content(version);
        let length = u32::try_from(content.len()).map_err(std::io::Error::other)?;
        stream.write_all(&length.to_be_bytes())?;
        stream.write_all(content.as_bytes())?;
        stream.read_exact(&mut [0])
    }

    fn read(&self) -> std::io::Result<String> {
        let mut found = String::new();
        connect(&self.read)?.read_to_string(&mut found)?;
        Ok(found)
    }
}

fn connect(path: &PathBuf) -> std::io::Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The version number, again and again.
fn content(version: u64) -> String {
    format!("{version:016x}").repeat(LENGTH / 16)
}

fn content_version(text: &str) -> Option<u64> {
    let version = u64::from_str_radix(text.get(..16)?, 16).ok()?;
    (content(version) == text).then_some(version)
}
