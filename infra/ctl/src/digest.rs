//! The digest that is signed.

use std::fmt;
use std::str::FromStr;

const DIGEST_BYTES: usize = 32;

/// The digest that is signed: 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest([u8; DIGEST_BYTES]);

/// A text is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidDigest;

impl fmt::Display for InvalidDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not 64 hex digits, perhaps behind 0x")
    }
}

impl std::error::Error for InvalidDigest {}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let mut bytes = [0; DIGEST_BYTES];
        match base16ct::mixed::decode(text.strip_prefix("0x").unwrap_or(text), &mut bytes) {
            Ok(decoded) if decoded.len() == DIGEST_BYTES => Ok(Self(bytes)),
            _ => Err(InvalidDigest),
        }
    }
}

/// 64 hex digits.
impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&base16ct::lower::encode_string(&self.0))
    }
}

impl Digest {
    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; DIGEST_BYTES] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{Digest, InvalidDigest};

    #[test]
    fn a_digest_is_64_hex_digits() {
        let hex = "ab".repeat(32);
        for text in [hex.clone(), hex.to_uppercase(), format!("0x{hex}")] {
            assert_eq!(text.parse::<Digest>().map(|digest| digest.to_string()).as_ref(), Ok(&hex), "{text}");
        }
        for wrong in ["", "0x", &hex[1..], &format!("{hex}0"), &format!("0X{hex}"), &hex.replace('a', "g")] {
            assert_eq!(wrong.parse::<Digest>(), Err(InvalidDigest), "{wrong}");
        }
    }
}
