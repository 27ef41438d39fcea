//! The core's layers, each beside its peer in the same run; a table of ratios at the end. README.md says how to read
//! it.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on should stop")]
#![allow(missing_docs, reason = "criterion_group! makes public functions without documentation")]

#[path = "signer/curve.rs"]
mod curve;
#[path = "signer/libsecp256k1.rs"]
mod libsecp256k1;
#[path = "signer/ratios.rs"]
mod ratios;
#[path = "signer/request.rs"]
mod request;
#[path = "signer/stores.rs"]
mod stores;
#[path = "signer/ticket.rs"]
mod ticket;
// The same requests, small signer and tickets that the core's own tests use.
#[allow(dead_code, reason = "not all of it is needed here")]
#[path = "../../enclave-core/tests/public_api/small_signer.rs"]
mod small_signer;
#[allow(dead_code, reason = "not all of it is needed here")]
#[path = "../../enclave-core/tests/no_allocation/whole_request.rs"]
mod whole_request;

use std::time::SystemTime;

use criterion::{Criterion, criterion_group};

criterion_group!(
    all,
    curve::schnorr_sign,
    curve::keygen,
    ticket::ticket_verify,
    request::request,
    stores::key_store,
    stores::nonce_ledger,
);

fn main() {
    let start = SystemTime::now();
    all();
    Criterion::default().configure_from_args().final_summary();
    ratios::print(start);
}
