//! The five bodies, and the query of the attestation endpoint, as the contract describes them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::identity::{hex, identity_bytes};
use crate::json::{Member, Text, utf16_length};

/// One field of a request's schema.
#[derive(Clone, Copy, Debug)]
pub enum Field {
    /// `identity_id`
    Identity,
    /// `alg`
    Algorithm,
    /// `digest`
    Digest,
    /// `ticket`
    Ticket,
    /// `sealed_key`
    SealedKey,
    /// `nonce`, which alone may be absent: then it gives no bytes.
    Nonce,
}

/// The value of each field of the schema, or the reply to the body.
///
/// # Errors
/// The reply's JSON.
pub fn read(body: &[u8], schema: &[Field]) -> Result<Vec<Vec<u8>>, String> {
    let text = Text::read(body).ok_or(r#"{"error":"Invalid JSON body"}"#)?;
    if let Text::Other(kind) = text {
        return Err(invalid(&format!(r#""Invalid input: expected object, received {kind}""#), ""));
    }
    let fields: Vec<_> =
        schema.iter().map(|field| (field.name(), field.value(text.member(field.name())))).collect();
    let errors: Vec<_> = fields
        .iter()
        .filter_map(|(name, value)| Some(format!(r#""{name}":["{}"]"#, value.as_ref().err()?)))
        .collect();
    if errors.is_empty() {
        Ok(fields.into_iter().filter_map(|(_, value)| value.ok()).collect())
    } else {
        Err(invalid("", &errors.join(",")))
    }
}

fn invalid(form: &str, fields: &str) -> String {
    format!(
        r#"{{"error":"Validation error","details":{{"formErrors":[{form}],"fieldErrors":{{{fields}}}}}}}"#
    )
}

/// A query has several nonces, or one that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadNonce;

/// The nonce that a query asks for, if any.
///
/// # Errors
/// [`BadNonce`]
pub fn query_nonce(query: &str) -> Result<Option<Vec<u8>>, BadNonce> {
    let given: Vec<&str> = query
        .split('&')
        .filter_map(|parameter| parameter.strip_prefix("nonce"))
        .filter(|rest| rest.is_empty() || rest.starts_with('='))
        .collect();
    match given[..] {
        [] => Ok(None),
        [text] => nonce(text.get(1..).unwrap_or("").as_bytes()).map(Some).ok_or(BadNonce),
        _ => Err(BadNonce),
    }
}

/// The bytes of hex, or else of base64url.
fn nonce(text: &[u8]) -> Option<Vec<u8>> {
    let bytes = hex(text).or_else(|| URL_SAFE_NO_PAD.decode(text).ok())?;
    (1..=512).contains(&bytes.len()).then_some(bytes)
}

impl Field {
    const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity_id",
            Self::Algorithm => "alg",
            Self::Digest => "digest",
            Self::Ticket => "ticket",
            Self::SealedKey => "sealed_key",
            Self::Nonce => "nonce",
        }
    }

    fn value(self, member: Member) -> Result<Vec<u8>, String> {
        let text = match (self, member) {
            (_, Member::String(text)) => text,
            (Self::Algorithm, _) => Vec::new(),
            (Self::Nonce, Member::Undefined) => return Ok(Vec::new()),
            (_, other) => return Err(format!("Invalid input: expected string, received {}", other.kind())),
        };
        match self {
            Self::Identity => identity_bytes(&text).map(Vec::from).ok_or_else(|| "Invalid UUID".to_owned()),
            Self::Algorithm if text == b"secp256k1" => Ok(text),
            Self::Algorithm => Err(r#"Invalid input: expected \"secp256k1\""#.to_owned()),
            Self::Digest => {
                let digits = if text.len() == 66 { text.strip_prefix(b"0x") } else { Some(&*text) };
                digits.and_then(hex).filter(|bytes| bytes.len() == 32).ok_or_else(|| {
                    "Invalid string: must match pattern /^([a-fA-F0-9]{64}|0x[a-fA-F0-9]{64})$/".to_owned()
                })
            }
            Self::Ticket => match utf16_length(&text) {
                ..32 => Err("Too small: expected string to have >=32 characters".to_owned()),
                32..=4096 => Ok(text),
                _ => Err("Too big: expected string to have <=4096 characters".to_owned()),
            },
            Self::SealedKey if text.is_empty() => {
                Err("Too small: expected string to have >=1 characters".to_owned())
            }
            Self::SealedKey => Ok(text),
            Self::Nonce => nonce(&text)
                .ok_or_else(|| "Invalid string: must be hex or base64url, 1 to 512 bytes".to_owned()),
        }
    }
}
