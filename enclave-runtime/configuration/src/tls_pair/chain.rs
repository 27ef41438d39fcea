//! A chain of certificates, checked for the defects that clients would refuse.

use std::fmt;

use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::Certificate;
use x509_cert::der::oid::db::rfc5280::{ANY_EXTENDED_KEY_USAGE, ID_KP_SERVER_AUTH};
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage as KeyUses, SubjectAltName};

use super::pem::{Section, sections};
use super::public_key::{self, KINDS};

/// Eight RSA certificates take 16 KiB. The boot file has four times that, and a client reads the whole chain in each
/// handshake.
pub const MAX_CHAIN_BYTES: usize = 32 * 1024;

/// Public chains have two or three.
pub const MAX_CHAIN_CERTIFICATES: usize = 8;

const CERTIFICATE: &str = "CERTIFICATE";

/// Certificates to present: the server's, then each issuer's in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateChain {
    certificates: Vec<CertificateDer<'static>>,
    spki: Vec<u8>,
    server_not_after_unix_s: u64,
    not_after_unix_s: u64,
}

/// Why a chain is refused, in one line. Certificates are counted from 1, the server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidChain {
    /// The chain is longer than [`MAX_CHAIN_BYTES`].
    TooLong,
    /// The chain is not text with sections of PEM.
    NotPem,
    /// The chain contains a private key, which every reader of the file knows.
    PrivateKey,
    /// The chain contains a section that is neither a certificate nor a private key.
    NotOnlyCertificates,
    /// The chain has more than [`MAX_CHAIN_CERTIFICATES`].
    TooMany,
    /// This certificate is not X.509.
    NotACertificate(usize),
    /// This certificate has expired.
    Expired(usize),
    /// This certificate is not yet valid.
    NotYetValid(usize),
    /// The first certificate is an authority's.
    AuthorityAsServer,
    /// The first certificate names no server.
    NoSubjectAltName,
    /// This certificate is for other purposes.
    NotForServers(usize),
    /// The first certificate must not sign a handshake.
    MayNotSign,
    /// The first certificate has a key of an unsupported kind.
    KeyNotServed,
    /// This certificate follows another, and is not an authority's.
    NotAnAuthority(usize),
    /// The next certificate did not issue this one.
    NotIssuedByNext(usize),
    /// This certificate has a signature algorithm that clients refuse.
    SignatureNotTaken(usize),
}

impl fmt::Display for InvalidChain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(formatter, "longer than {} KiB", MAX_CHAIN_BYTES / 1024),
            Self::NotPem => formatter.write_str("not certificates in PEM"),
            Self::PrivateKey => formatter.write_str(
                "has a private key in it, which every reader of the file now knows: make a new key",
            ),
            Self::NotOnlyCertificates => {
                formatter.write_str("has a section that is not a certificate: remove it")
            }
            Self::TooMany => write!(formatter, "has more than {MAX_CHAIN_CERTIFICATES} certificates"),
            Self::NotACertificate(number) => write!(formatter, "certificate {number} is not one of X.509"),
            Self::Expired(number) => write!(formatter, "certificate {number} has expired"),
            Self::NotYetValid(number) => write!(formatter, "certificate {number} is not valid yet"),
            Self::AuthorityAsServer => {
                formatter.write_str("certificate 1 is that of an authority: the server's comes first")
            }
            Self::NoSubjectAltName => formatter
                .write_str("certificate 1 names no server: it has no subjectAltName of a name or address"),
            Self::NotForServers(number) => {
                write!(
                    formatter,
                    "certificate {number} is not for servers: its extended key usage leaves it out"
                )
            }
            Self::MayNotSign => formatter.write_str(
                "certificate 1 may not sign handshakes: its key usage leaves digitalSignature out",
            ),
            Self::KeyNotServed => {
                write!(formatter, "certificate 1 has a key of an unsupported kind: {KINDS}")
            }
            Self::NotAnAuthority(number) => {
                write!(
                    formatter,
                    "certificate {number} is not that of an authority: only the first is a server's"
                )
            }
            Self::NotIssuedByNext(number) => {
                write!(formatter, "certificate {number} is not issued by certificate {}", number + 1)
            }
            Self::SignatureNotTaken(number) => {
                write!(formatter, "certificate {number} is signed with an algorithm that clients do not take")
            }
        }
    }
}

impl std::error::Error for InvalidChain {}

