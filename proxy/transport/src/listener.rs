//! A bound socket of any kind.

use std::io;
use std::net::SocketAddr;

use nix::sys::socket::Backlog;
use tokio::net::{TcpListener, TcpSocket, UnixListener};

use crate::address::{Address, Host};
use crate::buffer_size::{bound_tcp, bound_unix};
use crate::socket_file::SocketFile;
use crate::stream::Stream;
use crate::vsock::VsockListener;

/// How many connections may wait to be accepted: a burst is to wait, not to be refused. The kernel lowers
/// it to `net.core.somaxconn`, 4096 by default.
const BACKLOG: u32 = 4096;

/// A socket that accepts connections. Dropping it closes the socket and removes its file.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    local_address: Address,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        /// Removes the file when dropped.
        _file: SocketFile,
    },
    Vsock(VsockListener),
}

impl Listener {
    /// Binds the address and listens.
    ///
    /// A unix socket file nobody listens on is replaced; any other file is left alone.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for an address that only makes sense for dialing, `AddrInUse` when somebody listens
    /// there already, `AlreadyExists` when a file that is no socket is in the way, else what the kernel
    /// says.
    pub async fn bind(address: &Address) -> io::Result<Self> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        address.check_listen().map_err(invalid)?;
        let (socket, local_address) = match address {
            Address::Tcp { host: Host::Ip(ip), port } => {
                let listener = bind_tcp(SocketAddr::new(*ip, *port))?;
                let local_address = listener.local_addr()?.into();
                (Socket::Tcp(listener), local_address)
            }
            Address::Tcp { host: Host::Name(_), .. } => {
                return Err(invalid(crate::InvalidAddress::ListenOnName));
            }
            Address::Vsock { cid, port } => {
                let listener = VsockListener::bind(*cid, *port, Backlog::MAXALLOWABLE)?;
                (Socket::Vsock(listener), address.clone())
            }
            Address::Unix { .. } | Address::Hybrid { .. } => {
                let path = address.socket_file().ok_or(io::ErrorKind::InvalidInput)?;
                let (listener, file) = SocketFile::bind(path, BACKLOG).await?;
                let socket = Socket::Unix { listener, _file: file };
                (socket, address.clone())
            }
        };
        Ok(Self { socket, local_address })
    }

    /// Accepts a connection. Cancel safe: no connection is lost when the future is dropped.
    ///
    /// # Errors
    ///
    /// Errors of the kernel. The listener stays usable: an aborted connection or a lack of descriptors passes. The
    /// caller waits before it tries again.
    pub async fn accept(&self) -> io::Result<Stream> {
        Ok(match &self.socket {
            Socket::Tcp(listener) => listener.accept().await?.0.into(),
            Socket::Unix { listener, .. } => {
                let unix = listener.accept().await?.0;
                bound_unix(&unix)?;
                unix.into()
            }
            Socket::Vsock(listener) => listener.accept().await?.into(),
        })
    }

    /// The address that is listened on, with the port the kernel chose if it was asked to.
    #[must_use]
    pub fn local_address(&self) -> &Address {
        &self.local_address
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart must not wait for the connections of the last run to leave TIME_WAIT.
    socket.set_reuseaddr(true)?;
    bound_tcp(&socket)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
