//! Request bodies: bytes in a lent buffer to typed requests.
//!
//! Every bad field is found, in the schema's order, before a request is refused. Unknown fields are ignored.

use core::fmt;
use core::ops::Range;

use crate::attestation_nonce::AttestationNonce;
use crate::digest::Digest;
use crate::hash_seed::HashSeed;
use crate::identity::IdentityId;
use crate::json::{self, Document, Value, utf16_length};
use crate::refusal::Refusal;
use crate::validation::{FieldError, Kind, MAX_FIELDS, ValidationErrors};

/// The shortest ticket, in UTF-16 code units, as in the message to existing clients.
const MIN_TICKET_UTF16: usize = 32;

/// Longest ticket, in UTF-16 code units: a ticket of the API is about 400 long; this bounds the MAC's work.
const MAX_TICKET_UTF16: usize = 4096;

/// The one algorithm's name.
const ALGORITHM: &[u8] = b"secp256k1";

/// `POST /internal/generate`
#[derive(Debug)]
pub struct GenerateRequest {
    /// The key to make.
    pub identity: IdentityId,
}

/// `POST /internal/sign`
pub struct SignRequest<'b> {
    /// The key to sign with.
    pub identity: IdentityId,
    /// The digest to sign.
    pub digest: Digest,
    /// WTF-8 of 32 to 4096 UTF-16 code units; decoded in place when it is verified.
    pub ticket: &'b mut [u8],
}

/// `POST /internal/destroy` and `POST /internal/backup/export`
#[derive(Debug)]
pub struct IdentityRequest {
    /// The key.
    pub identity: IdentityId,
}

/// `POST /internal/attest`
#[derive(Debug)]
pub struct AttestRequest {
    /// The key.
    pub identity: IdentityId,
    /// The nonce that the document has to hold, if any.
    pub nonce: Option<AttestationNonce>,
}

/// `POST /internal/backup/import`
pub struct ImportRequest<'b> {
    /// Which key.
    pub identity: IdentityId,
    /// At least one byte of WTF-8; its form is the sealer's to judge.
    pub sealed_key: &'b [u8],
}

/// Leaves the ticket out: a reader of the ticket could use it.
impl fmt::Debug for SignRequest<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { identity, digest, ticket: _ } = self;
        formatter
            .debug_struct("SignRequest")
            .field("identity", identity)
            .field("digest", digest)
            .finish_non_exhaustive()
    }
}

/// Without the sealed key.
impl fmt::Debug for ImportRequest<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { identity, sealed_key: _ } = self;
        formatter.debug_struct("ImportRequest").field("identity", identity).finish_non_exhaustive()
    }
}

impl GenerateRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Refusal::InvalidJson`], [`Refusal::Invalid`]
    pub fn parse(body: &mut [u8], seed: &HashSeed) -> Result<Self, Refusal> {
        let fields = Fields::read(body, [b"identity_id", b"alg"], seed)?;
        let [identity_id, alg] = &fields.values;
        let identity = identity(fields.text, identity_id);
        let algorithm = algorithm(fields.text, alg);
        match (identity, algorithm) {
            (Ok(identity), Ok(())) => Ok(Self { identity }),
            (identity, algorithm) => {
                Err(errors([("identity_id", identity.err()), ("alg", algorithm.err()), ("", None)]))
            }
        }
    }
}

impl<'b> SignRequest<'b> {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Refusal::InvalidJson`], [`Refusal::Invalid`]
    pub fn parse(body: &'b mut [u8], seed: &HashSeed) -> Result<Self, Refusal> {
        let fields = Fields::read(body, [b"identity_id", b"digest", b"ticket"], seed)?;
        let [identity_id, digest, ticket] = &fields.values;
        let identity = identity(fields.text, identity_id);
        let digest = string(digest).and_then(|range| {
            Digest::from_text(fields.text.get(range).unwrap_or_default()).ok_or(FieldError::InvalidDigest)
        });
        let ticket = string(ticket).and_then(|range| {
            match utf16_length(fields.text.get(range.clone()).unwrap_or_default()) {
                ..MIN_TICKET_UTF16 => Err(FieldError::TooSmall(MIN_TICKET_UTF16)),
                MIN_TICKET_UTF16..=MAX_TICKET_UTF16 => Ok(range),
                _ => Err(FieldError::TooBig(MAX_TICKET_UTF16)),
            }
        });
        match (identity, digest, ticket) {
            (Ok(identity), Ok(digest), Ok(range)) => {
                let ticket = fields.text.get_mut(range).unwrap_or_default();
                Ok(Self { identity, digest, ticket })
            }
            (identity, digest, ticket) => Err(errors([
                ("identity_id", identity.err()),
                ("digest", digest.err()),
                ("ticket", ticket.err()),
            ])),
        }
    }
}

