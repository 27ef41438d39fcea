//! Tickets: compact JWS (RFC 7515 §3.1) with HS256, each a permission to sign one digest once.
//!
//! The MAC is checked, in constant time, before a byte of header or claims is decoded, so only the holder of the
//! ticket secret reaches the parsers behind it. Stricter than RFC 7515 where leniency helps nobody: no padding, no
//! spare bits, no repeated names, no `crit`, no `b64`.

use base64ct::{Base64UrlUnpadded, Encoding as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq as _};
use zeroize::Zeroize as _;

use crate::declassify::declassify;
use crate::hash_seed::HashSeed;
use crate::identity::IdentityId;
use crate::json::{self, Document, Value};
use crate::stack::with_burnt_stack;

/// Longest nonce, in bytes: a UUID takes 36, and a ledger entry must not be a place to store things.
pub const MAX_NONCE_BYTES: usize = 128;

/// How far ahead `nbf` may be, in seconds: the clock that made the ticket may be ahead of ours. It costs nothing,
/// because `exp` alone ends a ticket.
const NBF_TOLERANCE_S: f64 = 5.0;

/// HMAC-SHA-256's output.
const MAC_BYTES: usize = 32;

/// Checks tickets. Holds the keyed MAC states, which are wiped on drop.
pub struct TicketVerifier {
    mac: Hmac<Sha256>,
    /// Of the secret before, while a deployment changes it.
    previous_mac: Option<Hmac<Sha256>>,
    max_ttl_s: u32,
}

/// A ticket secret of no bytes signs for everyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmptyTicketSecret;

/// Malformed, forged, expired, not yet valid or too long-lived. The client does not learn which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidTicket;

/// The claims of an authentic, live ticket.
#[derive(Debug)]
pub(crate) struct Claims<'t> {
    /// Whether the scope is `sign`.
    pub(crate) may_sign: bool,
    pub(crate) identity: Option<IdentityId>,
    pub(crate) digest_hash: Option<&'t [u8]>,
    pub(crate) nonce: &'t [u8],
    /// Rounded up.
    pub(crate) exp_unix_s: u64,
}

impl core::fmt::Debug for TicketVerifier {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("TicketVerifier").finish_non_exhaustive()
    }
}

impl TicketVerifier {
    /// Takes the ticket secret's bytes as they stand.
    ///
    /// # Errors
    /// [`EmptyTicketSecret`].
    pub fn new(secret: &[u8], max_ttl_s: u32) -> Result<Self, EmptyTicketSecret> {
        if secret.is_empty() {
            return Err(EmptyTicketSecret);
        }
        let mac = Hmac::new_from_slice(secret).map_err(|_| EmptyTicketSecret)?;
        Ok(Self { mac, previous_mac: None, max_ttl_s })
    }

    /// Takes tickets of another secret too, so that the issuer of tickets can change its secret while it issues.
    ///
    /// # Errors
    /// [`EmptyTicketSecret`].
    pub fn accepting_previous(self, secret: &[u8]) -> Result<Self, EmptyTicketSecret> {
        let Self { mac: previous_mac, .. } = Self::new(secret, self.max_ttl_s)?;
        Ok(Self { previous_mac: Some(previous_mac), ..self })
    }

