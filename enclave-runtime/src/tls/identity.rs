//! The server's identity to a client: a certificate, its key, and the sessions begun with it.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::sign::CertifiedKey;

use super::policy::server_config;
use configuration::tls_pair::{CertificateChain, PrivateKey};

/// A certificate that is presented, with its key.
pub struct TlsIdentity {
    config: Arc<ServerConfig>,
    spki: Arc<[u8]>,
    not_after_unix_s: u64,
    #[cfg(test)]
    certificates: Vec<rustls::pki_types::CertificateDer<'static>>,
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsIdentity").finish_non_exhaustive()
    }
}

/// There is no serving with it, for a reason that is none of the operator's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnusableIdentity(pub(super) &'static str);

impl fmt::Display for UnusableIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

impl std::error::Error for UnusableIdentity {}

impl TlsIdentity {
    /// From a pair that [`check_pair`](configuration::tls_pair::check_pair) gave.
    ///
    /// # Errors
    /// [`UnusableIdentity`]
    pub fn new((chain, key): (CertificateChain, PrivateKey)) -> Result<Self, UnusableIdentity> {
        let certified = CertifiedKey::new(chain.certificates().to_vec(), key.into_signing_key());
        let config = server_config(certified).map_err(|_| UnusableIdentity("TLS has no version to speak"))?;
        Ok(Self {
            config: Arc::new(config),
            spki: chain.spki().into(),
            not_after_unix_s: chain.not_after_unix_s(),
            #[cfg(test)]
            certificates: chain.certificates().to_vec(),
        })
    }

    /// The `SubjectPublicKeyInfo` of its key, in DER.
    #[must_use]
    pub fn spki(&self) -> Arc<[u8]> {
        Arc::clone(&self.spki)
    }

    /// When the first certificate of its chain expires.
    #[must_use]
    pub const fn not_after_unix_s(&self) -> u64 {
        self.not_after_unix_s
    }

    /// The presented key and chain; in tests only, since rustls keeps them to itself.
    #[cfg(test)]
    pub(super) fn certificates(&self) -> &[rustls::pki_types::CertificateDer<'static>] {
        &self.certificates
    }

    pub(super) const fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }
}
