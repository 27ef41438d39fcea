//! One route of the command line.

use std::fmt;
use std::str::FromStr;

use transport::{Address, InvalidAddress};

use crate::destination::Destination;

/// Where to listen and what for, written `LISTEN=DIAL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The address to listen on.
    pub listen: Address,
    /// What its connections lead to.
    pub destination: Destination,
}

impl Route {
    /// Whether its connections have a client with an address, and lead it to a socket.
    pub(crate) fn leads_clients_to_a_socket(&self) -> bool {
        matches!(self.listen, Address::Tcp { .. })
            && matches!(self.destination, Destination::Socket(_) | Destination::Enclave(_))
    }
}

impl FromStr for Route {
    type Err = InvalidRoute;

    fn from_str(text: &str) -> Result<Self, InvalidRoute> {
        // A second `=` would be part of a path, and it would be a guess of which one.
        let (listen, destination) = text
            .split_once('=')
            .filter(|(_, destination)| !destination.contains('='))
            .ok_or(InvalidRoute::Equals)?;
        let listen: Address = listen.parse().map_err(InvalidRoute::Listen)?;
        listen.check_listen().map_err(InvalidRoute::Listen)?;
        Ok(Self { listen, destination: destination.parse()? })
    }
}

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
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equals => f.write_str("a route is LISTEN=DIAL, with one `=`"),
            Self::Listen(error) => write!(f, "LISTEN: {error}"),
            Self::Dial(error) => write!(f, "DIAL: {error}"),
            Self::Destination => f.write_str(
                "DIAL: destination must start with tcp:, vsock:, unix:, hybrid:, enclave:, file: or replace:, or be stdout:",
            ),
            Self::File => {
                f.write_str("DIAL: file path must be absolute, name a file and hold no control character")
            }
        }
    }
}

impl std::error::Error for InvalidRoute {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_names_both_ends() {
        for (text, listen, destination) in [
            ("tcp:0.0.0.0:7001=vsock:16:5000", "tcp:0.0.0.0:7001", "vsock:16:5000"),
            (
                "vsock:any:7100=tcp:kms.eu-west-1.amazonaws.com:443",
                "vsock:any:7100",
                "tcp:kms.eu-west-1.amazonaws.com:443",
            ),
            ("hybrid:/run/v.sock:7102=file:/etc/app/env", "hybrid:/run/v.sock:7102", "file:/etc/app/env"),
            ("vsock:any:7106=replace:/var/lib/app/state", "vsock:any:7106", "replace:/var/lib/app/state"),
            ("unix:/run/log.sock=stdout:", "unix:/run/log.sock", "stdout:"),
            (
                "tcp:0.0.0.0:7001=enclave:/etc/a b:c/env:5000",
                "tcp:0.0.0.0:7001",
                "enclave:/etc/a b:c/env:5000",
            ),
        ] {
            let route: Route = text.parse().unwrap();
            assert_eq!(route.listen.to_string(), listen);
            assert_eq!(route.destination.to_string(), destination);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        use InvalidRoute as E;
        for (text, expected) in [
            ("", E::Equals),
            ("tcp:127.0.0.1:1", E::Equals),
            ("tcp:127.0.0.1:1=unix:/a=b", E::Equals),
            ("=unix:/a", E::Listen(InvalidAddress::Scheme)),
            ("tcp:localhost:1=unix:/a", E::Listen(InvalidAddress::ListenOnName)),
            ("file:/a=unix:/a", E::Listen(InvalidAddress::Scheme)),
            ("tcp:127.0.0.1:1=", E::Destination),
            ("tcp:127.0.0.1:1=STDOUT:", E::Destination),
            ("tcp:127.0.0.1:1=stdout:x", E::Destination),
            ("tcp:127.0.0.1:1=tcp:h:0", E::Dial(InvalidAddress::DialWildcard)),
            ("tcp:127.0.0.1:1=tcp:h", E::Dial(InvalidAddress::MissingPort)),
            ("tcp:127.0.0.1:1=file:a", E::File),
            ("tcp:127.0.0.1:1=file:/a\n", E::File),
            ("tcp:127.0.0.1:1=file:/", E::File),
            ("tcp:127.0.0.1:1=replace:a", E::File),
            ("tcp:127.0.0.1:1=replace:/a/", E::File),
            ("enclave:/a:1=unix:/a", E::Listen(InvalidAddress::Scheme)),
            ("tcp:127.0.0.1:1=enclave:/a", E::Dial(InvalidAddress::MissingPort)),
            ("tcp:127.0.0.1:1=enclave:/a:", E::Dial(InvalidAddress::Port)),
            ("tcp:127.0.0.1:1=enclave:/a:05000", E::Dial(InvalidAddress::Port)),
            ("tcp:127.0.0.1:1=enclave:/a:4294967295", E::Dial(InvalidAddress::Port)),
            ("tcp:127.0.0.1:1=enclave:a:5000", E::File),
            ("tcp:127.0.0.1:1=enclave::5000", E::File),
            ("tcp:127.0.0.1:1=enclave:/:5000", E::File),
            ("tcp:127.0.0.1:1=enclave:/a\n:5000", E::File),
        ] {
            assert_eq!(text.parse::<Route>(), Err(expected), "{text:?}");
        }
    }
}
