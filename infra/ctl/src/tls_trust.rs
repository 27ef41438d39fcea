//! The servers that a client accepts as a signer over TLS.

use std::fmt;
use std::sync::Arc;

use configuration::Kms;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The servers that a client accepts as a signer.
#[derive(Clone)]
pub enum TlsTrust {
    /// A server with a certificate of an authority that browsers trust, for the name in the URL.
    WebPki,
    /// A server with a certificate of one of these authorities, for the name in the URL.
    Roots(Arc<RootCertStore>),
    /// A server with this public key, a DER `SubjectPublicKeyInfo`. Names and dates are not checked.
    Key(Vec<u8>),
    /// Any server that has the key of its certificate. The caller has to judge the key, by
    /// [`Connection::tls_key`](crate::connection::Connection::tls_key), before anything secret is sent.
    Anyone,
}

/// A text is no list of certificates in PEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidRoots;

impl fmt::Display for InvalidRoots {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not certificates of authorities in PEM")
    }
}

impl std::error::Error for InvalidRoots {}

impl TlsTrust {
    /// Trusts the certificates in `pem`, and no other.
    ///
    /// # Errors
    /// [`InvalidRoots`]
    pub fn roots_of_pem(pem: &[u8]) -> Result<Self, InvalidRoots> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.map_err(|_| InvalidRoots)?).map_err(|_| InvalidRoots)?;
        }
        if roots.is_empty() { Err(InvalidRoots) } else { Ok(Self::Roots(Arc::new(roots))) }
    }

    /// Trusts the authorities that the signer trusts for KMS.
    ///
    /// # Errors
    /// [`InvalidRoots`], if one of `kms.trust_anchors` is not the certificate of an authority.
    pub fn of_kms(kms: &Kms) -> Result<Self, InvalidRoots> {
        kms.roots().map(|roots| Self::Roots(Arc::new(roots))).ok_or(InvalidRoots)
    }

    pub(crate) fn client_config(&self) -> Result<ClientConfig, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let by_key = |key: Option<Vec<u8>>| Arc::new(ByKey { key, provider });
        let mut configuration = match self {
            Self::WebPki => {
                let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
                builder.with_root_certificates(roots).with_no_client_auth()
            }
            Self::Roots(roots) => builder.with_root_certificates(Arc::clone(roots)).with_no_client_auth(),
            Self::Key(key) => builder
                .dangerous()
                .with_custom_certificate_verifier(by_key(Some(key.clone())))
                .with_no_client_auth(),
            Self::Anyone => {
                builder.dangerous().with_custom_certificate_verifier(by_key(None)).with_no_client_auth()
            }
        };
        configuration.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(configuration)
    }
}

/// The DER `SubjectPublicKeyInfo` of a certificate.
pub(crate) fn public_key_of(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (rest, certificate) = X509Certificate::from_der(certificate).ok()?;
    rest.is_empty().then(|| certificate.public_key().raw.to_vec())
}

/// Checks that the server holds the key of its certificate, and compares that key with the expected one, if there is
/// one.
#[derive(Debug)]
struct ByKey {
    key: Option<Vec<u8>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ByKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let presented = public_key_of(end_entity).ok_or(CertificateError::BadEncoding)?;
        match &self.key {
            Some(key) if *key != presented => Err(CertificateError::ApplicationVerificationFailure.into()),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
