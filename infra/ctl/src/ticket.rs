//! Tickets, as the API mints them: compact JWS (RFC 7515 §7.1), HS256. Each permits one signature of one digest.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::rand;
use base64ct::{Base64UrlUnpadded, Encoding as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::identity::Identity;

/// The header of every ticket: `{"alg":"HS256"}`.
const HEADER: &[u8] = br#"{"alg":"HS256"}"#;

/// A ticket may live for as long as `limits.max_ticket_ttl_s` at most, which is a day at most.
pub const MAX_TTL_S: u64 = 86_400;

/// As long as the API's.
pub const DEFAULT_TTL_S: u64 = 90;

/// The signer takes no longer one.
const MAX_NONCE_BYTES: usize = 128;

/// The secret that signs tickets: the signer's `TICKET_SIGNING_SECRET`. Its MAC is wiped.
pub struct TicketSecret {
    mac: Hmac<Sha256>,
}

impl fmt::Debug for TicketSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TicketSecret").finish_non_exhaustive()
    }
}

/// A ticket secret of no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmptyTicketSecret;

impl fmt::Display for EmptyTicketSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the ticket secret is empty")
    }
}

impl std::error::Error for EmptyTicketSecret {}

impl TicketSecret {
    /// Takes the bytes of the variable as they are.
    ///
    /// # Errors
    /// [`EmptyTicketSecret`]
    pub fn new(bytes: &Zeroizing<Vec<u8>>) -> Result<Self, EmptyTicketSecret> {
        if bytes.is_empty() {
            return Err(EmptyTicketSecret);
        }
        Hmac::new_from_slice(bytes).map(|mac| Self { mac }).map_err(|_| EmptyTicketSecret)
    }
}

/// The claim that makes a ticket unique. The ticket uses it up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce(String);

/// A text is no nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidNonce;

impl fmt::Display for InvalidNonce {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "not a nonce of 1 to {MAX_NONCE_BYTES} bytes")
    }
}

impl std::error::Error for InvalidNonce {}

impl Nonce {
    /// Sixteen random bytes, in hex.
    ///
    /// # Panics
    /// Never: aws-lc ends the process where there is no randomness.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        rand::fill(&mut bytes).expect("aws-lc has randomness, or ends the process");
        Self(base16ct::lower::encode_string(&bytes))
    }
}

impl FromStr for Nonce {
    type Err = InvalidNonce;

    fn from_str(text: &str) -> Result<Self, InvalidNonce> {
        let fits = !text.is_empty() && text.len() <= MAX_NONCE_BYTES;
        fits.then(|| Self(text.to_owned())).ok_or(InvalidNonce)
    }
}

/// A ticket to sign `digest` once with the key of `identity`, until `exp_unix_s`.
///
/// The signer refuses one that ends further ahead than its `max_ticket_ttl_s`, an hour unless its `nitro.toml` says
/// otherwise. The API's live 90 s.
#[must_use]
pub fn mint(
    secret: &TicketSecret,
    identity: &Identity,
    digest: &[u8; 32],
    exp_unix_s: u64,
    nonce: &Nonce,
) -> String {
    let digest_hash = base16ct::lower::encode_string(&Sha256::digest(digest));
    let nonce = serde_json::Value::from(nonce.0.as_str());
    let claims = format!(
        r#"{{"scope":"sign","identity_id":"{identity}","digest_hash":"{digest_hash}","nonce":{nonce},"exp":{exp_unix_s}}}"#
    );
    let [header, claims] = [HEADER, claims.as_bytes()].map(Base64UrlUnpadded::encode_string);
    let signed = format!("{header}.{claims}");
    let mut mac = secret.mac.clone();
    mac.update(signed.as_bytes());
    let mac = Base64UrlUnpadded::encode_string(&mac.finalize().into_bytes());
    format!("{signed}.{mac}")
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::{EmptyTicketSecret, InvalidNonce, Nonce, TicketSecret, mint};

    fn secret(text: &str) -> Result<TicketSecret, EmptyTicketSecret> {
        TicketSecret::new(&Zeroizing::new(text.as_bytes().to_vec()))
    }

    /// By Python: `h,c=(base64.urlsafe_b64encode(t).rstrip(b'=') for t in (b'{"alg":"HS256"}', claims))`,
    /// `m=hmac.new(b'a ticket secret', h+b'.'+c, 'sha256').digest()`, with the claims as they are written here.
    #[test]
    fn agrees_with_another_implementation() {
        let identity = "9b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e9f".parse().unwrap();
        let ticket = mint(
            &secret("a ticket secret").unwrap(),
            &identity,
            &[7; 32],
            1_800_000_090,
            &"a \"nonce\"".parse().unwrap(),
        );
        assert_eq!(ticket, FROM_PYTHON);
    }

    const FROM_PYTHON: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzY29wZSI6InNpZ24iLCJpZGVudGl0eV9pZCI6IjliMmYwYzFlLTU4ZjQtNGYwYy04ZDNlLTBhNWI2YzdkOGU5ZiIsImRpZ2VzdF9oYXNoIjoiNGJiMDZmOGU0ZTNhNzcxNWQyMDFkNTczZDBhYTQyMzc2MmU1NWRhYmQ2MWEyYzAyMjc4ZmE1NmNjNmQyOTRlMCIsIm5vbmNlIjoiYSBcIm5vbmNlXCIiLCJleHAiOjE4MDAwMDAwOTB9.eWSZ8CARD1z9ZpaL8qBogiQGVYFPcn3Rpvpt68rOjqU";

    #[test]
    fn what_the_signer_would_refuse_is_not_minted() {
        assert_eq!(secret("").err(), Some(EmptyTicketSecret));
        assert_eq!("".parse::<Nonce>(), Err(InvalidNonce));
        assert_eq!("n".repeat(129).parse::<Nonce>(), Err(InvalidNonce));
        assert!("n".repeat(128).parse::<Nonce>().is_ok());
        assert_ne!(Nonce::random(), Nonce::random());
    }

    #[test]
    fn the_secret_is_not_shown() {
        assert_eq!(format!("{:?}", secret("a ticket secret").unwrap()), "TicketSecret { .. }");
    }
}
