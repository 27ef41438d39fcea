//! The API keys that clients present in `x-internal-api-key`, and the role of each.

use sha2::{Digest as _, Sha256};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

use configuration::Role;

/// The SHA-256 of an API key: enough to recognise it, and all that is kept.
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
}

/// The API keys of a signer, no two alike.
#[derive(Debug, Default)]
pub struct ApiKeys(Vec<(ApiKey, Role)>);

/// Two names have the same key, so its role would depend on the order of the look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SameApiKey {
    /// Which one, counted from 0 in the order they were added.
    pub index: usize,
}

impl ApiKeys {
    /// A single key.
    #[must_use]
    pub fn one(key: ApiKey, role: Role) -> Self {
        Self(vec![(key, role)])
    }

    /// Adds `key`.
    ///
    /// # Errors
    /// [`SameApiKey`]
    pub fn add(&mut self, key: ApiKey, role: Role) -> Result<(), SameApiKey> {
        match self.0.iter().position(|(known, _)| known.0.ct_eq(&key.0).into()) {
            Some(index) => Err(SameApiKey { index }),
            None => {
                self.0.push((key, role));
                Ok(())
            }
        }
    }

    /// The role of the key that `presented` is. How long it takes says nothing of where, or at what length, `presented`
    /// differs from a key, and is the same for all of them.
    #[must_use]
    pub fn role_of(&self, presented: &[u8]) -> Option<Role> {
        let presented: [u8; 32] = Sha256::digest(presented).into();
        let mut found = 0;
        // Counted from 1, so that 0 is none. All of them are compared, whichever fits.
        for (number, (key, _)) in (1_u32..).zip(&self.0) {
            found.conditional_assign(&number, presented.ct_eq(&key.0));
        }
        let (_, role) = self.0.get((found as usize).checked_sub(1)?)?;
        Some(*role)
    }
}

#[cfg(test)]
mod tests {
    use super::{ApiKey, ApiKeys, EmptyApiKey, SameApiKey};
    use configuration::Role;

    const KEYS: [(&[u8], Role); 3] = [
        (b"0123456789abcdef", Role::Full),
        (b"fedcba9876543210", Role::Sign),
        (b"0123456789abcdeg", Role::Backup),
    ];

    fn keys() -> ApiKeys {
        let mut keys = ApiKeys::default();
        for (key, role) in KEYS {
            keys.add(ApiKey::new(key).unwrap(), role).unwrap();
        }
        keys
    }

    #[test]
    fn each_key_has_its_role_and_nothing_else_has_any() {
        let keys = keys();
        for (key, role) in KEYS {
            assert_eq!(keys.role_of(key), Some(role));
        }
        for other in
            [&b""[..], b"0123456789abcde", b"0123456789abcdef0", b"0123456789abcdeF", b"0123456789abcdef\0"]
        {
            assert_eq!(keys.role_of(other), None, "{other:?}");
            assert_eq!(ApiKeys::default().role_of(other), None, "{other:?}");
        }
        assert_eq!(ApiKey::new(b"").err(), Some(EmptyApiKey));
    }

    #[test]
    fn no_key_has_two_roles() {
        let mut keys = keys();
        let again = ApiKey::new(KEYS[1].0).unwrap();
        assert_eq!(keys.add(again, Role::Full), Err(SameApiKey { index: 1 }));
        assert_eq!(keys.role_of(KEYS[1].0), Some(Role::Sign));
    }
}
