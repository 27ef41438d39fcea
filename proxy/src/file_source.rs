//! A file as the far end of a connection.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::spawn_blocking;

use crate::invalid_route::InvalidRoute;

/// `PATH_MAX` counts the terminating zero.
const PATH_MAX_BYTES: usize = 4095;

/// A boot file is a few kilobytes. The whole file is held, so that one version of it is sent.
pub(crate) const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// Sends the content of a file and takes nothing.
#[derive(Debug)]
pub(crate) struct FileSource(Cursor<Vec<u8>>);

impl FileSource {
    pub(crate) async fn open(path: PathBuf) -> io::Result<Self> {
        let content =
            spawn_blocking(move || read(&path, FILE_MAX_BYTES)).await.map_err(io::Error::other)??;
        Ok(Self(Cursor::new(content)))
    }
}

/// Reads the path of a file from a command line.
pub(crate) fn parse_path(text: &str) -> Result<PathBuf, InvalidRoute> {
    let valid = Path::new(text).is_absolute()
        && !text.ends_with('/')
        && text.len() <= PATH_MAX_BYTES
        && !text.chars().any(char::is_control);
    if valid { Ok(text.into()) } else { Err(InvalidRoute::File) }
}

/// The content of a regular file that is not longer than `max_bytes`.
pub(crate) fn read(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for somebody to write to it.
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut content = Vec::new();
    File::open(path)?.take(max_bytes + 1).read_to_end(&mut content)?;
    if content.len() as u64 > max_bytes {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(content)
}

impl AsyncRead for FileSource {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for FileSource {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> io::Result<Vec<u8>> {
        super::read(path, FILE_MAX_BYTES)
    }

    #[test]
    fn only_a_regular_file_of_bounded_size_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("env");
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(read(directory.path()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        std::fs::write(&path, "A=1\n").unwrap();
        assert_eq!(read(&path).unwrap(), b"A=1\n");
        let file = File::create(&path).unwrap();
        file.set_len(FILE_MAX_BYTES).unwrap();
        assert_eq!(read(&path).unwrap().len() as u64, FILE_MAX_BYTES);
        file.set_len(FILE_MAX_BYTES + 1).unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
