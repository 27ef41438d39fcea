//! The challenge of one request.

use std::fmt;

use aws_lc_rs::rand;

/// Long enough to be unique.
const NONCE_BYTES: usize = 32;

/// The bytes that a document has to repeat, so that it answers one request and no other. Used once.
#[derive(Debug, PartialEq, Eq)]
pub struct Nonce([u8; NONCE_BYTES]);

impl Nonce {
    /// A new one.
    ///
    /// # Panics
    /// Never: where the system has no randomness, AWS-LC ends the process.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; NONCE_BYTES];
        rand::fill(&mut bytes).expect("AWS-LC gives randomness or ends the process");
        Self(bytes)
    }

    /// One that was made elsewhere.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; NONCE_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes that the document repeats.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// 64 lower-case hex digits, for the query: the signer takes hex for hex, and an all-digit base64url for hex too.
impl fmt::Display for Nonce {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&base16ct::lower::encode_string(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::Nonce;

    #[test]
    fn each_is_another_and_prints_as_hex() {
        let (one, other) = (Nonce::random(), Nonce::random());
        assert_ne!(one, other);
        assert_eq!(Nonce::from_bytes([0xa5; 32]).to_string(), "a5".repeat(32));
        assert_eq!(base16ct::lower::decode_vec(one.to_string()).unwrap(), one.as_bytes());
    }
}
