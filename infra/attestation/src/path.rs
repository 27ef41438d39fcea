//! The path of certificates from a leaf to the pinned root.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use crate::certificate::Certificate;
use crate::document::Document;
use crate::refused::Refused;
use crate::root::Root;

/// How early a certificate may be used: leaves begin seconds before their first document, and clocks differ.
pub const NOT_BEFORE_TOLERANCE: Duration = Duration::from_mins(1);

/// A certificate that expired longer ago than this tells nothing of the caller's clock.
const WRONG_CLOCK_MAX: Duration = Duration::from_hours(7 * 24);

/// A `SubjectPublicKeyInfo` of a point of P-384, up to the point, which is not compressed.
const P384_SPKI_PREFIX: [u8; 23] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81,
    0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];

/// The public key of the document's leaf, a point of P-384, once its path to `root` is verified.
pub(crate) fn leaf_public_key(
    document: &Document,
    root: &Root,
    now_unix_ms: u64,
) -> Result<Vec<u8>, Refused> {
    let now = Duration::from_millis(now_unix_ms);
    if !root.validity_unix_s.contains(&now.as_secs()) {
        return Err(Refused::RootNotValid);
    }
    let leaf = CertificateDer::from(document.certificate.as_slice());
    let leaf = EndEntityCert::try_from(&leaf).map_err(|error| refusal(&error, document, root))?;
    // The first place is the root's, and the root is ours.
    let issuers: Vec<_> =
        document.cabundle.iter().skip(1).map(|der| CertificateDer::from(der.as_slice())).collect();
    let verify = |at| verify_path(&leaf, &issuers, root, at);
    verify(now)
        .or_else(|error| match error {
            // Later by the tolerance, an expired certificate is no less expired.
            PathError::Webpki(webpki::Error::CertNotValidYet { .. }) => {
                verify(now.saturating_add(NOT_BEFORE_TOLERANCE))
            }
            other => Err(other),
        })
        .map_err(|error| match error {
            PathError::Webpki(error) => refusal(&error, document, root),
            PathError::Ours(refused) => refused,
        })?;
    let public_key = leaf.subject_public_key_info();
    public_key.strip_prefix(&P384_SPKI_PREFIX).map(<[u8]>::to_vec).ok_or(Refused::LeafNotP384)
}

enum PathError {
    Webpki(webpki::Error),
    Ours(Refused),
}

fn verify_path(
    leaf: &EndEntityCert<'_>,
    issuers: &[CertificateDer<'_>],
    root: &Root,
    at: Duration,
) -> Result<(), PathError> {
    let path = leaf
        .verify_for_usage(
            &[webpki::aws_lc_rs::ECDSA_P384_SHA384],
            std::slice::from_ref(&root.anchor),
            issuers,
            UnixTime::since_unix_epoch(at),
            // Only of consequence for a leaf that restricts its use: AWS's do not.
            KeyUsage::server_auth(),
            None,
            None,
        )
        .map_err(PathError::Webpki)?;
    // webpki leaves key usage to its callers.
    let read = |der: &[u8]| Certificate::from_der(der).ok_or(PathError::Ours(Refused::MalformedCertificate));
    if !read(&leaf.der())?.may_sign_documents() {
        return Err(PathError::Ours(Refused::LeafKeyUsage));
    }
    for issuer in path.intermediate_certificates() {
        if !read(&issuer.der())?.may_sign_certificates() {
            return Err(PathError::Ours(Refused::IssuerNotCa));
        }
    }
    Ok(())
}

fn refusal(error: &webpki::Error, document: &Document, root: &Root) -> Refused {
    use webpki::Error;
    // The root in the document decides between two refusals, and nothing else.
    let brings_other_root = document.cabundle.first() != Some(&root.der);
    match error {
        Error::UnknownIssuer | Error::InvalidSignatureForPublicKey if brings_other_root => Refused::OtherRoot,
        Error::UnknownIssuer
        | Error::MaximumPathDepthExceeded
        | Error::MaximumPathBuildCallsExceeded
        | Error::MaximumSignatureChecksExceeded => Refused::PathIncomplete,
        Error::InvalidSignatureForPublicKey => Refused::CertificateForged,
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Refused::CertificateAlgorithm,
        Error::CertExpired { time, not_after } => {
            let since = Duration::from_secs(time.as_secs().saturating_sub(not_after.as_secs()));
            if since < WRONG_CLOCK_MAX {
                Refused::CertificateJustExpired
            } else {
                Refused::CertificateExpired
            }
        }
        Error::CertNotValidYet { .. } => Refused::CertificateNotYetValid,
        Error::CaUsedAsEndEntity => Refused::CaAsLeaf,
        Error::EndEntityUsedAsCa => Refused::IssuerNotCa,
        Error::PathLenConstraintViolated => Refused::PathTooLong,
        Error::RequiredEkuNotFoundContext(_) => Refused::LeafKeyUsage,
        _ => Refused::MalformedCertificate,
    }
}
