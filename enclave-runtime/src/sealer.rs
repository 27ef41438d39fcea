//! Sealing: how a key leaves the enclave and comes back.

use std::future::Future;

use enclave_core::{IdentityId, SecretKey};

use crate::restore::{RestorePlaces, Standing};

/// Why a sealed key gave no key. The caller gets one of four texts and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotOpened {
    /// The text has no form that this signer knows.
    UnknownForm,
    /// The form is known; the key inside cannot be had.
    Damaged,
    /// The key that opens it is not available now.
    Unavailable,
    /// Too many others wait to be opened; nothing was asked about this one.
    Busy,
}

/// The sealing key is not available now, so nothing was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotSealed;

/// Seals keys for backups and opens them again.
///
/// Each takes two steps. The first may wait for a key service and sees no signing key. The second sees one and waits
/// for nothing, so it can run on a stack that is overwritten afterwards.
pub trait Sealer: Send + Sync + 'static {
    /// The key material that [`seal`](Self::seal) needs.
    type Sealing: Send;

    /// A sealed key, parsed, with what opens it.
    type Opening: Send;

    /// Gets what sealing needs.
    ///
    /// # Errors
    /// [`NotSealed`]
    fn prepare_seal(&self) -> impl Future<Output = Result<Self::Sealing, NotSealed>> + Send;

    /// Parses `sealed_key` and gets what opens it. Waits for a key service in one of `places` only, and in the lane of
    /// the client's `standing`, which learns from the outcome.
    ///
    /// # Errors
    /// [`NotOpened`]
    fn prepare_open(
        &self,
        sealed_key: &[u8],
        places: &RestorePlaces,
        standing: &Standing,
    ) -> impl Future<Output = Result<Self::Opening, NotOpened>> + Send;

    /// Seals `key`; no two results are alike. The text needs no escaping in JSON.
    ///
    /// # Errors
    /// [`NotSealed`]
    fn seal(
        &self,
        sealing: Self::Sealing,
        identity: &IdentityId,
        key: &SecretKey,
    ) -> Result<String, NotSealed>;

    /// Opens a key that [`Sealer::seal`] sealed, here or in an older signer of the same kind.
    ///
    /// # Errors
    /// [`NotOpened`]
    fn open(&self, opening: Self::Opening, identity: &IdentityId) -> Result<SecretKey, NotOpened>;
}
