//! The result of an operation: an outcome, or the reason why nothing was done. `http::response` gives each its status
//! and its text.

use enclave_core::{KeyBinding, PublicKey, Refusal, Signature};

use crate::entropy::EntropyUnavailable;
use crate::sealer::{NotOpened, NotSealed};

/// The effect of an operation.
#[derive(Debug)]
pub enum Outcome {
    /// A key was generated. This is its public half.
    Generated(PublicKey),
    /// A digest was signed.
    Signed(Signature),
    /// A key was destroyed.
    Destroyed,
    /// A key was sealed. The text needs no escaping in JSON.
    Exported(String),
    /// A sealed key was opened and stored.
    Imported,
    /// The NSM attested the enclave. This is the document.
    Attested(Vec<u8>),
    /// The NSM attested a key.
    KeyAttested {
        /// The attestation document.
        document: Vec<u8>,
        /// The key that the document vouches for.
        binding: KeyBinding,
    },
}

/// Why nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No API key, or none that is known.
    InvalidApiKey,
    /// Too many requests in flight, or the signer is stopping.
    Busy,
    /// The core refused.
    Refused(Refusal),
    /// The sealed key has no known form.
    MalformedSealedKey,
    /// The sealed key does not open.
    UnopenableSealedKey,
    /// Randomness, NSM or KMS failed.
    KeyServiceUnavailable,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<EntropyUnavailable> for Failure {
    fn from(_: EntropyUnavailable) -> Self {
        Self::KeyServiceUnavailable
    }
}

impl From<NotSealed> for Failure {
    fn from(NotSealed: NotSealed) -> Self {
        Self::KeyServiceUnavailable
    }
}

impl From<NotOpened> for Failure {
    fn from(error: NotOpened) -> Self {
        match error {
            NotOpened::UnknownForm => Self::MalformedSealedKey,
            NotOpened::Damaged => Self::UnopenableSealedKey,
            NotOpened::Unavailable => Self::KeyServiceUnavailable,
            NotOpened::Busy => Self::Busy,
        }
    }
}
