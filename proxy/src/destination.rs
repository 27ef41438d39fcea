//! The destination of a route.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use transport::{Address, InvalidAddress};

use crate::enclave_file::EnclaveFile;
use crate::file_source::parse_path;
use crate::invalid_route::InvalidRoute;

/// The destination of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A socket: bytes go both ways.
    Socket(Address),
    /// `enclave:/path:PORT`: the vsock port of the enclave that the file names, read for each connection.
    Enclave(EnclaveFile),
    /// `file:/path`: the client is sent the file, read for each connection, and the connection is
    /// closed.
    File(PathBuf),
    /// `replace:/path`: what the client sends replaces the file.
    Replace(PathBuf),
    /// `stdout:`: each line the client sends becomes a line of standard output.
    Stdout,
}

impl FromStr for Destination {
    type Err = InvalidRoute;

    fn from_str(text: &str) -> Result<Self, InvalidRoute> {
        if text == "stdout:" {
            return Ok(Self::Stdout);
        }
        if let Some(path) = text.strip_prefix("file:") {
            return parse_path(path).map(Self::File);
        }
        if let Some(path) = text.strip_prefix("replace:") {
            return parse_path(path).map(Self::Replace);
        }
        if let Some(enclave) = text.strip_prefix("enclave:") {
            return enclave.parse().map(Self::Enclave);
        }
        text.parse::<Address>()
            .and_then(|address| address.check_dial().map(|()| Self::Socket(address)))
            .map_err(|error| match error {
                InvalidAddress::Scheme => InvalidRoute::Destination,
                other => InvalidRoute::Dial(other),
            })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(formatter),
            Self::Enclave(enclave) => enclave.fmt(formatter),
            Self::File(path) => write!(formatter, "file:{}", path.display()),
            Self::Replace(path) => write!(formatter, "replace:{}", path.display()),
            Self::Stdout => formatter.write_str("stdout:"),
        }
    }
}
