//! The P-256 key of a certificate, made in the enclave.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey};
use zeroize::Zeroizing;

use super::error::AcmeError;

/// A holder of the key can impersonate the signer to clients that trust the certificate.
pub struct CertificateKey(EcdsaKeyPair);

impl std::fmt::Debug for CertificateKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CertificateKey").finish_non_exhaustive()
    }
}

impl CertificateKey {
    /// Generates a key.
    pub(crate) fn generate() -> Result<Self, AcmeError> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .map(Self)
            .map_err(|_| AcmeError::Ourselves("the key of the certificate cannot be generated"))
    }

    /// The key in PKCS#8, to store or for TLS. `None` if it cannot be encoded.
    pub(crate) fn pkcs8(&self) -> Option<Zeroizing<Vec<u8>>> {
        self.0.to_pkcs8v1().ok().map(|document| Zeroizing::new(document.as_ref().to_vec()))
    }
}

impl PublicKeyData for CertificateKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// Lets `rcgen` sign with the key without a copy of it.
impl SigningKey for CertificateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self.0.sign(&SystemRandom::new(), message);
        signature.map(|it| it.as_ref().to_vec()).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}
