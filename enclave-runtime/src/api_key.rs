//! The secret that callers present in `x-internal-api-key`.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The SHA-256 of the API key: enough to recognise it, and all that is kept.
pub struct ApiKey([u8; 32]);

/// A key of no bytes would let everyone in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmptyApiKey;

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ApiKey").finish_non_exhaustive()
    }
}

impl ApiKey {
    /// Remembers `key`.
    ///
    /// # Errors
    /// [`EmptyApiKey`]
    pub fn new(key: &[u8]) -> Result<Self, EmptyApiKey> {
        if key.is_empty() { Err(EmptyApiKey) } else { Ok(Self(Sha256::digest(key).into())) }
    }

    /// Whether `presented` is the key. How long it takes says nothing of where, or at what length, they differ.
    #[must_use]
    pub fn matches(&self, presented: &[u8]) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented).into();
        presented.ct_eq(&self.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::{ApiKey, EmptyApiKey};

    #[test]
    fn matches_the_key_and_nothing_else() {
        let key = ApiKey::new(b"0123456789abcdef").unwrap();
        assert!(key.matches(b"0123456789abcdef"));
        for other in
            [&b""[..], b"0123456789abcde", b"0123456789abcdef0", b"0123456789abcdeF", b"0123456789abcdef\0"]
        {
            assert!(!key.matches(other), "{other:?}");
        }
        assert_eq!(ApiKey::new(b"").err(), Some(EmptyApiKey));
    }
}
