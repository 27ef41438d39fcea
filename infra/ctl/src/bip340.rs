//! Signatures by BIP-340, judged by the public key that the signer gave when the key was made.

use std::fmt;
use std::str::FromStr;

use k256::schnorr::{Signature, VerifyingKey};

/// A compressed point: 02 or 03, and 32 bytes.
const KEY_BYTES: usize = 33;

const SIGNATURE_BYTES: usize = 64;

/// The public key of an identity: 66 hex digits.
#[derive(Clone, Debug)]
pub struct PublicKey(VerifyingKey);

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
        let mut bytes = [0; KEY_BYTES];
        match base16ct::mixed::decode(text, &mut bytes) {
            Ok(decoded) if decoded.len() == KEY_BYTES && matches!(decoded[0], 2 | 3) => {}
            _ => return Err(InvalidPublicKey),
        }
        // BIP-340 goes by the x coordinate.
        VerifyingKey::from_slice(&bytes[1..]).map(Self).map_err(|_| InvalidPublicKey)
    }
}

impl PublicKey {
    /// Whether `signature`, in hex, is one over these 32 bytes.
    #[must_use]
    pub fn verifies(&self, digest: &[u8; 32], signature: &str) -> bool {
        let mut bytes = [0; SIGNATURE_BYTES];
        let decoded =
            base16ct::mixed::decode(signature, &mut bytes).is_ok_and(|it| it.len() == SIGNATURE_BYTES);
        // The digest is the message: nothing is hashed before.
        decoded && Signature::try_from(&bytes[..]).is_ok_and(|it| self.0.verify_raw(digest, &it).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::{InvalidPublicKey, PublicKey};

    /// <https://github.com/bitcoin/bips/blob/master/bip-0340/test-vectors.csv>, index 1.
    const KEY: &str = "DFF1D77F2A671C5F36183726DB2341BE58FEAE1DA2DECED843240F7B502BA659";
    const MESSAGE: &str = "243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89";
    const SIGNATURE: &str = "6896BD60EEAE296DB48A229FF71DFE071BDE413E6D43F917DC8DCF8C78DE33418906D11AC976ABCCB20B091292BFF4EA897EFCB639EA871CFA95F6DE339E4B0A";

    #[test]
    fn a_signature_of_bip340_verifies_for_its_digest_and_key() {
        let mut digest = [0; 32];
        base16ct::mixed::decode(MESSAGE, &mut digest).unwrap();
        for parity in ["02", "03"] {
            let key: PublicKey = format!("{parity}{KEY}").parse().unwrap();
            assert!(key.verifies(&digest, SIGNATURE) && key.verifies(&digest, &SIGNATURE.to_lowercase()));
            assert!(!key.verifies(&[0; 32], SIGNATURE));
            assert!(!key.verifies(&digest, &SIGNATURE.replace("0A", "0B")));
            assert!(!key.verifies(&digest, &SIGNATURE[2..]) && !key.verifies(&digest, ""));
        }
        for wrong in ["", KEY, &format!("04{KEY}"), &format!("02{KEY}00"), &format!("02{}", "F".repeat(64))] {
            assert_eq!(wrong.parse::<PublicKey>().unwrap_err(), InvalidPublicKey, "{wrong}");
        }
    }
}
