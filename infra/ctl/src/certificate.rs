//! The facts about a certificate in a report.

use x509_parser::prelude::{FromDer as _, X509Certificate, X509Name};

use crate::printable::{MAX_WORDS_CHARS, printable};

/// The contents of a certificate that a report shows. The signature is not checked here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The subject.
    pub subject: String,
    /// The issuer.
    pub issuer: String,
    /// From when.
    pub not_before_unix_s: u64,
    /// Until when.
    pub not_after_unix_s: u64,
}

impl Certificate {
    /// Reads it; none if it is no certificate.
    #[must_use]
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let (rest, certificate) = X509Certificate::from_der(der).ok()?;
        let unix_s = |time: &x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
        rest.is_empty().then(|| Self {
            subject: name(certificate.subject()),
            issuer: name(certificate.issuer()),
            not_before_unix_s: unix_s(&certificate.validity().not_before),
            not_after_unix_s: unix_s(&certificate.validity().not_after),
        })
    }
}

fn name(name: &X509Name<'_>) -> String {
    printable(&name.to_string(), MAX_WORDS_CHARS)
}

#[cfg(test)]
mod tests {
    use super::Certificate;

    #[test]
    fn the_root_of_aws_is_read() {
        let document = include_bytes!("../../attestation/tests/data/attestation-doc-2022.cose");
        let document = verification::Document::parse(document).unwrap();
        let root = Certificate::from_der(&document.cabundle[0]).unwrap();
        assert_eq!(root.subject, "C=US, O=Amazon, OU=AWS, CN=aws.nitro-enclaves");
        assert_eq!((root.not_before_unix_s, root.not_after_unix_s), (1_572_269_285, 2_519_044_085));
        assert_eq!(Certificate::from_der(b"no certificate"), None);
    }
}
