//! How many instructions the hot path takes, counted by callgrind; instructions.sh holds the counts against
//! baseline.toml.
//!
//! Counted is what runs inside a function below, and not its `setup` and `teardown`. Every `setup` does once what is
//! counted after: the first use of tables and of CPU features finds them out.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on should stop")]
#![allow(missing_docs, reason = "gungraun's macros make public functions without documentation")]

// The same requests, small signer and tickets that the core's own tests use.
#[allow(dead_code, reason = "not all of it is needed here")]
#[path = "../../enclave-core/tests/public_api/small_signer.rs"]
mod small_signer;
#[allow(dead_code, reason = "not all of it is needed here")]
#[path = "../../enclave-core/tests/no_allocation/whole_request.rs"]
mod whole_request;

use std::hint::black_box;

use enclave_core::{MAX_REPLY_BYTES, PublicKey, SignPermit, Signature, Signer, SigningFailed};
use gungraun::{Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};

use crate::small_signer::{Claims, authorize, identity, pair, sign_body, signer};
use crate::whole_request::{DIGEST, sign};

const SECRET: [u8; 32] = [0x5A; 32];
const AUX: [u8; 32] = [0x99; 32];

#[library_benchmark(setup = permit)]
fn schnorr_sign(permit: SignPermit) -> Result<Signature, SigningFailed> {
    permit.sign(black_box(&AUX))
}

#[library_benchmark(setup = secret)]
fn keygen(secret: [u8; 32]) -> PublicKey {
    *pair(secret).public_key()
}

#[library_benchmark]
#[bench::sign(setup = sign_request, teardown = assert_signed)]
fn request(request: Request) -> &'static [u8] {
    let Request { signer, body, out } = request;
    black_box(sign(signer, body, out));
    out
}

library_benchmark_group!(name = counted, benchmarks = [schnorr_sign, keygen, request]);
main!(
    config = LibraryBenchmarkConfig::default()
        .tool(Callgrind::with_args(["--cache-sim=no"]))
        // Of a `rep` instruction callgrind counts every byte that it writes.
        .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-ERMS"),
    library_benchmark_groups = counted
);

/// Borrowed, so that nothing of it is moved or dropped while instructions are counted.
struct Request {
    signer: &'static mut Signer<'static>,
    body: &'static mut [u8],
    out: &'static mut [u8],
}

fn signer_with_key() -> Signer<'static> {
    let mut signer = signer(1, 2);
    signer.store_imported(&identity(1), &pair(SECRET)).unwrap();
    signer
}

fn permit() -> SignPermit {
    let mut signer = signer_with_key();
    let mut permit = |nonce| authorize(&mut signer, 1, DIGEST, &Claims::good(1, DIGEST, nonce)).unwrap();
    black_box(permit("first").sign(&AUX).unwrap());
    permit("second")
}

fn secret() -> [u8; 32] {
    black_box(pair(SECRET).public_key());
    SECRET
}

fn sign_request() -> Request {
    let body = |nonce| sign_body(1, DIGEST, &Claims::good(1, DIGEST, nonce).ticket());
    let signer = Box::leak(Box::new(signer_with_key()));
    let out = vec![0; MAX_REPLY_BYTES].leak();
    black_box(sign(signer, &mut body("first"), out));
    Request { signer, body: body("second").leak(), out }
}

/// A refusal would be cheap, and pass for a gain.
fn assert_signed(reply: &[u8]) {
    assert!(reply.starts_with(b"{\"signature\""), "{}", reply.escape_ascii());
}
