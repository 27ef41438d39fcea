//! The file of a listening unix socket.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixSocket, UnixStream};

/// Only the owner of the process may connect: a socket file has no other access control.
const MODE: u32 = 0o600;

/// A socket file that exists as long as this value, unless somebody replaces it.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode, so that the successor's file is left alone.
    identity: (u64, u64),
}

impl SocketFile {
    /// Binds the path and listens, replacing a socket file that nobody listens on.
    pub(crate) async fn bind(path: PathBuf, backlog: u32) -> io::Result<(UnixListener, Self)> {
        remove_stale(&path).await?;
        let socket = UnixSocket::new_stream()?;
        socket.bind(&path)?;
        // No client can connect before `listen`, so the file is never open to others.
        fs::set_permissions(&path, Permissions::from_mode(MODE))?;
        let metadata = fs::symlink_metadata(&path)?;
        let file = Self { path, identity: (metadata.dev(), metadata.ino()) };
        Ok((socket.listen(backlog)?, file))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Ok(metadata) = fs::symlink_metadata(&self.path)
            && (metadata.dev(), metadata.ino()) == self.identity
        {
            // A file that cannot be removed is stale, and the next `bind` replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket file left behind by a process that died. Two processes that start on one path in the
/// same instant can still take it from each other, which no order of these calls prevents.
async fn remove_stale(path: &Path) -> io::Result<()> {
    let file_type = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !file_type.is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "a file that is not a socket is in the way",
        ));
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // A full backlog (`WouldBlock`) is a sign of life too.
        Ok(_) | Err(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}
