//! Examinations of which only the verdict counts.

use crate::doubt::Doubt;
use crate::examination::{Attested, AttestedKey, examine, examine_key};
use crate::expectation::Expectation;
use crate::nonce::Nonce;

/// Verifies the reply of `GET /.well-known/attestation?nonce=…`, which came over a connection whose other end holds the
/// key `tls_spki`, a DER `SubjectPublicKeyInfo`; none without TLS.
///
/// # Errors
/// [`Doubt`], the first one found.
pub fn verify(
    reply: &[u8],
    nonce: &Nonce,
    tls_spki: Option<&[u8]>,
    expectation: &Expectation,
    now_unix_ms: u64,
) -> Result<Attested, Doubt> {
    examine(reply, nonce, tls_spki, expectation, now_unix_ms).verdict()
}

/// Verifies the reply of `POST /internal/attest` for this identity, in the same way.
///
/// # Errors
/// [`Doubt`], the first one found.
pub fn verify_key(
    reply: &[u8],
    identity: [u8; 16],
    nonce: &Nonce,
    tls_spki: Option<&[u8]>,
    expectation: &Expectation,
    now_unix_ms: u64,
) -> Result<AttestedKey, Doubt> {
    examine_key(reply, identity, nonce, tls_spki, expectation, now_unix_ms).verdict()
}
