//! Whether a signature is what the signer says that it is.

use std::fmt;
use std::str::FromStr;

use k256::schnorr::{Signature, VerifyingKey};

/// The public key of an identity, as the signer gives it: 66 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 33]);

/// A text is no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidPublicKey;

impl fmt::Display for InvalidPublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .write_str("not a compressed public key: 66 hex digits, 02 or 03 first, of a point of secp256k1")
    }
}

impl std::error::Error for InvalidPublicKey {}

impl FromStr for PublicKey {
    type Err = InvalidPublicKey;

    fn from_str(text: &str) -> Result<Self, InvalidPublicKey> {
        let mut bytes = [0; 33];
        let is_whole = base16ct::mixed::decode(text, &mut bytes).is_ok_and(|decoded| decoded.len() == 33);
        match bytes {
            [2 | 3, ref x_only @ ..] if is_whole && VerifyingKey::from_slice(x_only).is_ok() => {
                Ok(Self(bytes))
            }
            _ => Err(InvalidPublicKey),
        }
    }
}

impl PublicKey {
    /// Whether `signature`, in hex, is one of these 32 bytes.
    #[must_use]
    pub fn verifies(&self, digest: &[u8; 32], signature: &str) -> bool {
        let mut bytes = [0; 64];
        let is_whole =
            base16ct::mixed::decode(signature, &mut bytes).is_ok_and(|decoded| decoded.len() == 64);
        is_whole && is_signed(&self.0, digest, &bytes)
    }
}

/// Whether `signature` is one of the 32 bytes of `digest` themselves (BIP-340) by the key that `public_key` gives, as
/// the signer gives it: compressed, 33 bytes.
#[must_use]
pub fn is_signed(public_key: &[u8; 33], digest: &[u8; 32], signature: &[u8; 64]) -> bool {
    let key = match public_key {
        [2 | 3, x_only @ ..] => VerifyingKey::from_slice(x_only),
        _ => return false,
    };
    let signature = Signature::try_from(&signature[..]);
    match (key, signature) {
        (Ok(key), Ok(signature)) => key.verify_raw(digest, &signature).is_ok(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{InvalidPublicKey, PublicKey, is_signed};

    /// <https://github.com/bitcoin/bips/blob/master/bip-0340/test-vectors.csv>
    const VECTORS: &str = include_str!("../../../enclave-core/tests/data/bip340.csv");

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        let mut bytes = [0; N];
        assert_eq!(base16ct::upper::decode(hex, &mut bytes).unwrap().len(), N);
        bytes
    }

    #[test]
    fn agrees_with_the_vectors() {
        let (mut good, mut bad) = (0, 0);
        for line in VECTORS.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let [_, _, public_key, _, message, signature, result, ..] = fields[..] else { panic!("{line}") };
            let (digest, x_only): ([u8; 32], [u8; 32]) = (bytes(message), bytes(public_key));
            let signature: [u8; 64] = bytes(signature);
            for sign in [2, 3] {
                let mut public_key = [sign; 33];
                public_key[1..].copy_from_slice(&x_only);
                let outcome = is_signed(&public_key, &digest, &signature);
                assert_eq!(outcome, result == "TRUE", "{line}");
                public_key[0] = 4;
                assert!(!is_signed(&public_key, &digest, &signature), "{line}");
            }
            *(if result == "TRUE" { &mut good } else { &mut bad }) += 1;
        }
        assert_eq!((good, bad), (5, 8));
    }

    #[test]
    fn keys_and_signatures_are_read_from_hex() {
        let line = VECTORS.lines().nth(2).unwrap();
        let fields: Vec<&str> = line.split(',').collect();
        let [_, _, x_only, _, message, signature, ..] = fields[..] else { panic!("{line}") };
        let digest: [u8; 32] = bytes(message);
        for sign in ["02", "03"] {
            let key: PublicKey = format!("{sign}{x_only}").parse().unwrap();
            assert!(key.verifies(&digest, signature) && key.verifies(&digest, &signature.to_lowercase()));
            assert!(!key.verifies(&[0; 32], signature));
            assert!(!key.verifies(&digest, &signature[2..]) && !key.verifies(&digest, ""));
        }
        let no_point = format!("02{}", "F".repeat(64));
        for wrong in ["", x_only, &format!("04{x_only}"), &format!("02{x_only}00"), &no_point] {
            assert_eq!(wrong.parse::<PublicKey>(), Err(InvalidPublicKey), "{wrong}");
        }
    }
}
