//! Schnorr verification by libsecp256k1, which shares no code with the product.

use secp256k1::{PublicKey, SecretKey, XOnlyPublicKey, schnorr};

use crate::Failure;

/// Verifies a signature of the 32 bytes `digest` under the 64 hex digits `x_only`.
pub fn verify(signature: &str, digest: &[u8; 32], x_only: &str) -> Result<(), Failure> {
    let key = XOnlyPublicKey::from_byte_array(array(x_only)?)?;
    let parsed = schnorr::Signature::from_byte_array(array(signature)?);
    schnorr::verify(&parsed, digest, &key).map_err(|e| {
        let digest = hex::encode(digest);
        Failure::new(format!("{e}: signature {signature}, digest {digest}, key {x_only}"))
    })
}

fn array<const N: usize>(text: &str) -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes)?;
    Ok(bytes)
}

/// The x-only key within a compressed one.
#[must_use]
pub fn x_only(compressed: &str) -> &str {
    &compressed[2..]
}

/// The compressed public key of `scalar`, in lower-case hex.
pub fn public_key(scalar: &[u8; 32]) -> Result<String, Failure> {
    let secret = SecretKey::from_secret_bytes(*scalar)?;
    Ok(hex::encode(PublicKey::from_secret_key(&secret).serialize()))
}

/// `n - scalar`: the other scalar with the same x-only key.
pub fn negated(scalar: &[u8; 32]) -> Result<[u8; 32], Failure> {
    Ok(SecretKey::from_secret_bytes(*scalar)?.negate().to_secret_bytes())
}

/// A random scalar in range.
#[must_use]
pub fn random_scalar() -> [u8; 32] {
    loop {
        let scalar = rand::random();
        if SecretKey::from_secret_bytes(scalar).is_ok() {
            return scalar;
        }
    }
}

/// `value` as a 32-byte big-endian scalar.
#[must_use]
pub fn small_scalar(value: u8) -> [u8; 32] {
    let mut scalar = [0; 32];
    scalar[31] = value;
    scalar
}

#[cfg(test)]
mod tests {
    use super::verify;

    /// Vector 0 of <https://github.com/bitcoin/bips/blob/master/bip-0340/test-vectors.csv>.
    #[test]
    fn accepts_the_first_vector_and_nothing_near_it() {
        let key = "f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9";
        let signature = "e907831f80848d1069a5371b402410364bdf1c5f8307b0084c55f1ce2dca8215\
                         25f66a4a85ea8b71e482a74f382d2ce5ebeee8fdb2172f477df4900d310536c0";
        assert!(verify(signature, &[0; 32], key).is_ok());
        assert!(verify(signature, &[1; 32], key).is_err());
    }
}
