//! BIP-340 signatures over 32 bytes that are signed *as the message*: k256's `sign` would hash them first and give
//! another signature.
//!
//! Composed here from k256's scalars, and not by its `SigningKey`, for two reasons: that one can only be made by
//! computing the public key again, which costs as much as the signature and which a stored key has beside it; and
//! [`generator::multiply`] takes two thirds of the time of k256's multiplication.

use k256::Scalar;
use k256::elliptic_curve::ops::Reduce as _;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _};
use zeroize::Zeroize as _;

use crate::declassify::declassify;
use crate::digest::Digest;
use crate::generator;
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

    let mut d = pair.secret.scalar();
    let negated = -d;
    d.conditional_assign(&negated, Choice::from(parity & 1));

    let mut t = d.to_bytes();
    for (byte, mask) in t.iter_mut().zip(tagged_hash(AUX_TAG).chain_update(aux).finalize()) {
        *byte ^= mask;
    }
    let mut rand =
        tagged_hash(NONCE_TAG).chain_update(t).chain_update(public_x).chain_update(message).finalize();
    t.zeroize();

    let mut k = Scalar::reduce(&rand);
    rand.zeroize();
    if declassify(k.is_zero()) {
        return Err(SigningFailed);
    }
    let point = generator::multiply(&k);
    let negated = -k;
    k.conditional_assign(&negated, point.y_is_odd);
    let r = point.x;

    let challenge =
        tagged_hash(CHALLENGE_TAG).chain_update(r).chain_update(public_x).chain_update(message).finalize();
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

/// SHA-256 of BIP-340's tags, which never change.
const AUX_TAG: [u8; 32] = [
    0xf1, 0xef, 0x4e, 0x5e, 0xc0, 0x63, 0xca, 0xda, 0x6d, 0x94, 0xca, 0xfa, 0x9d, 0x98, 0x7e, 0xa0, 0x69,
    0x26, 0x58, 0x39, 0xec, 0xc1, 0x1f, 0x97, 0x2d, 0x77, 0xa5, 0x2e, 0xd8, 0xc1, 0xcc, 0x90,
];
const NONCE_TAG: [u8; 32] = [
    0x07, 0x49, 0x77, 0x34, 0xa7, 0x9b, 0xcb, 0x35, 0x5b, 0x9b, 0x8c, 0x7d, 0x03, 0x4f, 0x12, 0x1c, 0xf4,
    0x34, 0xd7, 0x3e, 0xf7, 0x2d, 0xda, 0x19, 0x87, 0x00, 0x61, 0xfb, 0x52, 0xbf, 0xeb, 0x2f,
];
const CHALLENGE_TAG: [u8; 32] = [
    0x7b, 0xb5, 0x2d, 0x7a, 0x9f, 0xef, 0x58, 0x32, 0x3e, 0xb1, 0xbf, 0x7a, 0x40, 0x7d, 0xb3, 0x82, 0xd2,
    0xf3, 0xf2, 0xd8, 0x1b, 0xb1, 0x22, 0x4f, 0x49, 0xfe, 0x51, 0x8f, 0x6d, 0x48, 0xd3, 0x7c,
];

/// SHA-256 after `SHA-256(tag) ‖ SHA-256(tag)`.
fn tagged_hash(tag: [u8; 32]) -> Sha256 {
    Sha256::new_with_prefix(tag).chain_update(tag)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::{AUX_TAG, CHALLENGE_TAG, NONCE_TAG};

    #[test]
    fn tags_are_hashes_of_their_names() {
        for (name, tag) in
            [("BIP0340/aux", AUX_TAG), ("BIP0340/nonce", NONCE_TAG), ("BIP0340/challenge", CHALLENGE_TAG)]
        {
            assert_eq!(tag[..], Sha256::digest(name)[..], "{name}");
        }
    }
}
