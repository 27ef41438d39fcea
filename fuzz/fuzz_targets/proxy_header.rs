//! A header of the PROXY protocol is read as a second reader reads it, up to its last byte, or refused by both; what is
//! written is read again.

#![no_main]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use transport::{InvalidProxyHeader, MAX_PROXY_HEADER_BYTES, ProxyHeader};

fuzz_target!(|data: &[u8]| {
    let mut left = data;
    match (read(&mut left), judge(data)) {
        (Ok(header), Some((judged, length))) => {
            assert_eq!((header, left), (judged, &data[length..]));
            let written = header.to_bytes();
            let mut again = &written[..];
            let read_again = read(&mut again).expect("what is written is read");
            assert!(again.is_empty());
            // IPv4-mapped addresses come back as IPv4 if both are.
            let canonical =
                |it: ProxyHeader| [it.source, it.destination].map(|it| (it.ip().to_canonical(), it.port()));
            assert_eq!(canonical(read_again), canonical(header));
        }
        (Err(error), None) => {
            let line = error.to_string();
            assert!(line.len() < 80 && !line.contains(char::is_control), "{line:?}");
        }
        (read, judged) => panic!("{read:?}, and not {judged:?}"),
    }
});

fn read(bytes: &mut &[u8]) -> Result<ProxyHeader, InvalidProxyHeader> {
    match pin!(ProxyHeader::read(bytes)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(read) => read,
        Poll::Pending => panic!("waits, where nothing more comes"),
    }
}

/// The header and its length, by the offsets of the specification's `struct proxy_hdr_v2` and `union proxy_addr`.
fn judge(data: &[u8]) -> Option<(ProxyHeader, usize)> {
    let number = |at: usize| Some(u16::from_be_bytes([*data.get(at)?, *data.get(at + 1)?]));
    if !data.starts_with(b"\x0D\x0A\x0D\x0A\x00\x0D\x0A\x51\x55\x49\x54\x0A\x21") {
        return None;
    }
    let length = 16 + usize::from(number(14)?);
    if data.len() < length || length > MAX_PROXY_HEADER_BYTES {
        return None;
    }
    let ipv4 = |at: usize| Ipv4Addr::new(data[at], data[at + 1], data[at + 2], data[at + 3]);
    let ipv6 = |at: usize| -> Option<Ipv6Addr> {
        let mut segments = [0; 8];
        for (index, segment) in segments.iter_mut().enumerate() {
            *segment = number(at + 2 * index)?;
        }
        Some(segments.into())
    };
    let (source, destination) = match data[13] {
        0x11 if length >= 28 => {
            (SocketAddr::from((ipv4(16), number(24)?)), SocketAddr::from((ipv4(20), number(26)?)))
        }
        0x21 if length >= 52 => {
            (SocketAddr::from((ipv6(16)?, number(48)?)), SocketAddr::from((ipv6(32)?, number(50)?)))
        }
        _ => return None,
    };
    Some((ProxyHeader { source, destination }, length))
}
