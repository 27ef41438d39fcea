//! A file that a connection replaces.
//!
//! The client sends a length, of four bytes with the highest first, and that many bytes. When they are in place and on
//! disk, it is sent one byte, [`REPLACED`]. So a connection that was cut, on whichever side and in whatever way, is
//! told from one that is done, and costs nothing of what was there: not every kind of socket can close one half only,
//! or tells an end from a cut.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// From the first byte to the last: a client that sends so little has it at hand.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest of the states that are kept this way, a chain and two keys that are sealed, has about 55 KiB.
pub const REPLACEMENT_MAX_BYTES: u64 = 64 * 1024;

/// One that has its turn, and two that send meanwhile: those of two enclaves, and one that was cut and comes again. Who
/// is refused has to come again too; it costs memory and a connection otherwise.
const MAX_CLIENTS: usize = 3;

/// ASCII's ACK.
const REPLACED: u8 = 0x06;

/// For the owner only: the stored bytes may be worth something to others.
const MODE: u32 = 0o600;

/// How a client left the file.
#[derive(Debug)]
pub(crate) enum Replacing {
    /// It is what the client sent, so many bytes.
    Done(u64),
    /// As it was: the client sent too little, too slowly, or a length that is not allowed, or there were others.
    Unchanged(&'static str),
    /// As it was: it could not be written.
    Failed(io::Error),
}

/// Replaces one file; two clients do so one after the other.
#[derive(Debug)]
pub(crate) struct FileSink {
    turn: Arc<Mutex<()>>,
    places: Semaphore,
}

impl Default for FileSink {
    fn default() -> Self {
        Self { turn: Arc::default(), places: Semaphore::new(MAX_CLIENTS) }
    }
}

impl FileSink {
    /// Takes what the client sends, puts it in place of the file and confirms that.
    pub(crate) async fn replace<C>(&self, client: &mut C, path: &Path) -> Replacing
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let Ok(_place) = self.places.try_acquire() else {
            return Replacing::Unchanged("too many replace it at one time");
        };
        let content = match timeout(TRANSFER_TIMEOUT, receive_replacement(client)).await {
            Ok(Ok(content)) => content,
            Ok(Err(reason)) => return Replacing::Unchanged(reason),
            Err(_) => return Replacing::Unchanged("it took too long"),
        };
        let count = content.len() as u64;
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let path = path.to_owned();
        let written = spawn_blocking(move || {
            // Held until it is done, even if the proxy ends.
            let _turn = turn;
            put(&path, &content)
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Replacing::Failed(error),
            Err(error) => return Replacing::Failed(io::Error::other(error)),
        }
        // A client that is gone meanwhile has what it wanted, and does not know it.
        let _ = timeout(TRANSFER_TIMEOUT, client.write_all(&[REPLACED])).await;
        let _ = client.shutdown().await;
        Replacing::Done(count)
    }
}

/// Reads one length and as many bytes, up to [`REPLACEMENT_MAX_BYTES`], and nothing behind them.
///
/// # Errors
/// Why they replace nothing: the length is not allowed, or the client ended before.
pub async fn receive_replacement<C: AsyncRead + Unpin>(client: &mut C) -> Result<Vec<u8>, &'static str> {
    const CUT: &str = "it was cut";
    let length = client.read_u32().await.map_err(|_| CUT)?;
    let length = u64::from(length);
    if length > REPLACEMENT_MAX_BYTES {
        return Err("it is longer than a file may be");
    }
    // Not of that size at once: the length costs the client four bytes.
    let mut content = Vec::new();
    client.take(length).read_to_end(&mut content).await.map_err(|_| CUT)?;
    if content.len() as u64 == length { Ok(content) } else { Err(CUT) }
}

