//! Why an enclave is not taken for the expected one.

use std::fmt;

use attestation::Refused;

use crate::key_proof::Origin;

/// One reason not to trust the other end. A caller with a doubt sends it nothing secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Doubt {
    /// Nothing was said of the image, and nobody said that any will do.
    NothingExpected,
    /// The reply, or what is given for a document, is longer than any document.
    TooLong,
    /// The reply is not JSON, or lacks what it has to say.
    NotJson,
    /// The document is not in base64.
    NotBase64,
    /// The document is an emulator's (QEMU's), which nobody signs: anybody can write one.
    Unsigned,
    /// The document is malformed, not authentic, stale, from the future, or of an enclave in debug mode.
    Refused(Refused),
    /// The document repeats the nonce of another request.
    Replayed,
    /// The document repeats no nonce, so it may be of any request.
    NoNonce,
    /// This expected register is not in the document.
    PcrMissing(u8),
    /// This register has another value than that of the one image which is expected.
    OtherImage(u8),
    /// The registers are those of none of so many images which are expected.
    NoneOfImages(usize),
    /// The connection has no TLS, and the caller did not accept that.
    NoTls,
    /// The document is bound to a TLS key, but this connection has no TLS.
    TlsEndsElsewhere,
    /// The document names no TLS key, but this connection has one.
    NotBoundToTls,
    /// The document is bound to another TLS key than that of this connection.
    OtherTlsKey,
    /// The document is not made for the endpoint: it states something else, such as where a signing key comes from.
    NotOfTheEndpoint,
    /// The document does not prove what is asked of this signing key.
    NotOfThisKey,
    /// The reply tells another origin of the key than the document, which tells this one.
    OriginMisstated(Origin),
}

/// The start of a document of the module of QEMU: `{1: -1}` for the algorithm, and no unprotected header.
pub(crate) const UNSIGNED_START: &[u8] = b"\x84\x43\xa1\x01\x20\xa0";

impl Doubt {
    /// The doubt for a refused `document`: [`Doubt::Unsigned`] for an emulator's, otherwise `refused`.
    pub(crate) fn of_refused(refused: Refused, document: &[u8]) -> Self {
        if document.starts_with(UNSIGNED_START) { Self::Unsigned } else { refused.into() }
    }
}

impl From<Refused> for Doubt {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NothingExpected => "no expectation given: an enclave is only as good as the image it runs",
            Self::TooLong => "reply is longer than any attestation document",
            Self::NotJson => "reply is not the json of an attestation document",
            Self::NotBase64 => "attestation document is not in base64",
            Self::Unsigned => "attestation document is an emulator's, without a signature",
            Self::Refused(refused) => return refused.fmt(formatter),
            Self::Replayed => "attestation document is replayed: it has the nonce of another request",
            Self::NoNonce => "attestation document has no nonce, so it may be of any request",
            Self::PcrMissing(index) => return write!(formatter, "pcr{index} is missing"),
            Self::OtherImage(index) => {
                return write!(formatter, "enclave runs another image: pcr{index} is not the expected one");
            }
            Self::NoneOfImages(count) => {
                return write!(formatter, "enclave runs another image: its pcrs are those of none of {count}");
            }
            Self::NoTls => {
                "no tls: without it the document proves that such an enclave exists, not that you talk to it"
            }
            Self::TlsEndsElsewhere => {
                "attestation document is bound to a tls key, but this connection has no tls: another server ends it"
            }
            Self::NotBoundToTls => {
                "attestation document is bound to no tls key: tls of this connection does not end in the enclave"
            }
            Self::OtherTlsKey => {
                "attestation document is for another tls key: another server relays it, and reads along"
            }
            Self::NotOfTheEndpoint => {
                "attestation document is not the endpoint's: its user data is not the digest of the tls key"
            }
            Self::NotOfThisKey => "attestation document is no proof of this key",
            Self::OriginMisstated(origin) => {
                return write!(formatter, "reply misstates the key's origin: the document says {origin}");
            }
        })
    }
}

impl std::error::Error for Doubt {}
