//! Session tokens.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use time::{Duration, OffsetDateTime};

/// Six hours, as on EC2.
const TTL_MAX_S: u64 = 21_600;

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
        let token = hex::encode(rand::random::<[u8; 28]>());
        let mut expiries = self.expiries.lock().unwrap_or_else(PoisonError::into_inner);
        expiries.retain(|_, expiry| *expiry > now);
        expiries.insert(token.clone(), now + Duration::seconds(i64::try_from(ttl_s).ok()?));
        Some(token)
    }

    pub(crate) fn is_valid(&self, token: &str, now: OffsetDateTime) -> bool {
        let expiries = self.expiries.lock().unwrap_or_else(PoisonError::into_inner);
        expiries.get(token).is_some_and(|expiry| *expiry > now)
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
        assert!(tokens.is_valid(&token, now + Duration::seconds(59)));
        assert!(!tokens.is_valid(&token, now + Duration::seconds(60)));
        assert!(!tokens.is_valid("another", now));
        assert!(tokens.issue("21600", now).is_some());
    }
}
