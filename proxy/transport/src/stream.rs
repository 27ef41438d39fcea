//! A connected socket of any kind.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_vsock::VsockStream;

/// The most that one write hands to a vsock socket.
///
/// Linux makes one packet of one write. Some devices lose the tail of a packet that does not fit one
/// receive buffer of the peer: vhost-device-vsock between two of its guests cuts at about 3.7 KiB. Linux
/// 6.17, and 6.12 from 6.12.68 on, sends a packet of more than 32,404 bytes in several descriptors; a
/// device that knows one descriptor of data per packet drops the others. The smaller limit holds
/// everywhere, and the messages of a signer are smaller still.
const VSOCK_MAX_WRITE_BYTES: usize = 3584;

/// A connected socket.
///
/// `poll_shutdown` closes the writing half and leaves the other open. An empty write puts nothing on the
/// wire and fails once the kernel knows that the peer reads no more.
#[derive(Debug)]
pub enum Stream {
    /// A tcp connection, with `TCP_NODELAY` set.
    Tcp(TcpStream),
    /// A unix connection, or a hybrid one after its handshake.
    Unix(UnixStream),
    /// A vsock connection.
    Vsock(VsockStream),
}

impl Stream {
    /// The addresses of a tcp connection, the peer's and ours; none of another kind.
    ///
    /// # Errors
    ///
    /// Errors of the kernel, for example that the peer has gone.
    pub fn tcp_ends(&self) -> io::Result<Option<(SocketAddr, SocketAddr)>> {
        match self {
            Self::Tcp(tcp) => Ok(Some((tcp.peer_addr()?, tcp.local_addr()?))),
            Self::Unix(_) | Self::Vsock(_) => Ok(None),
        }
    }

    /// Closes the connection without waiting for the peer to take what was written: tcp sends a reset, and
    /// the kernel keeps nothing for a peer that stopped reading. The other kinds know no other way to
    /// close.
    pub fn abort(self) {
        if let Self::Tcp(tcp) = &self {
            // Failing means that the connection is gone already, which is what is wanted.
            let _ = tcp.set_zero_linger();
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(tcp: TcpStream) -> Self {
        // Messages are small and answered at once: waiting to fill a segment only delays them. The call
        // fails on a connection that is gone already, which the first read reports better.
        let _ = tcp.set_nodelay(true);
        Self::Tcp(tcp)
    }
}

impl From<UnixStream> for Stream {
    fn from(unix: UnixStream) -> Self {
        Self::Unix(unix)
    }
}

impl From<VsockStream> for Stream {
    fn from(vsock: VsockStream) -> Self {
        Self::Vsock(vsock)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Self::Unix(unix) => Pin::new(unix).poll_read(cx, buffer),
            Self::Vsock(vsock) => Pin::new(vsock).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Unix(unix) => Pin::new(unix).poll_write(cx, bytes),
            Self::Vsock(vsock) => Pin::new(vsock).poll_write(cx, one_vsock_packet(bytes)),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Self::Unix(unix) => Pin::new(unix).poll_write_vectored(cx, slices),
            Self::Vsock(vsock) => {
                let first = slices.iter().find(|slice| !slice.is_empty());
                let bytes = first.map_or(&[][..], |slice| one_vsock_packet(slice));
                Pin::new(vsock).poll_write(cx, bytes)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(tcp) => tcp.is_write_vectored(),
            Self::Unix(unix) => unix.is_write_vectored(),
            Self::Vsock(_) => false,
        }
    }

    /// Does nothing: no kind of socket buffers in user space.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
            Self::Vsock(vsock) => Poll::Ready(vsock.shutdown(Shutdown::Write)),
        };
        // The peer went first: there is nothing left to close.
        match result {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            other => other,
        }
    }
}

fn one_vsock_packet(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(VSOCK_MAX_WRITE_BYTES)]
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// The sizes of what arrives at a vsock socket that is written to by `write`, until it closes. The socket is in
    /// fact a unix one that keeps the bounds of each write.
    async fn packets(write: impl AsyncFnOnce(&mut Stream)) -> Vec<usize> {
        let (ours, peer) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        let reader = std::thread::spawn(move || {
            let (mut peer, mut buffer) = (File::from(peer), vec![0; 1 << 20]);
            let sizes = std::iter::from_fn(|| Some(peer.read(&mut buffer).unwrap()));
            sizes.take_while(|size| *size > 0).collect()
        });
        let mut stream = Stream::from(VsockStream::new(ours.into()).unwrap());
        write(&mut stream).await;
        drop(stream);
        reader.join().unwrap()
    }

    #[tokio::test]
    async fn no_write_to_vsock_is_larger_than_the_limit() {
        const LIMIT: usize = VSOCK_MAX_WRITE_BYTES;
        for length in [1, LIMIT - 1, LIMIT, LIMIT + 1, 32_404, 32_405, 1 << 17] {
            let bytes = vec![7; length];
            let sizes = packets(async |stream| stream.write_all(&bytes).await.unwrap()).await;
            assert_eq!(sizes.iter().sum::<usize>(), length);
            assert!(sizes.iter().all(|size| *size <= LIMIT), "{length}: {sizes:?}");
            assert_eq!(sizes.len(), length.div_ceil(LIMIT));
        }
        let (short, long) = ([7; 5], [7; 1 << 17]);
        for (slices, first) in [([&[][..], &short, &long], 5), ([&long, &short, &[]], LIMIT)] {
            let slices = slices.map(IoSlice::new);
            let written = async |stream: &mut Stream| {
                assert_eq!(stream.write_vectored(&slices).await.unwrap(), first);
            };
            assert_eq!(packets(written).await, [first]);
        }
    }
}
