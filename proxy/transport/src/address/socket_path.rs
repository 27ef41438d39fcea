//! The path of a unix socket.

use std::fmt;
use std::path::{Path, PathBuf};

use super::InvalidAddress;

/// `sun_path` holds 108 bytes, the last of which is the terminating zero.
pub(super) const MAX_BYTES: usize = 107;

/// An absolute path that fits a unix socket address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SocketPath(String);

impl SocketPath {
    /// Checks the path, and that it still fits with the suffix `_PORT` of a hybrid listener.
    pub(super) fn new(path: &str, port: Option<u32>) -> Result<Self, InvalidAddress> {
        // An address is printed on a line of its own: a control character in it could forge another.
        if !path.starts_with('/') || path.ends_with('/') || path.chars().any(char::is_control) {
            return Err(InvalidAddress::Path);
        }
        let bound = Self(path.to_owned());
        let bound_bytes =
            port.map_or(path.len(), |port| bound.with_port(port).as_os_str().as_encoded_bytes().len());
        if bound_bytes > MAX_BYTES {
            return Err(InvalidAddress::PathTooLong);
        }
        Ok(bound)
    }

    /// The path itself.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// The path of the socket on which connections from the guest to `port` arrive.
    pub(crate) fn with_port(&self, port: u32) -> PathBuf {
        PathBuf::from(format!("{}_{port}", self.0))
    }
}

impl fmt::Display for SocketPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
