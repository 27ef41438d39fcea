//! The content of a document.

use crate::envelope::Envelope;
use crate::payload;
use crate::pcrs::Pcrs;
use crate::refused::Refused;

/// The content of an attestation document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Names the enclave: `i-…-enc…`.
    pub module_id: String,
    /// When the module made it.
    pub timestamp_unix_ms: u64,
    /// The locked registers.
    pub pcrs: Pcrs,
    /// The leaf certificate, in DER.
    pub certificate: Vec<u8>,
    /// The issuers, in DER: first the module's idea of the root, then what leads from it to the leaf.
    pub cabundle: Vec<Vec<u8>>,
    /// The enclave's key, as it gave it: a DER SPKI for KMS.
    pub public_key: Option<Vec<u8>>,
    /// Further bytes of the enclave.
    pub user_data: Option<Vec<u8>>,
    /// The challenge of the verifier that asked for the document.
    pub nonce: Option<Vec<u8>>,
}

impl Document {
    /// Reads a document and **verifies nothing**: anybody can write one. [`verify`](crate::verify) is what to call.
    ///
    /// # Errors
    /// [`Refused`], of those variants that tell what is malformed.
    pub fn parse(document: &[u8]) -> Result<Self, Refused> {
        payload::read(Envelope::read(document)?.payload)
    }
}
