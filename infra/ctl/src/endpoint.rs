//! The address of a signer: the value of `ENCLAVE_BASE_URL` in the API.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::ServerName;

/// A host name has 253 bytes at most, and around it are a scheme and a port.
const MAX_URL_BYTES: usize = 300;

/// The URL of a signer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: ServerName<'static>,
    port: u16,
    has_tls: bool,
}

/// A text is no URL of a signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidEndpoint;

impl fmt::Display for InvalidEndpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not http:// or https:// with a host, perhaps a port, and no path")
    }
}

impl std::error::Error for InvalidEndpoint {}

impl Endpoint {
    /// A DNS name or an address.
    #[must_use]
    pub const fn host(&self) -> &ServerName<'static> {
        &self.host
    }

    /// The TCP port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is `https`.
    #[must_use]
    pub const fn has_tls(&self) -> bool {
        self.has_tls
    }

    /// Host and port, as in the header `Host` (RFC 9110 §7.2).
    #[must_use]
    pub fn authority(&self) -> String {
        match &self.host {
            ServerName::IpAddress(rustls::pki_types::IpAddr::V6(address)) => {
                format!("[{}]:{}", std::net::Ipv6Addr::from(*address), self.port)
            }
            host => format!("{}:{}", host.to_str(), self.port),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.has_tls { "https" } else { "http" };
        write!(formatter, "{scheme}://{}", self.authority())
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(url: &str) -> Result<Self, InvalidEndpoint> {
        if url.len() > MAX_URL_BYTES {
            return Err(InvalidEndpoint);
        }
        let (has_tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(InvalidEndpoint),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']').ok_or(InvalidEndpoint)?;
                let _: std::net::Ipv6Addr = address.parse().map_err(|_| InvalidEndpoint)?;
                match (port.is_empty(), port.strip_prefix(':')) {
                    (true, _) => (address, None),
                    (false, Some(port)) => (address, Some(port)),
                    (false, None) => return Err(InvalidEndpoint),
                }
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = match port {
            None => {
                if has_tls {
                    443
                } else {
                    80
                }
            }
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                port.parse().ok().filter(|port| *port > 0).ok_or(InvalidEndpoint)?
            }
            Some(_) => return Err(InvalidEndpoint),
        };
        let host = ServerName::try_from(host.to_owned()).map_err(|_| InvalidEndpoint)?;
        Ok(Self { host, port, has_tls })
    }
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, InvalidEndpoint};

    #[test]
    fn a_url_is_read_one_way() {
        for (url, shown) in [
            ("http://127.0.0.1:7001", "http://127.0.0.1:7001"),
            ("http://localhost", "http://localhost:80"),
            ("https://signer.example.com", "https://signer.example.com:443"),
            ("https://signer.example.com:7001/", "https://signer.example.com:7001"),
            ("https://[::1]:7001", "https://[::1]:7001"),
            ("http://[2001:db8::1]", "http://[2001:db8::1]:80"),
        ] {
            assert_eq!(url.parse::<Endpoint>().map(|url| url.to_string()).as_deref(), Ok(shown), "{url}");
        }
        for not_a_url in [
            "",
            "localhost:7001",
            "ftp://localhost",
            "HTTP://localhost",
            "http://",
            "http:///",
            "http://localhost:7001/internal",
            "http://localhost//",
            "http://localhost?x",
            "http://localhost#x",
            "http://user@localhost",
            "http://localhost:",
            "http://localhost:0",
            "http://localhost:65536",
            "http://localhost:+1",
            "http://[::1",
            "http://[::1]7001",
            "http://[127.0.0.1]",
            "http://::1",
            "http://local host",
            &format!("http://{}", "a".repeat(300)),
        ] {
            assert_eq!(not_a_url.parse::<Endpoint>(), Err(InvalidEndpoint), "{not_a_url}");
        }
    }
}
