//! The address syntax.

mod host;
mod socket_path;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

pub use self::host::{Host, HostName};
pub use self::socket_path::SocketPath;

/// The CID that stands for every CID of this machine when listening (`VMADDR_CID_ANY`), written `any`.
pub const ANY_CID: u32 = u32::MAX;

/// The kernel reads this vsock port as "choose one" (`VMADDR_PORT_ANY`), so no address can name it.
const ANY_PORT: u32 = u32::MAX;

/// An address to listen on or to dial.
///
/// Parsing is strict: one spelling for a number, no white space, nothing after the end. `Display` writes
/// what `FromStr` reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `tcp:HOST:PORT`
    Tcp {
        /// An IP address, or a name when dialing.
        host: Host,
        /// The port; 0 only when listening.
        port: u16,
    },
    /// `vsock:CID:PORT`
    Vsock {
        /// The context identifier; [`ANY_CID`] only when listening.
        cid: u32,
        /// The port.
        port: u32,
    },
    /// `unix:/path`
    Unix {
        /// The socket file.
        path: SocketPath,
    },
    /// `hybrid:/path.sock:PORT`
    Hybrid {
        /// The multiplexer's socket file.
        path: SocketPath,
        /// The guest's (dialing) or the host's (listening) vsock port.
        port: u32,
    },
}

impl Address {
    /// Checks that the address can be bound.
    ///
    /// # Errors
    ///
    /// [`InvalidAddress::ListenOnName`]: what a name resolves to is not this machine's to decide.
    pub fn check_listen(&self) -> Result<(), InvalidAddress> {
        match self {
            Self::Tcp { host: Host::Name(_), .. } => Err(InvalidAddress::ListenOnName),
            _ => Ok(()),
        }
    }

    /// Checks that the address can be dialed.
    ///
    /// # Errors
    ///
    /// [`InvalidAddress::DialWildcard`] for tcp port 0, an unspecified IP address and the vsock CID `any`.
    pub fn check_dial(&self) -> Result<(), InvalidAddress> {
        match self {
            Self::Tcp { port: 0, .. } | Self::Vsock { cid: ANY_CID, .. } => Err(InvalidAddress::DialWildcard),
            Self::Tcp { host: Host::Ip(ip), .. } if ip.is_unspecified() => Err(InvalidAddress::DialWildcard),
            _ => Ok(()),
        }
    }

    /// The file a listener on this address binds, if it binds one.
    pub(crate) fn socket_file(&self) -> Option<PathBuf> {
        match self {
            Self::Tcp { .. } | Self::Vsock { .. } => None,
            Self::Unix { path } => Some(path.as_path().to_owned()),
            Self::Hybrid { path, port } => Some(path.with_port(*port)),
        }
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let (scheme, rest) = text.split_once(':').ok_or(InvalidAddress::Scheme)?;
        match scheme {
            "tcp" => {
                let (host, port) = rest.rsplit_once(':').ok_or(InvalidAddress::MissingPort)?;
                let port = parse_decimal(port)
                    .and_then(|port| u16::try_from(port).ok())
                    .ok_or(InvalidAddress::Port)?;
                Ok(Self::Tcp { host: host.parse()?, port })
            }
            "vsock" => {
                let (cid, port) = rest.split_once(':').ok_or(InvalidAddress::MissingPort)?;
                let cid = match cid {
                    "any" => ANY_CID,
                    number => {
                        parse_decimal(number).filter(|&cid| cid != ANY_CID).ok_or(InvalidAddress::Cid)?
                    }
                };
                Ok(Self::Vsock { cid, port: parse_vsock_port(port)? })
            }
            "unix" => Ok(Self::Unix { path: SocketPath::new(rest, None)? }),
            "hybrid" => {
                let (path, port) = rest.rsplit_once(':').ok_or(InvalidAddress::MissingPort)?;
                let port = parse_vsock_port(port)?;
                Ok(Self::Hybrid { path: SocketPath::new(path, Some(port))?, port })
            }
            _ => Err(InvalidAddress::Scheme),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(formatter, "tcp:{host}:{port}"),
            Self::Vsock { cid: ANY_CID, port } => write!(formatter, "vsock:any:{port}"),
            Self::Vsock { cid, port } => write!(formatter, "vsock:{cid}:{port}"),
            Self::Unix { path } => write!(formatter, "unix:{path}"),
            Self::Hybrid { path, port } => write!(formatter, "hybrid:{path}:{port}"),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp { host: Host::Ip(address.ip()), port: address.port() }
    }
}

/// Reads a number with one spelling: digits only, no sign, no leading zero.
fn parse_decimal(text: &str) -> Option<u32> {
    let canonical =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}

fn parse_vsock_port(text: &str) -> Result<u32, InvalidAddress> {
    parse_decimal(text).filter(|&port| port != ANY_PORT).ok_or(InvalidAddress::Port)
}

/// Why a text is not an address, or an address not one for the use at hand.
///
/// The message never repeats the text, which may come from anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidAddress {
    /// It starts with none of the four schemes.
    Scheme,
    /// It ends before its port.
    MissingPort,
    /// The port is not a number in range.
    Port,
    /// The CID is neither a number in range nor `any`.
    Cid,
    /// The host is neither an IPv4 address, nor a bracketed IPv6 one, nor a name.
    Host,
    /// The socket path is not absolute, ends in `/`, or holds a control character.
    Path,
    /// The socket path does not fit a socket address.
    PathTooLong,
    /// A name cannot be listened on.
    ListenOnName,
    /// A wildcard cannot be dialed.
    DialWildcard,
}

