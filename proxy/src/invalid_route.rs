//! The error for a text that is not a route.

use std::fmt;

use transport::InvalidAddress;

/// Why a text is not a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidRoute {
    /// It has no `=`, or several.
    Equals,
    /// The address to listen on is wrong.
    Listen(InvalidAddress),
    /// The address to dial is wrong.
    Dial(InvalidAddress),
    /// The destination has an unknown scheme.
    Destination,
    /// The path of a `file:`, `replace:` or `enclave:` destination is wrong.
    File,
}

impl fmt::Display for InvalidRoute {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equals => formatter.write_str("a route is LISTEN=DIAL, with one `=`"),
            Self::Listen(error) => write!(formatter, "LISTEN: {error}"),
            Self::Dial(error) => write!(formatter, "DIAL: {error}"),
            Self::Destination => formatter.write_str(
                "DIAL: destination must start with tcp:, vsock:, unix:, hybrid:, enclave:, file: or replace:, or be stdout:",
            ),
            Self::File => {
                formatter.write_str("DIAL: file path must be absolute, name a file and hold no control character")
            }
        }
    }
}

impl std::error::Error for InvalidRoute {}