/// Replaces the file at once, or not at all: a power cut leaves the old one or the new one.
fn put(path: &Path, content: &[u8]) -> io::Result<()> {
    // The destination was checked to name a file, and to be absolute.
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(_) | Err(_) => {}
    }
    let new = beside(path);
    // A killed proxy may have left this file.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let written = write_new(&new, content).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // The first error is the one that counts.
        let _ = fs::remove_file(&new);
    }
    written?;
    File::open(folder)?.sync_all()
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// The name under which the new content is written.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".new");
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use tokio::io::duplex;

    use super::*;

    /// The outcome for a client that sends this, and closes or not.
    async fn replacing(path: &Path, sent: &[u8], closes: bool) -> (Replacing, Vec<u8>) {
        let (mut client, mut server) = duplex(4 << 20);
        client.write_all(sent).await.unwrap();
        if closes {
            client.shutdown().await.unwrap();
        }
        let outcome = FileSink::default().replace(&mut server, path).await;
        drop(server);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        (outcome, answer)
    }

    fn framed(length: u64, content: &[u8]) -> Vec<u8> {
        [&u32::try_from(length).unwrap().to_be_bytes()[..], content].concat()
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_has_come_whole_replaces_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let largest = vec![7; usize::try_from(REPLACEMENT_MAX_BYTES).unwrap()];
        for content in [&b"old"[..], b"", &largest, b"newer"] {
            // Whether the client closes its half or waits makes no difference.
            for closes in [true, false] {
                let (outcome, answer) =
                    replacing(&path, &framed(content.len() as u64, content), closes).await;
                assert!(matches!(outcome, Replacing::Done(count) if count == content.len() as u64));
                assert_eq!(answer, [REPLACED]);
                assert_eq!(fs::read(&path).unwrap(), content);
                assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, MODE);
            }
        }
        for (sent, closes) in [
            (Vec::new(), true),
            (vec![0, 0], true),
            (framed(4, b"cut"), true),
            (framed(1, b""), true),
            (framed(4, b"too slow"[..3].as_ref()), false),
            (Vec::new(), false),
            (framed(REPLACEMENT_MAX_BYTES + 1, &largest), true),
            (framed(u64::from(u32::MAX), b"x"), false),
        ] {
            let (outcome, answer) = replacing(&path, &sent, closes).await;
            assert!(matches!(outcome, Replacing::Unchanged(_)), "{outcome:?}");
            assert_eq!(answer, b"");
            assert_eq!(fs::read(&path).unwrap(), b"newer");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_stall_are_so_many_and_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let sink = Arc::new(FileSink::default());
        let mut stalled = Vec::new();
        for _ in 0..MAX_CLIENTS {
            let (client, mut server) = duplex(64);
            let (sink, path) = (Arc::clone(&sink), path.clone());
            stalled.push((client, tokio::spawn(async move { sink.replace(&mut server, &path).await })));
        }
        while sink.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let (mut client, mut server) = duplex(64);
        client.write_all(&framed(3, b"own")).await.unwrap();
        assert!(matches!(sink.replace(&mut server, &path).await, Replacing::Unchanged(_)));
        for (_client, replacing) in stalled {
            assert!(matches!(replacing.await.unwrap(), Replacing::Unchanged("it took too long")));
        }
        assert!(matches!(sink.replace(&mut server, &path).await, Replacing::Done(3)));
        assert_eq!(fs::read(&path).unwrap(), b"own");
    }

    #[tokio::test]
    async fn what_is_in_the_way_is_left_alone_or_removed() {
        let directory = tempfile::tempdir().unwrap();
        let [path, target, new] = ["state", "target", "state.new"].map(|name| directory.path().join(name));
        fs::write(&target, "another's").unwrap();
        // A file that was left or put there is not written through.
        symlink(&target, &new).unwrap();
        let (outcome, _) = replacing(&path, &framed(3, b"own"), true).await;
        assert!(matches!(outcome, Replacing::Done(3)));
        assert_eq!(fs::read(&path).unwrap(), b"own");
        assert!(path.symlink_metadata().unwrap().is_file());

        fs::remove_file(&path).unwrap();
        symlink(&target, &path).unwrap();
        let (outcome, answer) = replacing(&path, &framed(3, b"own"), true).await;
        assert!(matches!(outcome, Replacing::Failed(_)), "{outcome:?}");
        assert_eq!(answer, b"");
        assert_eq!(fs::read(&target).unwrap(), b"another's");

        let missing = directory.path().join("missing/state");
        let (outcome, _) = replacing(&missing, &framed(3, b"own"), true).await;
        assert!(matches!(outcome, Replacing::Failed(_)), "{outcome:?}");
    }
}
