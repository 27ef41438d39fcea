//! Session tokens.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use time::{Duration, OffsetDateTime};

/// Six hours, as on EC2.
const TTL_MAX_S: u64 = 21_600;

/// `AQAE` in base64.
const TOKEN_PREFIX: [u8; 3] = [1, 0, 4];

/// Tokens that were given out, and until when they are good.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    expiries: Mutex<HashMap<String, OffsetDateTime>>,
}

impl Tokens {
    /// Gives out a token; `None` when the time to live is not one.
    pub(crate) fn issue(&self, ttl_s: &str, now: OffsetDateTime) -> Option<String> {
        let ttl_s: u64 = ttl_s.parse().ok()?;
        if !(1..=TTL_MAX_S).contains(&ttl_s) {
            return None;
        }
        // 56 characters, of which the first four are the same in all of EC2's.
        let mut bytes = rand::random::<[u8; 40]>();
        bytes[..TOKEN_PREFIX.len()].copy_from_slice(&TOKEN_PREFIX);
        let token = URL_SAFE.encode(bytes);
        let mut expiries = self.expiries.lock().unwrap_or_else(PoisonError::into_inner);
        expiries.retain(|_, expiry| *expiry > now);
        expiries.insert(token.clone(), now + Duration::seconds(i64::try_from(ttl_s).ok()?));
        Some(token)
    }

    /// The whole seconds for which `token` is good; `None` when it is not.
    pub(crate) fn remaining_s(&self, token: &str, now: OffsetDateTime) -> Option<i64> {
        let expiries = self.expiries.lock().unwrap_or_else(PoisonError::into_inner);
        let expiry = expiries.get(token).filter(|expiry| **expiry > now)?;
        Some((*expiry - now).whole_seconds())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lives_as_long_as_asked_for() {
        let tokens = Tokens::default();
        let now = OffsetDateTime::UNIX_EPOCH;
        for wrong in ["", "0", "21601", "-1", "x"] {
            assert_eq!(tokens.issue(wrong, now), None, "{wrong}");
        }
        let token = tokens.issue("60", now).unwrap();
        assert!(token.len() == 56 && token.starts_with("AQAE") && token.ends_with("=="), "{token}");
        assert_eq!(tokens.remaining_s(&token, now + Duration::seconds(59)), Some(1));
        assert_eq!(tokens.remaining_s(&token, now + Duration::seconds(60)), None);
        assert_eq!(tokens.remaining_s("another", now), None);
        assert!(tokens.issue("21600", now).is_some());
    }
}
