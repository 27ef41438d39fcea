//! BIP-340 signatures over 32 bytes that are signed *as the message*: k256's `sign` would hash them first and give
//! another signature.

use k256::schnorr::SigningKey;

use crate::digest::Digest;
use crate::secret_key::SecretKey;
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
pub(crate) fn sign(key: &SecretKey, digest: &Digest, aux: &[u8; 32]) -> Result<Signature, SigningFailed> {
    with_burnt_stack(|| {
        let scalar = key.scalar().ok_or(SigningFailed)?;
        let signature =
            SigningKey::from(scalar).sign_raw(digest.as_bytes(), aux).map_err(|_| SigningFailed)?;
        Ok(Signature(signature.to_bytes()))
    })
}
