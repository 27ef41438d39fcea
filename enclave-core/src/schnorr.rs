//! BIP-340 signatures over 32 bytes that are signed *as the message*: k256's `sign` would hash them first and give
//! another signature.
//!
//! Composed here from k256's scalars and points, and not by its `SigningKey`: that can only be made by computing the
//! public key again, which costs as much as the signature, and a stored key has its public half beside it.

use k256::elliptic_curve::ops::Reduce as _;
use k256::elliptic_curve::point::AffineCoordinates as _;
use k256::{NonZeroScalar, ProjectivePoint, Scalar};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _};
use zeroize::Zeroize as _;

use crate::digest::Digest;
use crate::secret_key::KeyPair;
use crate::stack::with_burnt_stack;

/// `R.x ‖ s`, BIP-340 "Default Signing".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signature([u8; 64]);

impl Signature {
    /// The 64 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

/// The nonce came out zero: one chance in 2^256, and BIP-340 says to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SigningFailed;

/// Signs with `aux`, 32 fresh random bytes.
pub(crate) fn sign(pair: &KeyPair, digest: &Digest, aux: &[u8; 32]) -> Result<Signature, SigningFailed> {
    with_burnt_stack(|| default_signing(pair, digest, aux))
}

/// BIP-340's algorithm of that name, in its variables.
fn default_signing(pair: &KeyPair, digest: &Digest, aux: &[u8; 32]) -> Result<Signature, SigningFailed> {
    let [parity, public_x @ ..] = pair.public.as_bytes();
    let message = digest.as_bytes();

    let mut d: Scalar = *pair.secret.scalar().ok_or(SigningFailed)?;
    let negated = -d;
    d.conditional_assign(&negated, Choice::from(parity & 1));

    let mut t = d.to_bytes();
    for (byte, mask) in t.iter_mut().zip(tagged_hash(b"BIP0340/aux").chain_update(aux).finalize()) {
        *byte ^= mask;
    }
    let mut rand =
        tagged_hash(b"BIP0340/nonce").chain_update(t).chain_update(public_x).chain_update(message).finalize();
    t.zeroize();

    let nonce = NonZeroScalar::new(Scalar::reduce(&rand)).into_option();
    rand.zeroize();
    let mut k: Scalar = *nonce.ok_or(SigningFailed)?;
    let point = ProjectivePoint::mul_by_generator(&k).to_affine();
    let negated = -k;
    k.conditional_assign(&negated, point.y_is_odd());
    let r = point.x();

    let challenge = tagged_hash(b"BIP0340/challenge")
        .chain_update(r)
        .chain_update(public_x)
        .chain_update(message)
        .finalize();
    let e = Scalar::reduce(&challenge);
    let s = k + e * d;
    k.zeroize();
    d.zeroize();

    let mut signature = [0; 64];
    let (first, second) = signature.split_at_mut(32);
    first.copy_from_slice(&r);
    second.copy_from_slice(&s.to_bytes());
    Ok(Signature(signature))
}

/// SHA-256 after `SHA-256(tag) ‖ SHA-256(tag)`.
fn tagged_hash(tag: &[u8]) -> Sha256 {
    let tag = Sha256::digest(tag);
    Sha256::new_with_prefix(tag).chain_update(tag)
}
