//! One route of the command line.

use std::str::FromStr;

use transport::Address;

use crate::destination::Destination;
use crate::invalid_route::InvalidRoute;

/// An address to listen on and a destination, written `LISTEN=DIAL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The address to listen on.
    pub listen: Address,
    /// The destination of its connections.
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

#[cfg(test)]
mod tests {
    use transport::InvalidAddress;

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
