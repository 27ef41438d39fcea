//! Permission to sign one digest once: what the API makes for its requests, made by hand to try things out.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use enclave_core::IdentityId;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// The header of the API's tickets.
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// A ticket may live for as long as `limits.max_ticket_ttl_s` at most, which is a day at most.
pub const MAX_TTL_S: u64 = 86_400;

/// As long as the API's.
pub const DEFAULT_TTL_S: u64 = 90;

const NONCE_BYTES: usize = 16;

const DIGEST_BYTES: usize = 32;

/// A key's name, as it was written: a UUID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(String);

/// A text is no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidIdentity;

impl fmt::Display for InvalidIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not a UUID that the signer takes")
    }
}

impl std::error::Error for InvalidIdentity {}

impl FromStr for Identity {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        IdentityId::from_text(text.as_bytes()).map(|_| Self(text.to_owned())).ok_or(InvalidIdentity)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What is signed: 32 bytes.
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

/// What tickets are signed with.
pub struct TicketSecret(Zeroizing<Vec<u8>>);

/// A secret of no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmptySecret;

impl fmt::Display for EmptySecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the ticket secret is empty")
    }
}

impl std::error::Error for EmptySecret {}

/// There is no randomness for a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRandomness;

impl fmt::Display for NoRandomness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("no randomness for a nonce")
    }
}

impl std::error::Error for NoRandomness {}

impl TicketSecret {
    /// Takes it as it is.
    ///
    /// # Errors
    /// [`EmptySecret`]
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self, EmptySecret> {
        if bytes.is_empty() { Err(EmptySecret) } else { Ok(Self(bytes)) }
    }

    /// A ticket made at `now_unix_s` that is good for `ttl_s`: a compact JWS, HS256 (RFC 7515).
    ///
    /// # Errors
    /// [`NoRandomness`]
    pub fn mint(
        &self,
        identity: &Identity,
        digest: &Digest,
        now_unix_s: u64,
        ttl_s: u64,
    ) -> Result<String, NoRandomness> {
        let mut nonce = [0; NONCE_BYTES];
        SystemRandom::new().fill(&mut nonce).map_err(|_| NoRandomness)?;
        let claims = serde_json::json!({
            "scope": "sign",
            "identity_id": identity.0,
            "digest_hash": base16ct::lower::encode_string(&Sha256::digest(digest.0)),
            "nonce": base16ct::lower::encode_string(&nonce),
            "iat": now_unix_s,
            "exp": now_unix_s.saturating_add(ttl_s),
        });
        let encode = Base64UrlUnpadded::encode_string;
        let signed = format!("{}.{}", encode(HEADER.as_bytes()), encode(claims.to_string().as_bytes()));
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.0), signed.as_bytes());
        Ok(format!("{signed}.{}", encode(mac.as_ref())))
    }
}

#[cfg(test)]
mod tests {
    use base64ct::{Base64UrlUnpadded, Encoding as _};
    use serde_json::Value;
    use zeroize::Zeroizing;

    use super::{Digest, Identity, TicketSecret};

    const IDENTITY: &str = "9b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e9f";

    #[test]
    fn a_ticket_has_the_claims_of_the_contract() {
        let secret = TicketSecret::new(Zeroizing::new(b"0mEyH5c7nPzQ81ka".to_vec())).unwrap();
        let (identity, digest): (Identity, Digest) =
            (IDENTITY.parse().unwrap(), format!("0x{}", "ab".repeat(32)).parse().unwrap());
        let mint = || secret.mint(&identity, &digest, 1_800_000_000, 90).unwrap();
        let ticket = mint();
        let parts: Vec<&str> = ticket.split('.').collect();
        let read = |part: &str| -> Value {
            serde_json::from_slice(&Base64UrlUnpadded::decode_vec(part).unwrap()).unwrap()
        };
        assert_eq!((parts.len(), &read(parts[0])["alg"]), (3, &Value::from("HS256")));
        let claims = read(parts[1]);
        assert_eq!((&claims["scope"], &claims["identity_id"]), (&"sign".into(), &IDENTITY.into()));
        assert_eq!((&claims["iat"], &claims["exp"]), (&1_800_000_000_u64.into(), &1_800_000_090_u64.into()));
        // printf 'ab%.0s' {1..32} | xxd -r -p | sha256sum
        let hash = "9a2db2e23f1504cd056606553ac049c5e718e8f9ce9233876df1a7a1821af885";
        assert_eq!(claims["digest_hash"], hash);
        assert_ne!(claims["nonce"], read(mint().split('.').nth(1).unwrap())["nonce"]);
    }

    #[test]
    fn what_the_signer_would_refuse_is_refused() {
        for wrong in ["", "x", &IDENTITY[1..], &IDENTITY.replace("-4f0c", "-0f0c"), &format!("{IDENTITY}\n")]
        {
            wrong.parse::<Identity>().unwrap_err();
        }
        let digest = "AB".repeat(32);
        assert_eq!(digest.parse::<Digest>().unwrap().to_string(), digest.to_lowercase());
        for wrong in [
            "",
            "0x",
            &digest[1..],
            &format!("0X{digest}"),
            &format!("{digest}00"),
            &digest.replace('A', "G"),
        ] {
            wrong.parse::<Digest>().unwrap_err();
        }
        assert!(TicketSecret::new(Zeroizing::new(Vec::new())).is_err());
    }
}
