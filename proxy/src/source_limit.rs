//! How many connections one source may have at a time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// The first 64 bits: a network of that size is the least that one client is given, with all addresses in it.
const IPV6_NETWORK: u128 = u128::MAX << 64;

/// Where connections come from, as far as a limit tells clients apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// One address.
    Ipv4(Ipv4Addr),
    /// The first address of a /64 network.
    Ipv6Network(Ipv6Addr),
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::Ipv4(address),
            IpAddr::V6(address) => Self::Ipv6Network(Ipv6Addr::from_bits(address.to_bits() & IPV6_NETWORK)),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(address) => write!(formatter, "{address}"),
            Self::Ipv6Network(network) => write!(formatter, "{network}/64"),
        }
    }
}

/// Counts the connections of each source. It knows the sources of live connections and no others.
#[derive(Debug)]
pub(crate) struct SourceLimit {
    max_connections: u32,
    /// At least one each.
    connections: Mutex<HashMap<Source, u32>>,
}

impl SourceLimit {
    pub(crate) fn new(max_connections: u32) -> Self {
        Self { max_connections, connections: Mutex::default() }
    }

    /// A place for one more connection of `source`; none if it has as many as it may.
    pub(crate) fn admit(self: &Arc<Self>, source: Source) -> Option<SourcePlace> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let count = connections.entry(source).or_default();
        if *count >= self.max_connections {
            return None;
        }
        *count += 1;
        Some(SourcePlace { limit: Arc::clone(self), source })
    }
}

/// The place of one connection, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct SourcePlace {
    limit: Arc<SourceLimit>,
    source: Source,
}

impl Drop for SourcePlace {
    fn drop(&mut self) {
        let mut connections = self.limit.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = connections.entry(self.source) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str) -> Source {
        address.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_network() {
        for (address, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
            ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
            ("::1", "::/64"),
        ] {
            assert_eq!(source(address).to_string(), expected);
        }
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:0:0:2"));
    }

    #[test]
    fn each_source_has_its_places_and_leaves_nothing_behind() {
        let limit = Arc::new(SourceLimit::new(2));
        let (one, other) = (source("192.0.2.1"), source("192.0.2.2"));
        let first = limit.admit(one).unwrap();
        let second = limit.admit(one).unwrap();
        assert!(limit.admit(one).is_none());
        let foreign = limit.admit(other).unwrap();
        drop(first);
        let third = limit.admit(one).unwrap();
        assert!(limit.admit(one).is_none());
        assert_eq!(limit.connections.lock().unwrap().len(), 2);
        drop((second, third, foreign));
        assert!(limit.connections.lock().unwrap().is_empty());
    }
}
