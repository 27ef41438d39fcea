//! The key that KMS encrypts its replies to.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use enclave_core::with_burnt_stack;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::envelope::{CONTENT_KEY_BYTES, Envelope, EnvelopeNotOpened, IDENTIFIER_BYTES, WRAPPED_KEY_BYTES};

/// An RSA key that is made here and never leaves. KMS learns the public half from an attestation document.
pub struct RecipientKey {
    private_key: OaepPrivateDecryptingKey,
    public_key_der: PublicKeyX509Der<'static>,
    identifier: [u8; IDENTIFIER_BYTES],
}

/// No key could be made, or what was given is none that KMS encrypts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRecipientKey;

impl std::fmt::Display for NoRecipientKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("there is no rsa-2048 key")
    }
}

impl std::error::Error for NoRecipientKey {}

impl std::fmt::Debug for RecipientKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RecipientKey").finish_non_exhaustive()
    }
}

impl RecipientKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// [`NoRecipientKey`]
    pub fn generate() -> Result<Self, NoRecipientKey> {
        with_burnt_stack(|| {
            PrivateDecryptingKey::generate(KeySize::Rsa2048).ok().and_then(Self::new).ok_or(NoRecipientKey)
        })
    }

    /// Takes a key that others made envelopes for.
    ///
    /// # Errors
    /// [`NoRecipientKey`]
    #[cfg(any(test, feature = "dev"))]
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, NoRecipientKey> {
        PrivateDecryptingKey::from_pkcs8(der).ok().and_then(Self::new).ok_or(NoRecipientKey)
    }

    /// The public key as DER of a SubjectPublicKeyInfo: what the attestation document carries.
    #[must_use]
    pub fn public_key_der(&self) -> &[u8] {
        self.public_key_der.as_ref()
    }

    /// Opens a `CiphertextForRecipient`.
    ///
    /// # Errors
    /// [`EnvelopeNotOpened`], whatever the reason
    pub fn open(&self, envelope: &[u8]) -> Result<Zeroizing<Vec<u8>>, EnvelopeNotOpened> {
        let envelope = Envelope::parse(envelope)?;
        if *envelope.recipient != self.identifier {
            return Err(EnvelopeNotOpened);
        }
        with_burnt_stack(|| self.decrypt(envelope).ok_or(EnvelopeNotOpened))
    }
}

impl RecipientKey {
    fn new(private_key: PrivateDecryptingKey) -> Option<Self> {
        (private_key.key_size_bytes() == WRAPPED_KEY_BYTES).then_some(())?;
        let public_key_der = private_key.public_key().as_der().ok()?;
        let identifier = Sha256::digest(public_key_der.as_ref()).into();
        let private_key = OaepPrivateDecryptingKey::new(private_key).ok()?;
        Some(Self { private_key, public_key_der, identifier })
    }

    fn decrypt(&self, envelope: Envelope<'_>) -> Option<Zeroizing<Vec<u8>>> {
        let mut buffer = Zeroizing::new([0; WRAPPED_KEY_BYTES]);
        let unwrapped = self
            .private_key
            .decrypt(&OAEP_SHA256_MGF1SHA256, envelope.wrapped_key, buffer.as_mut_slice(), None)
            .ok()?;
        let content_key: &[u8; CONTENT_KEY_BYTES] = (&*unwrapped).try_into().ok()?;
        envelope.decrypt(content_key)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
    use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};

    use super::{NoRecipientKey, RecipientKey};

    #[test]
    fn every_key_is_another() {
        let [first, second] = [(); 2].map(|()| RecipientKey::generate().unwrap());
        assert_ne!(first.public_key_der(), second.public_key_der());
        assert_ne!(first.identifier, second.identifier);
    }

    #[test]
    fn a_key_is_rsa_2048() {
        let pkcs8 =
            |size| -> Pkcs8V1Der<'static> { PrivateDecryptingKey::generate(size).unwrap().as_der().unwrap() };
        assert!(RecipientKey::from_pkcs8(pkcs8(KeySize::Rsa2048).as_ref()).is_ok());
        assert_eq!(RecipientKey::from_pkcs8(pkcs8(KeySize::Rsa3072).as_ref()).err(), Some(NoRecipientKey));
        assert_eq!(RecipientKey::from_pkcs8(b"").err(), Some(NoRecipientKey));
    }
}