    /// Verifies `ticket`, decoding it in place.
    pub(crate) fn verify<'t>(
        &self,
        ticket: &'t mut [u8],
        now_unix_ms: u64,
        seed: &HashSeed,
    ) -> Result<Claims<'t>, InvalidTicket> {
        let (header, claims) = self.authenticate(ticket).ok_or(InvalidTicket)?;
        check_header(header, seed)?;
        self.read_claims(claims, now_unix_ms, seed)
    }

    /// Splits a ticket in its header and claims segments, if the third is their MAC.
    fn authenticate<'t>(&self, ticket: &'t mut [u8]) -> Option<(&'t mut [u8], &'t mut [u8])> {
        let second_dot = ticket.iter().rposition(|byte| *byte == b'.')?;
        let (signed, tag_segment) = ticket.split_at_mut_checked(second_dot)?;
        let mut tag = [0; MAC_BYTES];
        let decoded = Base64UrlUnpadded::decode(tag_segment.get(1..)?, &mut tag).ok()?;
        if decoded.len() != MAC_BYTES {
            return None;
        }
        // For a forged ticket, the expected MAC is what the forger was after.
        let fits = with_burnt_stack(|| {
            let fits = is_mac_of(&self.mac, signed, &tag);
            // Both are compared, whichever fits: time does not tell which secret a ticket is of.
            match &self.previous_mac {
                Some(previous_mac) => fits | is_mac_of(previous_mac, signed, &tag),
                None => fits,
            }
        });
        if !declassify(fits) {
            return None;
        }
        let first_dot = signed.iter().position(|byte| *byte == b'.')?;
        let (header, claims) = signed.split_at_mut_checked(first_dot)?;
        Some((header, claims.get_mut(1..)?))
    }

    fn read_claims<'t>(
        &self,
        segment: &'t mut [u8],
        now_unix_ms: u64,
        seed: &HashSeed,
    ) -> Result<Claims<'t>, InvalidTicket> {
        const NAMES: [&[u8]; 7] =
            [b"exp", b"nbf", b"iat", b"nonce", b"scope", b"identity_id", b"digest_hash"];
        let text = decode_in_place(segment)?;
        let Ok(Document::Object(found)) = json::read(text, NAMES, seed) else { return Err(InvalidTicket) };
        let text: &'t [u8] = text;
        let [exp, nbf, iat, nonce, scope, identity, digest_hash] = found;
        let string = |value: Value| match value {
            Value::String(range) => text.get(range),
            _ => None,
        };

        let now_s = seconds(now_unix_ms);
        let exp_s = number(text, &exp)?.ok_or(InvalidTicket)?;
        if exp_s <= now_s || exp_s - now_s > f64::from(self.max_ttl_s) {
            return Err(InvalidTicket);
        }
        if number(text, &nbf)?.is_some_and(|nbf_s| nbf_s > now_s + NBF_TOLERANCE_S) {
            return Err(InvalidTicket);
        }
        number(text, &iat)?;
        let nonce = string(nonce).ok_or(InvalidTicket)?;
        if nonce.is_empty() || nonce.len() > MAX_NONCE_BYTES {
            return Err(InvalidTicket);
        }
        Ok(Claims {
            may_sign: string(scope) == Some(b"sign"),
            identity: string(identity).and_then(IdentityId::from_text),
            digest_hash: string(digest_hash),
            nonce,
            exp_unix_s: round_up(exp_s),
        })
    }
}

/// Whether `tag` is the MAC of `signed` under the key of `keyed`, in constant time.
fn is_mac_of(keyed: &Hmac<Sha256>, signed: &[u8], tag: &[u8; MAC_BYTES]) -> Choice {
    let mut mac = keyed.clone();
    mac.update(signed);
    let mut expected = mac.finalize().into_bytes();
    let fits = expected.as_slice().ct_eq(tag);
    expected.zeroize();
    fits
}

fn check_header(segment: &mut [u8], seed: &HashSeed) -> Result<(), InvalidTicket> {
    let text = decode_in_place(segment)?;
    match json::read(text, [b"alg", b"crit", b"b64"], seed) {
        Ok(Document::Object([Value::String(alg), Value::Undefined, Value::Undefined]))
            if text.get(alg.clone()) == Some(b"HS256") =>
        {
            Ok(())
        }
        _ => Err(InvalidTicket),
    }
}

fn decode_in_place(segment: &mut [u8]) -> Result<&mut [u8], InvalidTicket> {
    // base64ct 1.8 refuses non-zero spare bits in `decode` but not in `decode_in_place`; they can only be in the last
    // characters, those past the last whole group of four.
    let spare = segment.get(segment.len() & !3..).ok_or(InvalidTicket)?;
    Base64UrlUnpadded::decode(spare, &mut [0; 3]).map_err(|_| InvalidTicket)?;
    let length = Base64UrlUnpadded::decode_in_place(segment).map_err(|_| InvalidTicket)?.len();
    segment.get_mut(..length).ok_or(InvalidTicket)
}

/// A NumericDate (RFC 7519 §2), fractions included; `None` if the claim is missing.
fn number(text: &[u8], value: &Value) -> Result<Option<f64>, InvalidTicket> {
    match value {
        Value::Undefined => Ok(None),
        Value::Number(range) => {
            let literal = text.get(range.clone()).and_then(|literal| core::str::from_utf8(literal).ok());
            let number: f64 = literal.and_then(|literal| literal.parse().ok()).ok_or(InvalidTicket)?;
            if number.is_finite() { Ok(Some(number)) } else { Err(InvalidTicket) }
        }
        _ => Err(InvalidTicket),
    }
}

#[allow(clippy::cast_precision_loss, reason = "exact below 2^53 ms, the year 287396")]
fn seconds(unix_ms: u64) -> f64 {
    unix_ms as f64 / 1000.0
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "above now, and `as` saturates")]
#[allow(clippy::cast_precision_loss, reason = "exact below 2^53")]
fn round_up(seconds: f64) -> u64 {
    let whole = seconds as u64;
    if (whole as f64) < seconds { whole + 1 } else { whole }
}

#[cfg(test)]
mod tests;
