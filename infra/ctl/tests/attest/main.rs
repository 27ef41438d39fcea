//! Clients of a signer, as processes, before servers that are the expected enclave or pretend to be: each pretence is
//! refused by each client, in words of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../../attestation/tests/own_chain/cbor.rs"]
mod cbor;
#[allow(dead_code, reason = "attestation's tests bend more")]
#[path = "../../../attestation/tests/own_chain/chain.rs"]
mod chain;
#[allow(dead_code, reason = "attestation's tests bend more")]
#[path = "../../../attestation/tests/own_chain/draft.rs"]
mod draft;
#[path = "../eif/process.rs"]
mod process;

mod client;
mod enclave;
mod key;
mod node_and_python;
mod other_commands;
mod pretences;
mod server;
mod show;
mod verify;
