//! Vsock sockets with bounded buffers.
//!
//! The kernel tells a peer the size of the buffer with the first packet, and the peer sends that much without asking.
//! So the size is set on a socket that has no peer yet, which tokio-vsock's own constructors do not allow.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::sockopt::SocketError;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, VsockAddr, bind, connect, getsockopt, listen, setsockopt,
    socket,
};
use nix::{getsockopt_impl, setsockopt_impl, sockopt_impl};
use tokio::io::AsyncWriteExt;
use tokio::io::unix::AsyncFd;
use tokio_vsock::VsockStream;

use crate::buffer_size::VSOCK_BUFFER_BYTES;

/// `SO_VM_SOCKETS_BUFFER_SIZE` of `linux/vm_sockets.h`, which the libc crate does not have.
const SO_VM_SOCKETS_BUFFER_SIZE: libc::c_int = 0;

sockopt_impl!(
    /// The bytes that a peer may send before they are read. Linux also queues no more than this to be sent.
    BufferSize,
    Both,
    libc::AF_VSOCK,
    SO_VM_SOCKETS_BUFFER_SIZE,
    u64
);

/// A listener whose accepted sockets inherit its buffer size.
#[derive(Debug)]
pub(crate) struct VsockListener(AsyncFd<vsock::VsockListener>);

impl VsockListener {
    /// Binds and listens.
    pub(crate) fn bind(cid: u32, port: u32, backlog: Backlog) -> io::Result<Self> {
        let socket = bounded_socket()?;
        bind(socket.as_raw_fd(), &VsockAddr::new(cid, port))?;
        listen(&socket, backlog)?;
        #[expect(
            deprecated,
            reason = "`register` is unsafe; a listener keeps its descriptor, which is what it asks for"
        )]
        Ok(Self(AsyncFd::new(socket.into())?))
    }

    /// Accepts a connection. Cancel safe.
    pub(crate) async fn accept(&self) -> io::Result<VsockStream> {
        loop {
            let mut readiness = self.0.readable().await?;
            // An error means that nobody waits any more.
            if let Ok(accepted) = readiness.try_io(|listener| listener.get_ref().accept()) {
                return VsockStream::new(accepted?.0);
            }
        }
    }
}

/// Connects. Dropping the future closes the socket.
pub(crate) async fn dial_vsock(cid: u32, port: u32) -> io::Result<VsockStream> {
    let socket = bounded_socket()?;
    match connect(socket.as_raw_fd(), &VsockAddr::new(cid, port)) {
        Ok(()) | Err(nix::Error::EINPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let mut stream = VsockStream::new(socket.into())?;
    // Ends with the attempt. An empty write puts nothing on the wire, but its error is not the reason, which is asked
    // for next.
    let written = stream.write(&[]).await;
    match getsockopt(&stream, SocketError)? {
        0 => written.map(|_| stream),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// A socket that does not block, with its buffer size set.
fn bounded_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Vsock, SockType::Stream, flags, None)?;
    setsockopt(&socket, BufferSize, &VSOCK_BUFFER_BYTES)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between two sockets of this machine, where its kernel has a loopback device for vsock.
    #[tokio::test]
    async fn both_ends_have_the_buffer_size_from_the_start() {
        const PORT: u32 = 1_073_800_002;
        let size = |socket: &OwnedFd| getsockopt(socket, BufferSize).unwrap();
        let Ok(socket) = bounded_socket() else {
            // A kernel without AF_VSOCK.
            return;
        };
        assert_eq!(size(&socket), VSOCK_BUFFER_BYTES);
        let listener = VsockListener::bind(libc::VMADDR_CID_ANY, PORT, Backlog::MAXALLOWABLE).unwrap();
        let Ok(dialed) = dial_vsock(libc::VMADDR_CID_LOCAL, PORT).await else {
            // No loopback device.
            return;
        };
        let accepted = listener.accept().await.unwrap();
        for stream in [&accepted, &dialed] {
            assert_eq!(getsockopt(stream, BufferSize).unwrap(), VSOCK_BUFFER_BYTES);
        }
    }
}
