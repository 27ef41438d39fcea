//! Verifies the signer's signatures.

use k256::schnorr::{Signature, VerifyingKey};

/// Whether these 33 bytes are a public key, as the signer gives it: a point of secp256k1, compressed.
#[must_use]
pub fn is_key(public_key: &[u8; 33]) -> bool {
    key_of(public_key).is_some()
}

/// Whether `signature` is one of the 32 bytes of `digest` themselves (BIP-340) by the key that `public_key` gives, as
/// the signer gives it: compressed, 33 bytes.
#[must_use]
pub fn is_signed(public_key: &[u8; 33], digest: &[u8; 32], signature: &[u8; 64]) -> bool {
    match (key_of(public_key), Signature::try_from(&signature[..])) {
        (Some(key), Ok(signature)) => key.verify_raw(digest, &signature).is_ok(),
        _ => false,
    }
}

fn key_of(public_key: &[u8; 33]) -> Option<VerifyingKey> {
    let [2 | 3, x_only @ ..] = public_key else { return None };
    VerifyingKey::from_slice(x_only).ok()
}

#[cfg(test)]
mod tests {
    use super::{is_key, is_signed};

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
    fn not_every_33_bytes_are_a_key() {
        let x_only: [u8; 32] = bytes(VECTORS.lines().nth(2).unwrap().split(',').nth(2).unwrap());
        let key = |sign: u8, x_only: [u8; 32]| {
            let mut key = [sign; 33];
            key[1..].copy_from_slice(&x_only);
            key
        };
        assert!(is_key(&key(2, x_only)) && is_key(&key(3, x_only)));
        assert!(!is_key(&key(4, x_only)) && !is_key(&key(2, [0xff; 32])));
    }
}
