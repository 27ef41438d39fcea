//! Black-box tests of the signer: the API contract of `docs/api.md`, row by row, against real processes.
//!
//! The library holds what the tests share: how to start the stack, how to speak raw HTTP, how to
//! mint a ticket with any fault in it, how to seal a key without the product's own code. Nothing
//! here uses a crate of the product, so that a mistake there cannot hide itself here.
//!
//! `tests/` has one file per section of `docs/api.md`, and one test per table.

#![forbid(unsafe_code)]
#![allow(
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    reason = "every error and panic here is a failed test, and its text says which"
)]

pub mod attested;
pub mod binaries;
pub mod bip340;
pub mod contract;
pub mod emulated;
pub mod exchange;
pub mod failure;
pub mod hostile_relay;
pub mod installation;
pub mod key_proof;
pub mod kms;
pub mod local_seal;
pub mod operator;
pub mod pebble;
pub mod process;
pub mod process_memory;
pub mod raw_http;
pub mod request;
pub mod rows;
pub mod server;
pub mod signer;
pub mod stack;
pub mod test_ca;
pub mod ticket;
pub mod tls;

pub use exchange::Exchange;
pub use failure::Failure;
pub use operator::Operator;
pub use raw_http::{Connection, Response};
pub use request::Request;
pub use rows::Rows;
pub use server::Server;
pub use signer::Signer;
pub use stack::Stack;
pub use ticket::Ticket;
