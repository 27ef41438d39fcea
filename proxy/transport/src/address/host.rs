//! The host of a tcp address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::InvalidAddress;

/// RFC 1035, 2.3.4: 255 octets on the wire, which is 253 characters of text.
const NAME_MAX_BYTES: usize = 253;

/// RFC 1035, 2.3.4.
const LABEL_MAX_BYTES: usize = 63;

/// The host of a tcp address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An IP address; version 6 is written in brackets.
    Ip(IpAddr),
    /// A name, resolved at each dial.
    Name(HostName),
}

/// A host name that cannot be mistaken for an IP address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostName(String);

impl HostName {
    /// The name as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Host {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if let Some(bracketed) = text.strip_prefix('[') {
            return bracketed
                .strip_suffix(']')
                .and_then(|ip| ip.parse::<Ipv6Addr>().ok())
                .map(|ip| Self::Ip(ip.into()))
                .ok_or(InvalidAddress::Host);
        }
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Ip(ip.into()));
        }
        if is_host_name(text) { Ok(Self::Name(HostName(text.to_owned()))) } else { Err(InvalidAddress::Host) }
    }
}

/// The last label starts with a letter, because resolvers read `127.1`, `2130706433` and `0x7f000001` as
/// IPv4 addresses. Underscores are not host names, but container networks are full of them.
fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_MAX_BYTES
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.len() <= NAME_MAX_BYTES
        && text.split('.').all(is_label)
        && text
            .rsplit('.')
            .next()
            .is_some_and(|last| last.starts_with(|first: char| first.is_ascii_alphabetic()))
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(formatter),
            Self::Ip(IpAddr::V6(ip)) => write!(formatter, "[{ip}]"),
            Self::Name(name) => formatter.write_str(&name.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_lengths_of_the_domain_name_system() {
        let label = "a".repeat(LABEL_MAX_BYTES);
        assert!(is_host_name(&label));
        assert!(!is_host_name(&format!("{label}a")));
        let name = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(name.len(), NAME_MAX_BYTES);
        assert!(is_host_name(&name));
        assert!(!is_host_name(&format!("{name}a")));
    }
}
