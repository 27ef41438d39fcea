//! A byte-level proxy between the network and an enclave.
//!
//! The binary's documentation describes the flow of data and what always holds.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod acceptor;
mod admin;
mod arguments;
mod backoff;
mod buffer;
mod connect;
mod connection;
mod descriptor_limit;
mod destination;
mod enclave_file;
mod file_sink;
mod file_source;
mod invalid_route;
mod limits;
mod line_sink;
mod metrics;
mod pump;
mod route;
mod server;
mod source_limit;

pub mod exit;

pub use arguments::{Arguments, Config, InvalidConfig};
pub use descriptor_limit::raise_descriptor_limit;
pub use destination::Destination;
pub use enclave_file::EnclaveFile;
pub use file_sink::{REPLACEMENT_MAX_BYTES, receive_replacement};
pub use invalid_route::InvalidRoute;
pub use limits::Limits;
pub use route::Route;
pub use server::{BindError, Finish, Server};