impl IdentityRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Refusal::InvalidJson`], [`Refusal::Invalid`]
    pub fn parse(body: &mut [u8], seed: &HashSeed) -> Result<Self, Refusal> {
        let fields = Fields::read(body, [b"identity_id"], seed)?;
        let [identity_id] = &fields.values;
        match identity(fields.text, identity_id) {
            Ok(identity) => Ok(Self { identity }),
            Err(error) => Err(errors([("identity_id", Some(error)), ("", None), ("", None)])),
        }
    }
}

impl AttestRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Refusal::InvalidJson`], [`Refusal::Invalid`]
    pub fn parse(body: &mut [u8], seed: &HashSeed) -> Result<Self, Refusal> {
        let fields = Fields::read(body, [b"identity_id", b"nonce"], seed)?;
        let [identity_id, nonce] = &fields.values;
        let identity = identity(fields.text, identity_id);
        let nonce = match nonce {
            Value::Undefined => Ok(None),
            given => string(given).and_then(|range| {
                let text = fields.text.get(range).unwrap_or_default();
                AttestationNonce::from_text(text).map(Some).ok_or(FieldError::InvalidNonce)
            }),
        };
        match (identity, nonce) {
            (Ok(identity), Ok(nonce)) => Ok(Self { identity, nonce }),
            (identity, nonce) => {
                Err(errors([("identity_id", identity.err()), ("nonce", nonce.err()), ("", None)]))
            }
        }
    }
}

impl<'b> ImportRequest<'b> {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Refusal::InvalidJson`], [`Refusal::Invalid`]
    pub fn parse(body: &'b mut [u8], seed: &HashSeed) -> Result<Self, Refusal> {
        let fields = Fields::read(body, [b"identity_id", b"alg", b"sealed_key"], seed)?;
        let [identity_id, alg, sealed_key] = &fields.values;
        let identity = identity(fields.text, identity_id);
        let algorithm = algorithm(fields.text, alg);
        let sealed_key = string(sealed_key)
            .and_then(|range| if range.is_empty() { Err(FieldError::TooSmall(1)) } else { Ok(range) });
        match (identity, algorithm, sealed_key) {
            (Ok(identity), Ok(()), Ok(range)) => {
                Ok(Self { identity, sealed_key: fields.text.get(range).unwrap_or_default() })
            }
            (identity, algorithm, sealed_key) => Err(errors([
                ("identity_id", identity.err()),
                ("alg", algorithm.err()),
                ("sealed_key", sealed_key.err()),
            ])),
        }
    }
}

struct Fields<'b, const N: usize> {
    text: &'b mut [u8],
    values: [Value; N],
}

impl<'b, const N: usize> Fields<'b, N> {
    fn read(body: &'b mut [u8], names: [&[u8]; N], seed: &HashSeed) -> Result<Self, Refusal> {
        match json::read(body, names, seed).map_err(|_| Refusal::InvalidJson)? {
            Document::Object(values) => Ok(Self { text: body, values }),
            Document::Other(value) => {
                Err(Refusal::Invalid(ValidationErrors::NotAnObject(Kind::from(&value))))
            }
        }
    }
}

fn string(value: &Value) -> Result<Range<usize>, FieldError> {
    match value {
        Value::String(range) => Ok(range.clone()),
        other => Err(FieldError::NotAString(Kind::from(other))),
    }
}

fn identity(text: &[u8], value: &Value) -> Result<IdentityId, FieldError> {
    let range = string(value)?;
    text.get(range).and_then(IdentityId::from_text).ok_or(FieldError::InvalidUuid)
}

fn algorithm(text: &[u8], value: &Value) -> Result<(), FieldError> {
    match string(value) {
        Ok(range) if text.get(range.clone()) == Some(ALGORITHM) => Ok(()),
        _ => Err(FieldError::UnknownAlgorithm),
    }
}

fn errors(fields: [(&'static str, Option<FieldError>); MAX_FIELDS]) -> Refusal {
    Refusal::Invalid(ValidationErrors::Fields(fields.map(|(name, error)| Some((name, error?)))))
}
