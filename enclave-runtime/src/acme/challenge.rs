//! The answer to a TLS-ALPN-01 challenge (RFC 8737): a certificate with the digest that the server expects. It is
//! presented to clients that offer the protocol `acme-tls/1` and the name.

use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate_key::CertificateKey;
use super::error::AcmeError;
use crate::tls::validation_config;

/// The ALPN protocol of RFC 8737 §6.2.
pub(crate) const PROTOCOL: &[u8] = b"acme-tls/1";

const NOT_MADE: AcmeError = AcmeError::Ourselves("the certificate of the challenge cannot be made");

/// The TLS configuration for validators of `name`. `digest` is the SHA-256 of the key authorization.
pub(crate) fn answer(name: &str, digest: &[u8; 32]) -> Result<Arc<ServerConfig>, AcmeError> {
    let key = CertificateKey::generate()?;
    let mut parameters = CertificateParams::new([name.to_owned()]).map_err(|_| NOT_MADE)?;
    parameters.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = parameters.self_signed(&key).map_err(|_| NOT_MADE)?;
    let key = key.pkcs8().ok_or(NOT_MADE)?;
    let key = any_ecdsa_type(&PrivateKeyDer::Pkcs8(key.as_slice().into())).map_err(|_| NOT_MADE)?;
    let certified = CertifiedKey::new(vec![CertificateDer::from(certificate)], key);
    let resolver = Arc::new(ForName { name: name.to_owned(), certified: Arc::new(certified) });
    let config = validation_config(resolver, PROTOCOL).map_err(|_| NOT_MADE)?;
    Ok(Arc::new(config))
}

/// One certificate for one name. rustls's own resolver refuses certificates with critical extensions, and this one must
/// have such an extension.
#[derive(Debug)]
struct ForName {
    name: String,
    certified: Arc<CertifiedKey>,
}

impl ResolvesServerCert for ForName {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_asked_for =
            client_hello.server_name().is_some_and(|name| name.eq_ignore_ascii_case(&self.name));
        is_asked_for.then(|| Arc::clone(&self.certified))
    }
}

/// Whether a client offers the validation protocol and no other.
pub(crate) fn is_asked_for(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut protocols| protocols.next() == Some(PROTOCOL) && protocols.next().is_none())
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use rustls::ServerConfig;

    use super::{PROTOCOL, answer};

    pub(crate) fn answer_of_a_test(name: &str) -> Arc<ServerConfig> {
        answer(name, &[7; 32]).unwrap()
    }

    #[test]
    fn validators_get_no_session_tickets() {
        let config = answer("signer.example.com", &[7; 32]).unwrap();
        assert_eq!(config.alpn_protocols, [PROTOCOL.to_vec()]);
        assert!(!config.session_storage.can_cache() && !config.ticketer.enabled());
        assert_eq!(config.send_tls13_tickets, 0);
        assert_eq!(config.crypto_provider().cipher_suites.len(), 6, "the suites of tls/policy.rs");
    }
}
