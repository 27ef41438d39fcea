//! The kernel memory of each socket.
//!
//! A peer that sends and does not read fills these buffers, and the kernel's memory is everybody's. So no kind of
//! socket has the kernel's defaults, which grow up to 6 MiB for tcp and are 256 KiB of payload for vsock.

use std::io;
use std::os::fd::AsFd;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::SndBuf;
use tokio::net::TcpSocket;

/// The payload that a vsock socket accepts before it is read, and the most that it queues for sending.
///
/// Half of the largest request; more is taken as it is read. Linux keeps packets as they came, at most one for each 576
/// bytes of this size, each in a page of its own: [`VSOCK_KERNEL_BYTES`].
pub(crate) const VSOCK_BUFFER_BYTES: u64 = 16 * 1024;

/// The kernel memory of a vsock socket with a full receive buffer, whatever the size of its packets: 28 packets of a
/// page and their descriptions (119 KiB), 16 KiB of payload that Linux has merged, and the socket itself. From
/// 6.12.117's `virtio_transport_recv_enqueue`, which merges packets; older kernels keep more.
pub const VSOCK_KERNEL_BYTES: u64 = 144 * 1024;

/// The requested size for each direction of a tcp socket. Linux doubles it for its own overhead: `getsockopt` shows
/// 65,536, and `/proc/net/sockstat` about as much for each full buffer. At most 32 KiB of payload, the size of the
/// largest request, is on its way at once.
const TCP_BUFFER_BYTES: u32 = 32 * 1024;

/// The requested size for the sending direction of a unix socket. Linux doubles it as for tcp. A unix socket has no
/// receive buffer.
const UNIX_SEND_BUFFER_BYTES: usize = 32 * 1024;

/// Bounds the buffers of a socket that is not connected yet. Accepted sockets inherit the listener's.
pub(crate) fn bound_tcp(socket: &TcpSocket) -> io::Result<()> {
    socket.set_recv_buffer_size(TCP_BUFFER_BYTES)?;
    socket.set_send_buffer_size(TCP_BUFFER_BYTES)
}

/// Bounds the bytes in a unix socket that wait for its peer.
pub(crate) fn bound_unix(socket: &impl AsFd) -> io::Result<()> {
    Ok(setsockopt(socket, SndBuf, &UNIX_SEND_BUFFER_BYTES)?)
}
