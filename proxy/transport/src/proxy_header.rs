//! The header of the PROXY protocol, version 2, by which a proxy announces its client's address to the server behind it
//! (haproxy's `doc/proxy-protocol.txt`, section 2.2). Only of clients that come by TCP.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The first bytes of each header of version 2. No HTTP request and no TLS handshake begins with them.
pub const PROXY_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The first bytes of each header of version 1. As an HTTP method they are not registered.
pub const PROXY_TEXT_PREFIX: &[u8] = b"PROXY ";

/// The longest header that is read, TLVs included. The specification recommends that no header is longer, so that it
/// comes in one segment on every path.
pub const MAX_PROXY_HEADER_BYTES: usize = 536;

/// The signature, version and command, family, length of the rest.
const FIXED_BYTES: usize = 16;

/// Two IPv6 addresses and two ports.
const MAX_ENDS_BYTES: usize = 36;

const VERSION: u8 = 2;
const LOCAL: u8 = 0;
const PROXY: u8 = 1;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// Both ends of a client's connection to the proxy, as the proxy announces them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// The client.
    pub source: SocketAddr,
    /// Where the client reached the proxy.
    pub destination: SocketAddr,
}

impl ProxyHeader {
    /// The header. IPv4-mapped addresses are written as IPv4 if both are.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIXED_BYTES + MAX_ENDS_BYTES);
        bytes.extend(PROXY_SIGNATURE);
        bytes.push(VERSION << 4 | PROXY);
        match (self.source.ip().to_canonical(), self.destination.ip().to_canonical()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                bytes.extend([TCP_OVER_IPV4, 0, 12]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
            }
            (source, destination) => {
                bytes.extend([TCP_OVER_IPV6, 0, 36]);
                bytes.extend(as_ipv6(source).octets());
                bytes.extend(as_ipv6(destination).octets());
            }
        }
        bytes.extend(self.source.port().to_be_bytes());
        bytes.extend(self.destination.port().to_be_bytes());
        bytes
    }

    /// Reads one header, and no byte behind it. TLVs are read and not looked at. Has no deadline.
    ///
    /// # Errors
    /// [`InvalidProxyHeader`]; some bytes of the connection are lost.
    pub async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Self, InvalidProxyHeader> {
        use InvalidProxyHeader as E;
        let signature = read_array(stream).await?;
        if signature != PROXY_SIGNATURE {
            return Err(if signature.starts_with(PROXY_TEXT_PREFIX) { E::Text } else { E::Missing });
        }
        let [version_and_command, family, length @ ..] = read_array::<4, S>(stream).await?;
        match (version_and_command >> 4, version_and_command & 0xf) {
            (VERSION, PROXY) => {}
            (VERSION, LOCAL) => return Err(E::Local),
            (VERSION, _) => return Err(E::Command),
            _ => return Err(E::Version),
        }
        let ends = match family {
            TCP_OVER_IPV4 => ends::<4>,
            TCP_OVER_IPV6 => ends::<16>,
            _ => return Err(E::Family),
        };
        let length = usize::from(u16::from_be_bytes(length));
        if length > MAX_PROXY_HEADER_BYTES - FIXED_BYTES {
            return Err(E::TooLong);
        }
        let mut rest = vec![0; length];
        stream.read_exact(&mut rest).await.map_err(|_| E::Cut)?;
        ends(&rest).ok_or(E::TooShort)
    }
}

async fn read_array<const N: usize, S: AsyncRead + Unpin>(
    stream: &mut S,
) -> Result<[u8; N], InvalidProxyHeader> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.map_err(|_| InvalidProxyHeader::Cut)?;
    Ok(bytes)
}

/// Both addresses, of `N` bytes each, and both ports.
fn ends<const N: usize>(bytes: &[u8]) -> Option<ProxyHeader>
where
    IpAddr: From<[u8; N]>,
{
    let (source, bytes) = bytes.split_first_chunk::<N>()?;
    let (destination, bytes) = bytes.split_first_chunk::<N>()?;
    let (source_port, bytes) = bytes.split_first_chunk()?;
    let destination_port = bytes.first_chunk()?;
    let at = |ip: &[u8; N], port: &[u8; 2]| SocketAddr::from((IpAddr::from(*ip), u16::from_be_bytes(*port)));
    Some(ProxyHeader { source: at(source, source_port), destination: at(destination, destination_port) })
}

fn as_ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// Why the first bytes of a connection announce no client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidProxyHeader {
    /// They are no header.
    Missing,
    /// They are a header of version 1.
    Text,
    /// They are a header of a later version.
    Version,
    /// The header is for a connection that has no client.
    Local,
    /// The command is unknown.
    Command,
    /// The client came by something else than TCP over IPv4 or IPv6.
    Family,
    /// The header is longer than [`MAX_PROXY_HEADER_BYTES`].
    TooLong,
    /// The header is too short for its addresses.
    TooShort,
    /// The connection ended within the header.
    Cut,
}