impl fmt::Display for InvalidAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Scheme => "address must start with tcp:, vsock:, unix: or hybrid:",
            Self::MissingPort => "address has no port",
            Self::Port => "port is not a number in range",
            Self::Cid => "cid is neither a number in range nor `any`",
            Self::Host => "host is neither an IPv4 address, nor [IPv6], nor a host name",
            Self::Path => "socket path must be absolute, name a file and hold no control character",
            Self::PathTooLong => "socket path does not fit the 107 bytes of a socket address",
            Self::ListenOnName => "listening needs an IP address, not a host name",
            Self::DialWildcard => "dialing needs one address and port, not a wildcard",
        })
    }
}

impl std::error::Error for InvalidAddress {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Address, InvalidAddress> {
        text.parse()
    }

    #[test]
    fn accepts_one_spelling_of_each_address() {
        for text in [
            "tcp:127.0.0.1:0",
            "tcp:0.0.0.0:7001",
            "tcp:[::1]:65535",
            "tcp:localhost:80",
            "tcp:kms.eu-central-1.amazonaws.com:443",
            "tcp:my_service:1",
            "vsock:3:8000",
            "vsock:any:5000",
            "vsock:0:0",
            "vsock:4294967294:4294967294",
            "unix:/run/a b=c.sock",
            "hybrid:/run/v.sock:52",
            "hybrid:/run/with:colon.sock:0",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        assert_eq!(parse("tcp:[0:0:0:0:0:0:0:1]:1").unwrap().to_string(), "tcp:[::1]:1");
    }

    #[test]
    fn refuses_everything_else() {
        use InvalidAddress as E;
        for (text, expected) in [
            ("", E::Scheme),
            ("127.0.0.1:80", E::Scheme),
            ("TCP:127.0.0.1:80", E::Scheme),
            (" tcp:127.0.0.1:80", E::Scheme),
            ("http://127.0.0.1:80", E::Scheme),
            ("tcp:", E::MissingPort),
            ("tcp:127.0.0.1", E::MissingPort),
            ("tcp:127.0.0.1:", E::Port),
            ("tcp:127.0.0.1:+80", E::Port),
            ("tcp:127.0.0.1:080", E::Port),
            ("tcp:127.0.0.1:65536", E::Port),
            ("tcp:127.0.0.1:99999999999999999999", E::Port),
            ("tcp:127.0.0.1:80 ", E::Port),
            ("tcp:127.0.0.1:８０", E::Port),
            ("tcp::80", E::Host),
            ("tcp:::1:80", E::Host),
            ("tcp:[::1:80", E::Host),
            ("tcp:[127.0.0.1]:80", E::Host),
            ("tcp:[fe80::1%1]:80", E::Host),
            ("tcp:127.0.0.01:80", E::Host),
            ("tcp:127.1:80", E::Host),
            ("tcp:2130706433:80", E::Host),
            ("tcp:0x7f000001:80", E::Host),
            ("tcp:a..b:80", E::Host),
            ("tcp:-a.b:80", E::Host),
            ("tcp:a.b.:80", E::Host),
            ("tcp:ä.de:80", E::Host),
            ("vsock:3", E::MissingPort),
            ("vsock::1", E::Cid),
            ("vsock:-1:1", E::Cid),
            ("vsock:03:1", E::Cid),
            ("vsock:ANY:1", E::Cid),
            ("vsock:4294967295:1", E::Cid),
            ("vsock:3:4294967295", E::Port),
            ("vsock:3:any", E::Port),
            ("vsock:3:1:1", E::Port),
            ("unix:", E::Path),
            ("unix:relative", E::Path),
            ("unix:@abstract", E::Path),
            ("unix:/dir/", E::Path),
            ("unix:/a\0b", E::Path),
            ("unix:/a\nb", E::Path),
            ("hybrid:/a", E::MissingPort),
            ("hybrid:/a:", E::Port),
            ("hybrid:a:1", E::Path),
        ] {
            assert_eq!(parse(text), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn a_socket_path_fits_sun_path_with_its_port() {
        let longest = format!("/{}", "a".repeat(socket_path::MAX_BYTES - 1));
        assert!(parse(&format!("unix:{longest}")).is_ok());
        assert_eq!(parse(&format!("unix:{longest}a")), Err(InvalidAddress::PathTooLong));
        let hybrid = &longest[..longest.len() - "_52".len()];
        assert!(parse(&format!("hybrid:{hybrid}:52")).is_ok());
        assert_eq!(parse(&format!("hybrid:{hybrid}:520")), Err(InvalidAddress::PathTooLong));
    }

    #[test]
    fn knows_what_can_be_bound_and_dialed() {
        for text in ["tcp:0.0.0.0:1", "tcp:[::]:1", "tcp:h:0", "vsock:any:1"] {
            assert_eq!(parse(text).unwrap().check_dial(), Err(InvalidAddress::DialWildcard));
        }
        assert_eq!(parse("tcp:localhost:1").unwrap().check_listen(), Err(InvalidAddress::ListenOnName));
        assert_eq!(parse("tcp:0.0.0.0:0").unwrap().check_listen(), Ok(()));
        assert_eq!(parse("tcp:localhost:1").unwrap().check_dial(), Ok(()));
    }

    #[test]
    fn a_message_repeats_nothing_of_the_input() {
        let error = parse("unix:secret").unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in any::<String>()) {
            if let Ok(address) = parse(&text) {
                prop_assert_eq!(parse(&address.to_string()), Ok(address));
            }
        }

        #[test]
        fn what_is_parsed_round_trips(text in r"(tcp|vsock|unix|hybrid):[\[\]:/.a-z0-9_ -]{0,40}(:[0-9]{1,10})?") {
            if let Ok(address) = parse(&text) {
                prop_assert_eq!(parse(&address.to_string()), Ok(address));
            }
        }

        #[test]
        fn every_ip_address_round_trips(ip in any::<IpAddr>(), port in any::<u16>()) {
            let address = Address::Tcp { host: Host::Ip(ip), port };
            prop_assert_eq!(parse(&address.to_string()), Ok(address));
        }

        #[test]
        fn every_vsock_address_round_trips(cid in any::<u32>(), port in 0..u32::MAX) {
            let address = Address::Vsock { cid, port };
            prop_assert_eq!(parse(&address.to_string()), Ok(address));
        }

        #[test]
        fn every_hybrid_address_round_trips(path in "/[ -~]{0,80}[a-z]", port in 0..u32::MAX) {
            let text = format!("hybrid:{path}:{port}");
            prop_assert_eq!(parse(&text).unwrap().to_string(), text);
        }
    }
}
