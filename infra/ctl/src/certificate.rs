//! What a report tells of a certificate.

use std::fmt::Write as _;

use x509_parser::prelude::{FromDer as _, X509Certificate};

/// What is told of a certificate, whoever signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is.
    pub subject: String,
    /// By whom.
    pub issuer: String,
    /// From when.
    pub not_before_unix_s: u64,
    /// Until when.
    pub not_after_unix_s: u64,
}

/// Longest name that a report shows: those of AWS's certificates have about 120 characters.
const MAX_NAME_CHARS: usize = 200;

impl Certificate {
    /// Reads it; none if it is no certificate.
    #[must_use]
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let (rest, certificate) = X509Certificate::from_der(der).ok()?;
        let unix_s = |time: &x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
        rest.is_empty().then(|| Self {
            subject: printable(&certificate.subject().to_string()),
            issuer: printable(&certificate.issuer().to_string()),
            not_before_unix_s: unix_s(&certificate.validity().not_before),
            not_after_unix_s: unix_s(&certificate.validity().not_after),
        })
    }
}

/// A text of somebody else's, for a terminal: one line of printable ASCII, of bounded length. The rest is escaped.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::new();
    for (place, character) in text.chars().enumerate() {
        if place == MAX_NAME_CHARS {
            shown.push_str("...");
            break;
        }
        match character {
            ' '..='~' => shown.push(character),
            // A String takes all of it.
            other => drop(write!(shown, "{}", other.escape_unicode())),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::{Certificate, printable};

    #[test]
    fn the_root_of_aws_is_read() {
        let document = include_bytes!("../../attestation/tests/data/attestation-doc-2022.cose");
        let document = verification::Document::parse(document).unwrap();
        let root = Certificate::from_der(&document.cabundle[0]).unwrap();
        assert_eq!(root.subject, "C=US, O=Amazon, OU=AWS, CN=aws.nitro-enclaves");
        assert_eq!((root.not_before_unix_s, root.not_after_unix_s), (1_572_269_285, 2_519_044_085));
        assert_eq!(Certificate::from_der(b"no certificate"), None);
    }

    #[test]
    fn a_terminal_gets_no_orders() {
        assert_eq!(printable("a\x1b[2J\nok ✓"), "a\\u{1b}[2J\\u{a}ok \\u{2713}");
        assert_eq!(printable(&"x".repeat(1000)).len(), 203);
    }
}
