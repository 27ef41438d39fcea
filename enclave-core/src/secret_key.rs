//! A secp256k1 private key and its public half.

use k256::elliptic_curve::PrimeField as _;
use k256::{NonZeroScalar, Scalar};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::declassify::declassify;
use crate::generator;
use crate::stack::with_burnt_stack;

/// The scalar of a key as it was generated or imported: 32 bytes, big-endian, in `1..n` (SEC 1 §2.3.6).
///
/// Never the even-y form that BIP-340 signs with: the backup and the 02/03 prefix of the public key come from this
/// one. Not `Clone`, without its bytes in `Debug`, wiped on drop.
pub struct SecretKey([u8; 32]);

/// The bytes are not a key: zero, or the curve's order or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidSecretKey;

impl SecretKey {
    /// Takes a key from its bytes and wipes them where they were, whether they are a key or not.
    ///
    /// # Errors
    /// [`InvalidSecretKey`] for zero and for values not below the order.
    pub fn take(bytes: &mut [u8; 32]) -> Result<Self, InvalidSecretKey> {
        let in_range = with_burnt_stack(|| NonZeroScalar::from_repr((*bytes).into()).is_some());
        let key = Self(*bytes);
        bytes.zeroize();
        if declassify(in_range) { Ok(key) } else { Err(InvalidSecretKey) }
    }

    /// Computes the public key of this very scalar.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        with_burnt_stack(|| {
            let point = generator::multiply(&self.scalar());
            let mut sec1 = [0; 33];
            let [tag, x @ ..] = &mut sec1;
            *tag = 2 | point.y_is_odd.unwrap_u8();
            *x = point.x;
            PublicKey(sec1)
        })
    }

    /// The bytes, for sealing. The caller wipes each copy that it makes.
    #[must_use]
    pub fn secret_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Makes this a second copy, for a store or a permit.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.0 = other.0;
    }

    pub(crate) fn scalar(&self) -> Scalar {
        // Always in range: the constructor checked.
        Scalar::from_repr(self.0.into()).unwrap_or(Scalar::ONE)
    }

    /// An empty place of a store, which is no key.
    pub(crate) const fn vacant() -> Self {
        Self([0; 32])
    }

    pub(crate) fn wipe(&mut self) {
        self.0.zeroize();
    }
}

impl core::fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("SecretKey").finish_non_exhaustive()
    }
}

impl ConstantTimeEq for SecretKey {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl ZeroizeOnDrop for SecretKey {}

/// A private key and its public half, which is computed once.
pub struct KeyPair {
    pub(crate) secret: SecretKey,
    pub(crate) public: PublicKey,
}

impl KeyPair {
    /// Makes a key of the first 32 bytes of `random` that are a valid scalar: all but one draw in 2^128 are.
    ///
    /// # Errors
    /// The source's own.
    pub fn generate<E>(mut random: impl FnMut(&mut [u8; 32]) -> Result<(), E>) -> Result<Self, E> {
        let mut candidate = [0; 32];
        loop {
            random(&mut candidate)?;
            if let Ok(secret) = SecretKey::take(&mut candidate) {
                return Ok(Self::from(secret));
            }
        }
    }

    /// The half that anyone may see.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.public
    }
}

impl core::fmt::Debug for KeyPair {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("KeyPair").field("public", &self.public).finish_non_exhaustive()
    }
}

impl From<SecretKey> for KeyPair {
    fn from(secret: SecretKey) -> Self {
        let public = secret.public_key();
        Self { secret, public }
    }
}

/// A compressed point, SEC 1 §2.3.3: 02 or 03, then x.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 33]);

/// In hex, as replies have it.
impl core::fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "PublicKey({:x})", base16ct::HexDisplay(&self.0))
    }
}

impl PublicKey {
    /// The 33 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 33] {
        &self.0
    }

    pub(crate) const fn vacant() -> Self {
        Self([0; 33])
    }
}
