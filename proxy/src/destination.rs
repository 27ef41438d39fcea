//! What a route leads to.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use transport::{Address, InvalidAddress};

use crate::route::InvalidRoute;

/// `PATH_MAX` counts the terminating zero.
const PATH_MAX_BYTES: usize = 4_095;

/// What a route leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A socket: bytes go both ways.
    Socket(Address),
    /// `file:/path`: the client is sent the file, read anew for each connection, and the connection is
    /// closed.
    File(PathBuf),
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
            let valid = Path::new(path).is_absolute()
                && !path.ends_with('/')
                && path.len() <= PATH_MAX_BYTES
                && !path.chars().any(char::is_control);
            return if valid { Ok(Self::File(path.into())) } else { Err(InvalidRoute::File) };
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
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Stdout => f.write_str("stdout:"),
        }
    }
}
