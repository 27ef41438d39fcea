//! Documents that were kept: authentic or not at the time at which they were made, whatever that is.

use attestation::{Document, MAX_DOCUMENT_BYTES, Refused, Root, authenticate};

use crate::doubt::{Doubt, UNSIGNED_START};
use crate::examination::check_debug_mode;
use crate::expectation::Expectation;
use crate::key_proof::{KeyProof, Origin};
use crate::reply::{self, MAX_REPLY_BYTES};

/// Longest file with a document: a reply, whose base64 may be broken into lines.
pub const MAX_SAVED_BYTES: usize = 2 * MAX_REPLY_BYTES;

/// A COSE_Sign1 begins so, with or without its tag.
const COSE_STARTS: [u8; 2] = [0x84, 0xd2];

/// The first bytes of a document of Nitro.
const SIGNED_START: &[u8] = b"\x84\x44\xa1\x01\x38\x22\xa0";

/// A signature of zeros, with the length before it.
const NO_SIGNATURE: [u8; 98] = {
    let mut signature = [0; 98];
    signature[0] = 0x58;
    signature[1] = 96;
    signature
};

/// The document in `file`: a reply in JSON, base64, or the document itself.
///
/// # Errors
/// [`Doubt::TooLong`], [`Doubt::NotJson`], [`Doubt::NotBase64`]
pub fn document_in(file: &[u8]) -> Result<Vec<u8>, Doubt> {
    if file.len() > MAX_SAVED_BYTES {
        return Err(Doubt::TooLong);
    }
    if file.first().is_some_and(|first| COSE_STARTS.contains(first)) {
        return if file.len() > MAX_DOCUMENT_BYTES { Err(Doubt::TooLong) } else { Ok(file.to_vec()) };
    }
    let text: String = match std::str::from_utf8(file) {
        Ok(text) if text.trim_start().starts_with('{') => return reply::document(file),
        // As base64(1) breaks lines.
        Ok(text) => text.split_ascii_whitespace().collect(),
        Err(_) => return Err(Doubt::NotBase64),
    };
    if text.is_empty() { Err(Doubt::NotBase64) } else { reply::decode(&text) }
}

/// The content of `document`, whose author is unknown. Reads an emulator's document too.
///
/// # Errors
/// [`Doubt::Refused`] of those reasons that tell what is malformed, or [`Doubt::Unsigned`] for an emulator's.
pub fn read_unverified(document: &[u8]) -> Result<Document, Doubt> {
    match document.strip_prefix(UNSIGNED_START) {
        None => Document::parse(document).map_err(Doubt::from),
        Some(rest) => {
            let payload = byte_string(rest).ok_or(Doubt::Refused(Refused::MalformedEnvelope))?;
            Document::parse(&[SIGNED_START, payload, &NO_SIGNATURE].concat()).map_err(Doubt::from)
        }
    }
}

/// Whether AWS's hardware, or whose root is given, made `document`, at the time that it says itself. Of any enclave,
/// in any mode.
///
/// # Errors
/// [`Doubt::Refused`] and [`Doubt::Unsigned`]
pub fn authenticate_at_its_time(document: &[u8], root: &Root) -> Result<Document, Doubt> {
    let said = Document::parse(document).map_err(|refused| Doubt::of_refused(refused, document))?;
    Ok(authenticate(document, root, said.timestamp_unix_ms)?)
}

/// Where a key comes from, by a document that was kept: made by an expected enclave, not in debug mode, at any time.
/// Nonce and TLS key are not looked at: they concerned the caller that asked for it.
///
/// # Errors
/// [`Doubt`]
pub fn verify_saved_key(
    document: &[u8],
    proof: &KeyProof,
    expectation: &Expectation,
) -> Result<Origin, Doubt> {
    let document = authenticate_at_its_time(document, expectation.root())?;
    check_debug_mode(&document)?;
    expectation.image_of(&document)?;
    proof.origin_in(&document).ok_or(Doubt::NotOfThisKey)
}

/// The byte string that `input` begins with, with its head.
fn byte_string(input: &[u8]) -> Option<&[u8]> {
    let length = match *input {
        [0x58, length, ..] => 2 + usize::from(length),
        [0x59, high, low, ..] => 3 + usize::from(u16::from_be_bytes([high, low])),
        _ => return None,
    };
    input.get(..length)
}
