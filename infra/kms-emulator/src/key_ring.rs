//! Every key of the emulator.

use crate::api_error::{ApiError, ErrorKind};
use crate::key::Key;
use crate::principal::Principal;

/// Keys of any number of accounts in one region.
#[derive(Debug)]
pub(crate) struct KeyRing(pub(crate) Vec<Key>);

impl KeyRing {
    /// Finds a key by its ARN, or by its id among those of the caller's account.
    ///
    /// # Errors
    ///
    /// `NotFoundException`; aliases are not known.
    pub(crate) fn by_id(&self, key_id: &str, caller: &Principal) -> Result<&Key, ApiError> {
        let found = self.0.iter().find(|key| {
            let arn = key.arn();
            arn.as_str() == key_id || (arn.id() == key_id && arn.account() == caller.account())
        });
        found
            .filter(|key| !key.is_forgotten())
            .ok_or_else(|| ApiError::new(ErrorKind::NotFound, format!("Key '{key_id}' does not exist")))
    }

    /// Finds the key of a ciphertext.
    ///
    /// # Errors
    ///
    /// `InvalidCiphertextException` when the ciphertext is of no key at all, and what KMS says of a key that is gone.
    pub(crate) fn by_ciphertext(
        &self,
        ciphertext: &[u8],
        caller: &Principal,
        action: &str,
    ) -> Result<&Key, ApiError> {
        let key = self.0.iter().find(|key| key.is_named_in(ciphertext));
        let key = key.ok_or_else(|| ApiError::without_message(ErrorKind::InvalidCiphertext))?;
        if key.is_forgotten() {
            let message = format!(
                "User: {} is not authorized to perform: {action} on the resource associated with this ciphertext \
                 because the resource does not exist in this Region, no resource-based policies allow access, or a \
                 resource-based policy explicitly denies access",
                caller.caller_arn()
            );
            return Err(ApiError::new(ErrorKind::AccessDenied, message));
        }
        Ok(key)
    }

    /// Finds a key by its ARN, for any caller.
    pub(crate) fn by_arn(&self, arn: &str) -> Option<&Key> {
        self.0.iter().find(|key| key.arn().as_str() == arn)
    }

    /// Makes a key as if it had never been, or undoes that. Whether there is such a key.
    pub(crate) fn set_forgotten(&self, arn: &str, forgotten: bool) -> bool {
        let found = self.by_arn(arn);
        if let Some(key) = found {
            key.set_forgotten(forgotten);
        }
        found.is_some()
    }
}
