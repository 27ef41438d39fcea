//! Connecting to an address.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::address::{Address, Host, SocketPath};
use crate::buffer_size::{bound_tcp, bound_unix};
use crate::stream::Stream;
use crate::vsock::dial_vsock;

/// The longest reply to `CONNECT`: `OK ` and a 32-bit number take 14 bytes, and no device is known to say
/// more.
const HYBRID_REPLY_MAX_BYTES: usize = 32;

/// How long one address of a name is tried while others are left: enough for a round trip to the other end
/// of the world.
const NAME_ADDRESS_TIMEOUT: Duration = Duration::from_millis(300);

/// How many addresses of a name are tried; the caller's patience ends sooner.
const NAME_ADDRESSES_MAX: usize = 8;

/// How many names are looked up at once. A look-up cannot be cancelled, only abandoned: without a bound, a
/// dead name server would leave a thread behind for each attempt to dial.
static LOOKUPS: Semaphore = Semaphore::const_new(8);

/// Connects to the address. Dropping the future closes the socket.
///
/// # Errors
///
/// `InvalidInput` for an address that only makes sense for listening. For a hybrid address
/// `ConnectionRefused` when nobody in the guest listens on the port and `InvalidData` when the reply is not
/// the protocol's. Else what the kernel says; a vsock address that nobody answers takes the kernel two
/// seconds.
pub async fn dial(address: &Address) -> io::Result<Stream> {
    address.check_dial().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    match address {
        Address::Tcp { host: Host::Ip(ip), port } => Ok(dial_tcp((*ip, *port).into()).await?.into()),
        Address::Tcp { host: Host::Name(name), port } => {
            dial_first(resolve(name.as_str(), *port).await?).await
        }
        Address::Vsock { cid, port } => Ok(dial_vsock(*cid, *port).await?.into()),
        Address::Unix { path } => Ok(dial_unix(path).await?.into()),
        Address::Hybrid { path, port } => {
            let mut stream = dial_unix(path).await?;
            request_port(&mut stream, *port).await?;
            Ok(stream.into())
        }
    }
}

async fn dial_tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    bound_tcp(&socket)?;
    socket.connect(address).await
}

async fn dial_unix(path: &SocketPath) -> io::Result<UnixStream> {
    let unix = UnixStream::connect(path.as_path()).await?;
    bound_unix(&unix)?;
    Ok(unix)
}

async fn resolve(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let permit = LOOKUPS.acquire().await.expect("the semaphore is never closed");
    let name = name.to_owned();
    // A task of its own, so that an abandoned look-up keeps its permit until its thread is free.
    tokio::spawn(async move {
        let addresses = lookup_host((name, port)).await?;
        drop(permit);
        Ok(addresses.take(NAME_ADDRESSES_MAX).collect())
    })
    .await
    .map_err(io::Error::other)?
}

async fn dial_first(addresses: Vec<SocketAddr>) -> io::Result<Stream> {
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut addresses = addresses.into_iter().peekable();
    while let Some(address) = addresses.next() {
        let attempt = dial_tcp(address);
        let result = if addresses.peek().is_none() {
            attempt.await
        } else {
            timeout(NAME_ADDRESS_TIMEOUT, attempt)
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        };
        match result {
            Ok(tcp) => return Ok(tcp.into()),
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

/// Asks the multiplexer behind the socket for a port of the guest.
async fn request_port(stream: &mut UnixStream, port: u32) -> io::Result<()> {
    let request = format!("CONNECT {port}\n");
    // One write: devices read the request with one read.
    stream.write_all(request.as_bytes()).await?;
    let mut reply = [0; HYBRID_REPLY_MAX_BYTES];
    let mut length = 0;
    // Byte by byte: what follows the newline belongs to the guest.
    loop {
        let Some(byte) = reply.get_mut(length) else {
            return Err(unexpected_reply());
        };
        if stream.read(std::slice::from_mut(byte)).await? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionRefused,
                "the guest does not listen on this port",
            ));
        }
        if *byte == b'\n' {
            break;
        }
        length += 1;
    }
    if reply[..length].starts_with(b"OK ") { Ok(()) } else { Err(unexpected_reply()) }
}

fn unexpected_reply() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the reply to the hybrid handshake is not `OK`")
}
