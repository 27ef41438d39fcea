//! The pinned root.

use std::ops::RangeInclusive;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, TrustAnchor};

use crate::certificate::Certificate;

/// AWS's root of 2019 to 2049. A test compares its fingerprint.
const AWS_G1: &str = include_str!("../roots/aws-nitro-root-g1.pem");

/// A trust anchor that the verifier chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    pub(crate) der: Vec<u8>,
    pub(crate) anchor: TrustAnchor<'static>,
    pub(crate) validity_unix_s: RangeInclusive<u64>,
}

/// Not one X.509 certificate of a CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidRoot;

impl std::error::Error for InvalidRoot {}

impl std::fmt::Display for InvalidRoot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("root is not one x.509 certificate that may sign certificates")
    }
}

impl Root {
    /// AWS's root for its commercial regions. China and GovCloud have others.
    #[must_use]
    #[expect(
        clippy::missing_panics_doc,
        reason = "it cannot panic: the bytes are fixed, and tests read them"
    )]
    pub fn aws_g1() -> Self {
        Self::from_pem(AWS_G1).expect("a fixed certificate, which tests read")
    }

    /// Takes a certificate in DER. Its own signature is not checked: only the caller's choice vouches for a root.
    ///
    /// # Errors
    /// [`InvalidRoot`]
    pub fn from_der(der: &[u8]) -> Result<Self, InvalidRoot> {
        let anchor_der = CertificateDer::from(der);
        let anchor = webpki::anchor_from_trusted_cert(&anchor_der).map_err(|_| InvalidRoot)?.to_owned();
        let certificate = Certificate::from_der(der).ok_or(InvalidRoot)?;
        if !certificate.may_sign_certificates() {
            return Err(InvalidRoot);
        }
        Ok(Self { der: der.to_vec(), anchor, validity_unix_s: certificate.validity_unix_s })
    }

    /// Takes a certificate in PEM; texts around it are skipped, a second certificate is refused.
    ///
    /// # Errors
    /// [`InvalidRoot`]
    pub fn from_pem(pem: &str) -> Result<Self, InvalidRoot> {
        let mut certificates = CertificateDer::pem_slice_iter(pem.as_bytes());
        match (certificates.next(), certificates.next()) {
            (Some(Ok(certificate)), None) => Self::from_der(&certificate),
            _ => Err(InvalidRoot),
        }
    }
}
