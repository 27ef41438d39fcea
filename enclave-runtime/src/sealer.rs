//! How a key leaves the enclave and comes back: sealed.

use enclave_core::{IdentityId, SecretKey};

/// Why a sealed key gave no key. The caller is told one of two texts and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotOpened {
    /// The text has no form that this signer knows.
    UnknownForm,
    /// The form is known; the key inside cannot be had.
    Damaged,
}

/// No fresh nonce could be had, so nothing was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotSealed;

/// Seals keys for backups and opens them again.
pub trait Sealer: Send + Sync + 'static {
    /// Seals `key`; no two results are alike. The text needs no escaping in JSON.
    ///
    /// # Errors
    /// [`NotSealed`]
    fn seal(&self, identity: &IdentityId, key: &SecretKey) -> Result<String, NotSealed>;

    /// Opens what [`Sealer::seal`] made, or what an older signer of the same kind did.
    ///
    /// # Errors
    /// [`NotOpened`]
    fn open(&self, identity: &IdentityId, sealed_key: &[u8]) -> Result<SecretKey, NotOpened>;
}