impl fmt::Display for InvalidProxyHeader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Missing => "no PROXY header",
            Self::Text => "a PROXY header of version 1, not 2",
            Self::Version => "a PROXY header of a version that is not 2",
            Self::Local => "a PROXY header with the command LOCAL, which names no client",
            Self::Command => "a PROXY header with an unknown command",
            Self::Family => "a PROXY header for neither TCP over IPv4 nor TCP over IPv6",
            Self::TooLong => {
                const { assert!(MAX_PROXY_HEADER_BYTES == 536, "the text names the limit") };
                "a PROXY header of more than 536 bytes"
            }
            Self::TooShort => "a PROXY header too short for its addresses",
            Self::Cut => "the connection ended before its PROXY header did",
        })
    }
}

impl std::error::Error for InvalidProxyHeader {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that haproxy 2.6.12 sent to a server with `send-proxy-v2`: its header for a client of 127.0.0.2, port
    /// 45571, and the client's bytes.
    const HAPROXY_IPV4: &[u8] =
        b"\r\n\r\n\0\r\nQUIT\n!\x11\0\x0c\x7f\0\0\x02\x7f\0\0\x01\xb2\x03\xec\xc9GET / HTTP/1.1\r\n";

    /// The same for a client of ::1, port 33047.
    const HAPROXY_IPV6: &[u8] = b"\r\n\r\n\0\r\nQUIT\n!!\0$\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\
        \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x81\x17\xc1EGET / HTTP/1.1\r\n";

    /// The same with `proxy-v2-options crc32c,unique-id`, for a client of 127.0.0.2, port 56333.
    const HAPROXY_TLVS: &[u8] = b"\r\n\r\n\0\r\nQUIT\n!\x11\0\x16\x7f\0\0\x02\x7f\0\0\x01\
        \xdc\r\xa0%\x03\0\x04\xa1\x06\0\t\x05\0\0GET / HTTP/1.1\r\n";

    /// The same with `send-proxy`.
    const HAPROXY_TEXT: &[u8] = b"PROXY TCP4 127.0.0.2 127.0.0.1 52683 35223\r\nGET / HTTP/1.1\r\n";

    async fn read(bytes: &[u8]) -> Result<ProxyHeader, InvalidProxyHeader> {
        ProxyHeader::read(&mut &*bytes).await
    }

    fn header(source: &str, destination: &str) -> ProxyHeader {
        ProxyHeader { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    #[tokio::test]
    async fn haproxys_headers_are_read_and_not_a_byte_more() {
        for (bytes, expected) in [
            (HAPROXY_IPV4, header("127.0.0.2:45571", "127.0.0.1:60617")),
            (HAPROXY_IPV6, header("[::1]:33047", "[::1]:49477")),
            (HAPROXY_TLVS, header("127.0.0.2:56333", "127.0.0.1:40997")),
        ] {
            let mut left = bytes;
            assert_eq!(ProxyHeader::read(&mut left).await, Ok(expected));
            assert_eq!(left, b"GET / HTTP/1.1\r\n");
        }
    }

    #[test]
    fn what_is_written_is_what_haproxy_writes() {
        for bytes in [(HAPROXY_IPV4, 28), (HAPROXY_IPV6, 52)].map(|(bytes, length)| &bytes[..length]) {
            let mut left = bytes;
            let read = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let header = read.block_on(ProxyHeader::read(&mut left)).unwrap();
            assert_eq!(header.to_bytes(), bytes);
        }
    }

    #[tokio::test]
    async fn mapped_addresses_are_ipv4_if_both_are() {
        let mapped = header("[::ffff:192.0.2.1]:7", "[::ffff:192.0.2.2]:8");
        assert_eq!(read(&mapped.to_bytes()).await, Ok(header("192.0.2.1:7", "192.0.2.2:8")));
        let mixed = header("192.0.2.1:7", "[2001:db8::1]:8");
        assert_eq!(read(&mixed.to_bytes()).await, Ok(header("[::ffff:192.0.2.1]:7", "[2001:db8::1]:8")));
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        use InvalidProxyHeader as E;
        let good = &HAPROXY_IPV4[..28];
        let with = |at: usize, byte: u8| {
            let mut bytes = good.to_vec();
            bytes[at] = byte;
            bytes
        };
        let of_length = |length: u16| [&good[..14], &length.to_be_bytes(), &[0; 600]].concat();
        for (bytes, expected) in [
            (b"GET /health HTTP/1.1\r\n\r\n".to_vec(), E::Missing),
            (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0\0".to_vec(), E::Missing),
            (with(11, b' '), E::Missing),
            (HAPROXY_TEXT.to_vec(), E::Text),
            (b"PROXY UNKNOWN\r\n".to_vec(), E::Text),
            (with(12, 0x11), E::Version),
            (with(12, 0x31), E::Version),
            (with(12, 0x20), E::Local),
            (with(12, 0x22), E::Command),
            (with(13, 0), E::Family),
            (with(13, 0x10), E::Family),
            (with(13, 0x12), E::Family),
            (with(13, 0x22), E::Family),
            (with(13, 0x31), E::Family),
            (of_length(521), E::TooLong),
            (of_length(u16::MAX), E::TooLong),
            (of_length(11), E::TooShort),
            (of_length(0), E::TooShort),
            (Vec::new(), E::Cut),
        ] {
            assert_eq!(read(&bytes).await, Err(expected), "{}", bytes.escape_ascii());
        }
        read(&of_length(520)).await.unwrap();
        for length in 0..good.len() {
            assert_eq!(read(&good[..length]).await, Err(E::Cut), "{length}");
        }
    }
}
