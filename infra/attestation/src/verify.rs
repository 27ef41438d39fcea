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
    let envelope = Envelope::read(document)?;
    let document = payload::read(envelope.payload)?;
    let public_key = path::leaf_public_key(&document, root, expectation.now_unix_ms)?;
    envelope.verify(&public_key)?;
    expectation.check(&document)?;
    Ok(document)
}
