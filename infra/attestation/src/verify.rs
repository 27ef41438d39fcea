//! The order of checks.

use crate::document::Document;
use crate::envelope::Envelope;
use crate::expectation::Expectation;
use crate::path;
use crate::payload;
use crate::refused::Refused;
use crate::root::Root;

/// Verifies `document`: its form, the path of its certificates to `root`, its signature, and then what is expected of
/// what it says.
///
/// # Errors
/// [`Refused`], the first reason found.
pub fn verify(document: &[u8], root: &Root, expectation: &Expectation<'_>) -> Result<Document, Refused> {
    let document = authenticate(document, root, expectation.now_unix_ms)?;
    expectation.check(&document)?;
    Ok(document)
}

/// Verifies the form of `document`, the path of its certificates to `root` and its signature, and **not what it says**:
/// it may be of any age, enclave and mode. For those who then report on each of these.
///
/// # Errors
/// [`Refused`], the first reason found.
pub fn authenticate(document: &[u8], root: &Root, now_unix_ms: u64) -> Result<Document, Refused> {
    let envelope = Envelope::read(document)?;
    let document = payload::read(envelope.payload)?;
    let public_key = path::leaf_public_key(&document, root, now_unix_ms)?;
    envelope.verify(&public_key)?;
    Ok(document)
}