impl CertificateChain {
    /// Parses certificates in PEM, to present from `now` on.
    ///
    /// # Errors
    /// [`InvalidChain`]
    pub fn from_pem(pem: &[u8], now: UnixTime) -> Result<Self, InvalidChain> {
        if pem.len() > MAX_CHAIN_BYTES {
            return Err(InvalidChain::TooLong);
        }
        let text = str::from_utf8(pem).map_err(|_| InvalidChain::NotPem)?;
        let sections = sections(text).map_err(|_| InvalidChain::NotPem)?;
        if sections.is_empty() {
            return Err(InvalidChain::NotPem);
        }
        if sections.iter().any(|section| section.label.ends_with("PRIVATE KEY")) {
            return Err(InvalidChain::PrivateKey);
        }
        if sections.iter().any(|section| section.label != CERTIFICATE) {
            return Err(InvalidChain::NotOnlyCertificates);
        }
        if sections.len() > MAX_CHAIN_CERTIFICATES {
            return Err(InvalidChain::TooMany);
        }
        let der = |section: &Section<'_>| {
            Ok(CertificateDer::from(section.decode().map_err(|_| InvalidChain::NotPem)?.to_vec()))
        };
        let certificates = sections.iter().map(der).collect::<Result<Vec<_>, _>>()?;
        Self::check(certificates, now)
    }

    /// As [`Self::from_pem`], for certificates in DER.
    ///
    /// # Errors
    /// [`InvalidChain`]
    fn check(certificates: Vec<CertificateDer<'static>>, now: UnixTime) -> Result<Self, InvalidChain> {
        let mut not_after_unix_s = u64::MAX;
        let mut server = None;
        for (index, der) in certificates.iter().enumerate() {
            let number = index + 1;
            let not_x509 = InvalidChain::NotACertificate(number);
            let certificate = Certificate::from_der(der).map_err(|_| not_x509)?;
            let validity = certificate.tbs_certificate().validity();
            let not_after = validity.not_after.to_unix_duration().as_secs();
            if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
                return Err(InvalidChain::NotYetValid(number));
            }
            if now.as_secs() > not_after {
                return Err(InvalidChain::Expired(number));
            }
            not_after_unix_s = not_after_unix_s.min(not_after);
            let is_authority = is_authority(&certificate).ok_or(not_x509)?;
            if index == 0 {
                if is_authority {
                    return Err(InvalidChain::AuthorityAsServer);
                }
                server = Some((check_server(&certificate)?, not_after));
            } else if !is_authority {
                return Err(InvalidChain::NotAnAuthority(number));
            }
        }
        check_order(&certificates, now)?;
        let (spki, server_not_after_unix_s) = server.ok_or(InvalidChain::NotPem)?;
        Ok(Self { certificates, spki, server_not_after_unix_s, not_after_unix_s })
    }

    /// The chain of a certificate that this program has just made.
    pub fn of_own(certificate: CertificateDer<'static>, spki: Vec<u8>, not_after_unix_s: u64) -> Self {
        let server_not_after_unix_s = not_after_unix_s;
        Self { certificates: vec![certificate], spki, server_not_after_unix_s, not_after_unix_s }
    }

    /// The server's certificate, then those of the issuers.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// The `SubjectPublicKeyInfo` of the server's certificate, in DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The expiry of the server's certificate.
    pub const fn server_not_after_unix_s(&self) -> u64 {
        self.server_not_after_unix_s
    }

    /// The earliest expiry in the chain.
    #[must_use]
    pub const fn not_after_unix_s(&self) -> u64 {
        self.not_after_unix_s
    }
}

/// Whether the certificate is an authority's. `None` if its extension cannot be parsed.
fn is_authority(certificate: &Certificate) -> Option<bool> {
    let constraints = certificate.tbs_certificate().get_extension::<BasicConstraints>().ok()?;
    Some(constraints.is_some_and(|(_, constraints)| constraints.ca))
}

/// Checks the server's certificate as clients do. Returns its key.
fn check_server(certificate: &Certificate) -> Result<Vec<u8>, InvalidChain> {
    let tbs = certificate.tbs_certificate();
    let not_x509 = InvalidChain::NotACertificate(1);
    let spki = tbs.subject_public_key_info().to_der().map_err(|_| not_x509)?;
    if !public_key::is_served(&spki) {
        return Err(InvalidChain::KeyNotServed);
    }
    let names = tbs.get_extension::<SubjectAltName>().map_err(|_| not_x509)?;
    use x509_cert::ext::pkix::name::GeneralName::{DnsName, IpAddress};
    if !names.is_some_and(|(_, names)| names.0.iter().any(|name| matches!(name, DnsName(_) | IpAddress(_)))) {
        return Err(InvalidChain::NoSubjectAltName);
    }
    let uses = tbs.get_extension::<ExtendedKeyUsage>().map_err(|_| not_x509)?;
    if uses.is_some_and(|(_, uses)| {
        !uses.0.iter().any(|it| *it == ID_KP_SERVER_AUTH || *it == ANY_EXTENDED_KEY_USAGE)
    }) {
        return Err(InvalidChain::NotForServers(1));
    }
    let uses = tbs.get_extension::<KeyUses>().map_err(|_| not_x509)?;
    if uses.is_some_and(|(_, uses)| !uses.digital_signature()) {
        return Err(InvalidChain::MayNotSign);
    }
    Ok(spki)
}

/// Checks that each certificate was issued by the next, as clients do. For each prefix of the chain, webpki must find
/// the path of that prefix, with its last certificate as the anchor.
fn check_order(certificates: &[CertificateDer<'static>], now: UnixTime) -> Result<(), InvalidChain> {
    let Some((server, issuers)) = certificates.split_first() else { return Ok(()) };
    let server = EndEntityCert::try_from(server).map_err(|_| InvalidChain::NotACertificate(1))?;
    for (index, issuer) in issuers.iter().enumerate() {
        let number = index + 1;
        let between = &issuers[..index];
        let anchor =
            anchor_from_trusted_cert(issuer).map_err(|_| InvalidChain::NotACertificate(number + 1))?;
        let path = server
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                std::slice::from_ref(&anchor),
                between,
                now,
                KeyUsage::server_auth(),
                None,
                None,
            )
            .map_err(|error| refusal(&error, number))?;
        if !path.intermediate_certificates().map(webpki::Cert::der).eq(between.iter().cloned()) {
            return Err(InvalidChain::NotIssuedByNext(number));
        }
    }
    Ok(())
}

fn refusal(error: &webpki::Error, number: usize) -> InvalidChain {
    match error {
        webpki::Error::UnsupportedSignatureAlgorithmContext(_)
        | webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            InvalidChain::SignatureNotTaken(number)
        }
        webpki::Error::RequiredEkuNotFoundContext(_) => InvalidChain::NotForServers(number),
        _ => InvalidChain::NotIssuedByNext(number),
    }
}
