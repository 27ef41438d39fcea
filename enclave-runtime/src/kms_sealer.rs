//! Sealing under KMS, as in production: each backup under a data key of KMS.

use std::sync::Arc;

use aws_lc_rs::aead::NONCE_LEN;
use enclave_core::{IdentityId, SecretKey};
use zeroize::Zeroizing;

use crate::data_key::DataKey;
use crate::data_key_cache::DataKeyCache;
use crate::entropy;
use crate::kms::{Kms, KmsError};
use crate::restore::{RestorePlaces, Standing};
use crate::sealed_key::{SealedKey, SealedKeyText};
use crate::sealer::{NotOpened, NotSealed, Sealer};

/// A sealer whose keys are KMS's.
pub(crate) struct KmsSealer {
    kms: Arc<Kms>,
    data_keys: Arc<DataKeyCache>,
}

/// A backup that is ready to be opened.
pub(crate) enum Opening {
    /// A backup in the current form, and its data key.
    V1(SealedKey, Arc<DataKey>),
    /// The plaintext that KMS returned for a backup in the older form.
    Legacy(Zeroizing<Vec<u8>>),
}

impl std::fmt::Debug for KmsSealer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("KmsSealer").finish_non_exhaustive()
    }
}

impl KmsSealer {
    /// A sealer with these data keys, which are `kms`'s.
    pub(crate) const fn new(kms: Arc<Kms>, data_keys: Arc<DataKeyCache>) -> Self {
        Self { kms, data_keys }
    }
}

impl Sealer for KmsSealer {
    type Sealing = Arc<DataKey>;
    type Opening = Opening;

    async fn prepare_seal(&self) -> Result<Arc<DataKey>, NotSealed> {
        // `Kms` has logged the error already.
        self.data_keys.to_seal().await.map_err(|_| NotSealed)
    }

    async fn prepare_open(
        &self,
        sealed_key: &[u8],
        places: &RestorePlaces,
        standing: &Standing,
    ) -> Result<Opening, NotOpened> {
        let sealed_key = match SealedKeyText::parse(sealed_key)? {
            SealedKeyText::V1(sealed) => match self.data_keys.at_hand(sealed.wrapped()) {
                Some(key) => return Ok(Opening::V1(sealed, key)),
                None => SealedKeyText::V1(sealed),
            },
            legacy @ SealedKeyText::Legacy(_) => legacy,
        };
        let lane = standing.lane();
        let Some(_place) = places.try_take(lane) else { return Err(NotOpened::Busy) };
        let outcome = match sealed_key {
            SealedKeyText::V1(sealed) => {
                let key = self.data_keys.to_open(sealed.wrapped(), lane).await;
                key.map(|key| Opening::V1(sealed, key))
            }
            SealedKeyText::Legacy(ciphertext) => {
                self.kms.decrypt_backup(&ciphertext, &[], lane).await.map(Opening::Legacy)
            }
        };
        match &outcome {
            Ok(_) => standing.rise(),
            Err(error) if error.is_refusal() => standing.fall(),
            // Trouble at KMS tells nothing of a client.
            Err(_) => {}
        }
        outcome.map_err(not_opened)
    }

    fn seal(
        &self,
        data_key: Arc<DataKey>,
        identity: &IdentityId,
        key: &SecretKey,
    ) -> Result<String, NotSealed> {
        let mut nonce = [0; NONCE_LEN];
        entropy::fill(&mut nonce).map_err(|_| NotSealed)?;
        let sealed = SealedKey::seal(&data_key, nonce, identity, key).ok_or(NotSealed)?;
        Ok(sealed.to_string())
    }

    fn open(&self, opening: Opening, identity: &IdentityId) -> Result<SecretKey, NotOpened> {
        match opening {
            Opening::V1(sealed, data_key) => sealed.open(&data_key, identity),
            Opening::Legacy(plaintext) => {
                let bytes = plaintext.as_slice().try_into().map(Zeroizing::new).ok();
                bytes.and_then(|mut bytes| SecretKey::take(&mut bytes).ok())
            }
        }
        .ok_or(NotOpened::Damaged)
    }
}

fn not_opened(error: KmsError) -> NotOpened {
    match error {
        // KMS refuses it as damaged, or opens it under a key that is not for backups.
        error if error.is_of_ciphertext() => NotOpened::Damaged,
        // Nothing is known to be wrong with KMS or with the backup.
        KmsError::Crowded => NotOpened::Busy,
        _ => NotOpened::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::not_opened;
    use crate::kms::KmsError;
    use crate::outcome::Failure;

    #[test]
    fn a_client_is_told_whose_error_it_is() {
        let text = || "x".to_owned();
        for (error, told) in [
            (KmsError::InvalidCiphertext, Failure::UnopenableSealedKey),
            (KmsError::ForeignKey, Failure::UnopenableSealedKey),
            (KmsError::Crowded, Failure::Busy),
            (KmsError::Resting, Failure::KeyServiceUnavailable),
            (KmsError::Unreachable("gone"), Failure::KeyServiceUnavailable),
            (KmsError::Refused { kind: text(), message: text() }, Failure::KeyServiceUnavailable),
            (KmsError::Troubled { kind: text(), message: text() }, Failure::KeyServiceUnavailable),
        ] {
            assert_eq!(Failure::from(not_opened(error.clone())), told, "{error}");
        }
    }
}
