//! How a key leaves the enclave and comes back: sealed.

use std::future::Future;

use enclave_core::{IdentityId, SecretKey};

use crate::restore::{RestorePlaces, Standing};

/// Why a sealed key gave no key. The caller is told one of four texts and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotOpened {
    /// The text has no form that this signer knows.
    UnknownForm,
    /// The form is known; the key inside cannot be had.
    Damaged,
    /// What would open it cannot be had now.
    Unavailable,
    /// Too many others wait to be opened; nothing was asked about this one.
    Busy,
}

/// What sealing takes cannot be had now, so nothing was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotSealed;

/// Seals keys for backups and opens them again.
///
/// Each takes two steps. The first may wait for a key service and sees no signing key; the second sees one and waits
/// for nothing, so that it can run on a stack that is overwritten after.
pub trait Sealer: Send + Sync + 'static {
    /// What the second step takes from the first.
    type Wrapping: Send;

    /// Gets what sealing takes.
    ///
    /// # Errors
    /// [`NotSealed`]
    fn wrapping(&self) -> impl Future<Output = Result<Self::Wrapping, NotSealed>> + Send;

    /// Gets what opening `sealed_key` takes. Waits for a key service in one of `places` only, and in the lane of the
    /// client's `standing`, which learns from the outcome.
    ///
    /// # Errors
    /// [`NotOpened`]
    fn wrapping_of(
        &self,
        sealed_key: &[u8],
        places: &RestorePlaces,
        standing: &Standing,
    ) -> impl Future<Output = Result<Self::Wrapping, NotOpened>> + Send;

    /// Seals `key`; no two results are alike. The text needs no escaping in JSON.
    ///
    /// # Errors
    /// [`NotSealed`]
    fn seal(
        &self,
        wrapping: Self::Wrapping,
        identity: &IdentityId,
        key: &SecretKey,
    ) -> Result<String, NotSealed>;

    /// Opens what [`Sealer::seal`] made, or what an older signer of the same kind did. `wrapping` is that of this
    /// `sealed_key`.
    ///
    /// # Errors
    /// [`NotOpened`]
    fn open(
        &self,
        wrapping: Self::Wrapping,
        identity: &IdentityId,
        sealed_key: &[u8],
    ) -> Result<SecretKey, NotOpened>;
}
