//! One address syntax, one listener and one stream over every socket this project uses.
//!
//! | address | dialing | listening |
//! |---|---|---|
//! | `tcp:HOST:PORT` | IPv4, `[IPv6]` or a name | IPv4 or `[IPv6]`; port 0 lets the kernel choose |
//! | `vsock:CID:PORT` | a CID | a CID, or `any` |
//! | `unix:/path` | connects | binds the path, mode 0600 |
//! | `hybrid:/path.sock:PORT` | connects to `/path.sock`, asks for the port | binds `/path.sock_PORT` |
//!
//! `hybrid` is how Firecracker and vhost-device-vsock show a guest's vsock ports to their host.
//!
//! Nothing here has a deadline of its own: every future is cancelled by dropping it, which closes the
//! socket it was working on, and the caller knows how long it can wait.
//!
//! Every socket has buffers of a fixed size, which `buffer_size.rs` gives the reasons for.

#![forbid(unsafe_code)]

mod address;
mod buffer_size;
mod dial;
mod listener;
mod proxy_header;
mod socket_file;
mod stream;
mod vsock;

pub use address::{ANY_CID, Address, Host, HostName, InvalidAddress, SocketPath};
pub use buffer_size::VSOCK_KERNEL_BYTES;
pub use dial::dial;
pub use listener::Listener;
pub use proxy_header::{
    InvalidProxyHeader, MAX_PROXY_HEADER_BYTES, PROXY_SIGNATURE, PROXY_TEXT_PREFIX, ProxyHeader,
};
pub use stream::Stream;
