//! Checks for a caller that a signer is the expected enclave, and that no server relays in between.
//!
//! ```text
//! Nonce::random ─▶ GET /.well-known/attestation?nonce=… ─▶ reply ─┐
//! TLS key of that very connection ────────────────────────────────┤
//! nitro.toml [pcr], measurements.json ─▶ ExpectedPcrs ─┐          ▼
//! AWS's pinned root ───────────────────────────────────┴▶ Expectation ─▶ verify ─▶ Attested │ Doubt
//! ```
//!
//! It opens no connection and reads no file and no clock: the caller brings them. A caller
//!
//! 1. connects with TLS and takes any certificate, but notes the public key in it (its DER `SubjectPublicKeyInfo`);
//! 2. asks for a document with a fresh [`Nonce`], on that connection, and gives the reply to [`verify`];
//! 3. sends secrets only on that connection, or on others whose certificate has the same key.
//!
//! ```
//! use verification::{Doubt, Expectation, ExpectedPcrs, Nonce, verify};
//!
//! # fn get(_target: &str) -> Vec<u8> { br#"{"error":"Not found"}"#.to_vec() }
//! # fn run(nitro_toml: &str, tls_spki: &[u8], now_unix_ms: u64) -> Result<(), Box<dyn std::error::Error>> {
//! let expectation = Expectation::one_of(vec![ExpectedPcrs::from_nitro_toml(nitro_toml)?])?;
//! let nonce = Nonce::random();
//! let reply: Vec<u8> = get(&format!("/.well-known/attestation?nonce={nonce}"));
//! match verify(&reply, &nonce, Some(tls_spki), &expectation, now_unix_ms) {
//!     Ok(attested) if expectation.exposures_of(attested.image()).is_empty() => {
//!         println!("talks to {}", attested.document().module_id);
//!     }
//!     Ok(_) => println!("the image gives trust away"),
//!     Err(doubt) => println!("says nothing secret: {doubt}"),
//! }
//! # Ok(())
//! # }
//! # let nitro_toml = format!("[pcr]\nPCR0 = \"{}\"\n", "ab".repeat(48));
//! # run(&nitro_toml, b"a key", 1_800_000_000_000).unwrap();
//! ```
//!
//! Invariants:
//!
//! * An [`Attested`] has passed every check of [`Check::ALL`], except those that the caller waived by name:
//!   [`Expectation::any_image`], [`Expectation::accepting_http`].
//! * The content of a document counts only after its certificates lead to the root and its signature is verified.
//! * An expectation always identifies a program (PCR0, PCR1 with PCR2, or PCR8). Registers of zeros, as every enclave
//!   in debug mode has them, are refused.
//! * An image whose settings give trust away ([`Exposure`]) is attested all the same: a caller checks
//!   [`Expectation::exposures_of`]. A `nitro.toml` or the build's output has these settings; registers alone do not.
//! * Document, request and connection belong together: the nonce is that of the request, the TLS key that of the
//!   connection. A relay that passes genuine documents on has another key.
//! * A document about a signing key does not pass for the endpoint's, nor the reverse, even if an API client requested
//!   it with a nonce of its choice: their user data differ.
//! * Nothing here is secret, so comparisons need no constant time. Errors repeat nothing of their input.

#![forbid(unsafe_code)]

mod doubt;
mod examination;
mod expectation;
mod expected_pcrs;
mod exposure;
mod key_proof;
mod nonce;
mod reply;
mod saved;
mod verify;

pub use attestation::{Document, InvalidRoot, Refused, Root};
pub use doubt::Doubt;
pub use examination::{
    Attested, AttestedKey, Check, Examination, Finding, KeyExamination, check_debug_mode, examine,
    examine_key,
};
pub use expectation::{Expectation, Image};
pub use expected_pcrs::{ExpectedPcr, ExpectedPcrs, InvalidPcrs, MAX_MEASUREMENTS_BYTES};
pub use exposure::Exposure;
pub use key_proof::{InvalidPublicKey, KeyProof, Origin, PublicKey};
pub use nonce::Nonce;
pub use reply::MAX_REPLY_BYTES;
pub use saved::{MAX_SAVED_BYTES, authenticate_at_its_time, document_in, read_unverified, verify_saved_key};
pub use verify::{verify, verify_key};
