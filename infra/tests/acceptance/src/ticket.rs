//! Tickets minted by hand, so that every part of one can be wrong.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// The header a good ticket has.
pub const HEADER: &str = r#"{"alg":"HS256"}"#;

/// A ticket: a header text and claims as pairs of name and JSON text, duplicates included.
#[derive(Clone)]
pub struct Ticket {
    header: Vec<u8>,
    claims: Vec<(String, String)>,
}

impl Ticket {
    /// A good one: a random nonce, 90 s to live.
    #[must_use]
    pub fn new(identity: &str, digest: &[u8; 32]) -> Self {
        Self { header: HEADER.as_bytes().to_vec(), claims: Vec::new() }
            .text("scope", "sign")
            .text("identity_id", identity)
            .text("digest_hash", &hex::encode(Sha256::digest(digest)))
            .text("nonce", &uuid::Uuid::new_v4().to_string())
            .claim("exp", &(now_s() + 90).to_string())
    }

    /// With another header, given as its bytes.
    #[must_use]
    pub fn header(mut self, header: impl AsRef<[u8]>) -> Self {
        self.header = header.as_ref().to_vec();
        self
    }

    /// With the claim `name` set to the JSON text `json`.
    #[must_use]
    pub fn claim(mut self, name: &str, json: &str) -> Self {
        match self.claims.iter_mut().find(|(n, _)| n == name) {
            Some((_, value)) => json.clone_into(value),
            None => self.claims.push((name.to_owned(), json.to_owned())),
        }
        self
    }

    /// With the claim `name` set to a string.
    #[must_use]
    pub fn text(self, name: &str, value: &str) -> Self {
        self.claim(name, &serde_json::Value::from(value).to_string())
    }

    /// Adds a member at the end, even if one of that name exists.
    #[must_use]
    pub fn also(mut self, name: &str, json: &str) -> Self {
        self.claims.push((name.to_owned(), json.to_owned()));
        self
    }

    /// Without the claim `name`.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.claims.retain(|(n, _)| n != name);
        self
    }

    /// The claims as JSON. A name is written as it is, so that it may hold an escape.
    #[must_use]
    pub fn claims_json(&self) -> String {
        let members: Vec<String> =
            self.claims.iter().map(|(name, json)| format!(r#""{name}":{json}"#)).collect();
        format!("{{{}}}", members.join(","))
    }

    /// The JSON text of the claim `name`.
    #[must_use]
    pub fn claim_json(&self, name: &str) -> Option<&str> {
        self.claims.iter().find(|(n, _)| n == name).map(|(_, json)| json.as_str())
    }

    /// Header and claims in base64url, as they are signed.
    #[must_use]
    pub fn signing_input(&self) -> String {
        format!("{}.{}", encode(&self.header), encode(self.claims_json().as_bytes()))
    }

    /// The compact form, signed with `secret`.
    #[must_use]
    pub fn mint(&self, secret: &str) -> String {
        sign_input(&self.signing_input(), secret)
    }
}

/// The compact form of any header and claims bytes.
#[must_use]
pub fn mint_bytes(header: &[u8], claims: &[u8], secret: &str) -> String {
    sign_input(&format!("{}.{}", encode(header), encode(claims)), secret)
}

/// `input` with the MAC of its own bytes: `input` need not be base64url at all.
#[must_use]
pub fn sign_input(input: &str, secret: &str) -> String {
    format!("{input}.{}", encode(&hmac_sha256(input, secret)))
}

/// HMAC-SHA-256 of `input`.
#[must_use]
pub fn hmac_sha256(input: &str, secret: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(input.as_bytes());
    mac.finalize().into_bytes().into()
}

/// HMAC-SHA-512 of `input`, for tickets that claim another algorithm.
#[must_use]
pub fn hmac_sha512(input: &str, secret: &str) -> Vec<u8> {
    let mut mac =
        Hmac::<sha2::Sha512>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(input.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Base64url without padding.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The same base64url text with its unused low bits set; `None` when it has none.
#[must_use]
pub fn with_spare_bits(segment: &str) -> Option<String> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = *segment.as_bytes().last()?;
    let value = ALPHABET.iter().position(|b| *b == last)?;
    if segment.len() % 4 < 2 {
        return None;
    }
    let bent = char::from(ALPHABET[value | 1]);
    (bent != char::from(last)).then(|| format!("{}{bent}", &segment[..segment.len() - 1]))
}

/// Seconds since the epoch.
#[must_use]
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs()
}
