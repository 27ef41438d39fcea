//! Where a signing key comes from, and the digest by which an enclave states it.

use std::fmt;

use attestation::Document;
use aws_lc_rs::digest::{SHA256, digest};

/// Before what is hashed, so that nothing else has this digest.
const DOMAIN: &[u8] = b"nitro-signer/key/v1";

/// Where a key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was born in an enclave, and has been nowhere in the clear since.
    Generated,
    /// It came from a backup or from elsewhere: who else has it, the enclave cannot say.
    Imported,
}

impl Origin {
    const ALL: [Self; 2] = [Self::Generated, Self::Imported];

    /// As the signer spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Generated => "generated",
            Self::Imported => "imported",
        }
    }

    /// Reads the signer's spelling.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|origin| origin.as_str() == name)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A compressed point of secp256k1, as the signer gives it out. Whether it is on the curve is not looked at: it is
/// compared and hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 33]);

/// Not 66 hex digits that begin with 02 or 03.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidPublicKey;

impl fmt::Display for InvalidPublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not a compressed public key in 66 hex digits")
    }
}

impl std::error::Error for InvalidPublicKey {}

impl PublicKey {
    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 33] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&base16ct::lower::encode_string(&self.0))
    }
}

impl std::str::FromStr for PublicKey {
    type Err = InvalidPublicKey;

    fn from_str(hex: &str) -> Result<Self, InvalidPublicKey> {
        let mut bytes = [0; 33];
        match base16ct::mixed::decode(hex, &mut bytes) {
            Ok([2 | 3, ..]) if hex.len() == 66 => Ok(Self(bytes)),
            _ => Err(InvalidPublicKey),
        }
    }
}

/// A signing key of which an enclave may say where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyProof {
    /// The owner of the key: the 16 bytes of a UUID.
    pub identity: [u8; 16],
    /// The key.
    pub public_key: PublicKey,
}

impl KeyProof {
    /// The user data of a document that states `origin`.
    #[must_use]
    pub fn digest(&self, origin: Origin) -> [u8; 32] {
        let parts = [DOMAIN, &self.identity, &self.public_key.0, origin.as_str().as_bytes()];
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, &parts.concat()).as_ref());
        bytes
    }

    /// The origin that `document` tells of this key, if it is of this key. Whether the document is authentic is another
    /// question.
    #[must_use]
    pub fn origin_in(&self, document: &Document) -> Option<Origin> {
        let said = document.user_data.as_deref()?;
        Origin::ALL.into_iter().find(|origin| self.digest(*origin) == said)
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyProof, Origin, PublicKey};

    /// Numbers as Python's hashlib tells them of the parts, joined.
    #[test]
    fn the_digest_is_the_documented_one() {
        let public_key: PublicKey = format!("02{}", "11".repeat(32)).parse().unwrap();
        let proof = KeyProof { identity: [0x22; 16], public_key };
        let hex = |origin| base16ct::lower::encode_string(&proof.digest(origin));
        assert_eq!(hex(Origin::Generated), GENERATED);
        assert_eq!(hex(Origin::Imported), IMPORTED);
    }

    const GENERATED: &str = "fad541781331a8f756dffcf80019feb6e907c6bcb1af7d992cbdfd1f9d87c50e";
    const IMPORTED: &str = "811aa0286934f9e68a1c4eda9c7f04700e5da07959fcb04fe1d8820ad4862633";

    #[test]
    fn a_public_key_has_one_form() {
        let hex = format!("03{}", "ab".repeat(32));
        assert_eq!(hex.to_uppercase().parse::<PublicKey>().unwrap().to_string(), hex);
        for wrong in ["", &hex[..64], &format!("{hex}00"), &format!("04{}", &hex[2..]), &"+a".repeat(33)] {
            assert!(wrong.parse::<PublicKey>().is_err(), "{wrong}");
        }
        assert_eq!(Origin::from_name("generated"), Some(Origin::Generated));
        assert_eq!(Origin::from_name("Generated"), None);
    }
}
