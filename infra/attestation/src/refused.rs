//! Why a document is refused.

use crate::field::Field;

/// The first thing that is wrong with a document; nothing of the document is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// Longer than [`MAX_DOCUMENT_BYTES`](crate::MAX_DOCUMENT_BYTES).
    TooLarge,
    /// Not a `COSE_Sign1` in its one accepted spelling, or something follows it.
    MalformedEnvelope,
    /// The protected header is not that of ES384. QEMU's documents, which have no signature, are refused here.
    WrongAlgorithm,
    /// The payload is not one CBOR map, or something follows it.
    MalformedPayload,
    /// The payload has a key that attestation documents do not have.
    UnknownField,
    /// The field occurs twice.
    DuplicateField(Field),
    /// The field is needed and absent.
    MissingField(Field),
    /// The field has another type, length or value than it may have.
    InvalidField(Field),
    /// A certificate cannot be read, or has what is not supported.
    MalformedCertificate,
    /// The path ends at another root than the pinned one.
    OtherRoot,
    /// A certificate between the leaf and the pinned root is missing, or there are too many.
    PathIncomplete,
    /// A certificate is not signed by the issuer that it names.
    CertificateForged,
    /// A certificate is not signed with ECDSA P-384 and SHA-384.
    CertificateAlgorithm,
    /// A certificate has expired, a week ago or earlier.
    CertificateExpired,
    /// A certificate has expired less than a week ago: the caller's clock may be wrong.
    CertificateJustExpired,
    /// A certificate is not valid yet, by more than [`NOT_BEFORE_TOLERANCE`](crate::NOT_BEFORE_TOLERANCE).
    CertificateNotYetValid,
    /// The pinned root is expired or not valid yet.
    RootNotValid,
    /// The certificate that is to sign the document is that of a CA.
    CaAsLeaf,
    /// A certificate that is to sign others may not.
    IssuerNotCa,
    /// There are more CAs below one than it allows.
    PathTooLong,
    /// The leaf's key may not be used for signatures.
    LeafKeyUsage,
    /// The leaf's key is not on P-384.
    LeafNotP384,
    /// The signature is not the leaf's over this document.
    BadSignature,
    /// Older than the expectation allows.
    Stale,
    /// Further in the future than the expectation allows.
    FromTheFuture,
    /// PCR0 is all zeros: the enclave runs in debug mode, in which the parent reads its console.
    DebugMode,
    /// The nonce is absent or another one.
    WrongNonce,
    /// The PCR of this index is needed and absent.
    PcrMissing(u8),
    /// The PCR of this index has another value than expected.
    PcrMismatch(u8),
}

impl std::error::Error for Refused {}

impl std::fmt::Display for Refused {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::TooLarge => "attestation document is too large",
            Self::MalformedEnvelope => "attestation document is not a well-formed cose_sign1",
            Self::WrongAlgorithm => "attestation document is not signed with es384",
            Self::MalformedPayload => "payload of the attestation document is malformed",
            Self::UnknownField => "attestation document has an unknown field",
            Self::DuplicateField(field) => {
                return write!(formatter, "attestation document has the field {} twice", field.name());
            }
            Self::MissingField(field) => {
                return write!(formatter, "attestation document lacks the field {}", field.name());
            }
            Self::InvalidField(field) => {
                return write!(formatter, "attestation document has an invalid field {}", field.name());
            }
            Self::MalformedCertificate => "certificate in the attestation document is malformed",
            Self::OtherRoot => "certificate path leads to another root than the pinned one",
            Self::PathIncomplete => "certificate path does not reach the pinned root",
            Self::CertificateForged => "certificate is not signed by its issuer",
            Self::CertificateAlgorithm => "certificate is not signed with ecdsa p-384 and sha-384",
            Self::CertificateExpired => "certificate has expired",
            Self::CertificateJustExpired => {
                "certificate has expired less than a week ago; check the clock of this machine"
            }
            Self::CertificateNotYetValid => {
                "certificate is not yet in force; check the clock of this machine"
            }
            Self::RootNotValid => "pinned root is not valid at this time",
            Self::CaAsLeaf => "leaf certificate is that of a ca",
            Self::IssuerNotCa => "certificate path has an issuer that may not sign certificates",
            Self::PathTooLong => "certificate path is longer than a ca in it allows",
            Self::LeafKeyUsage => "leaf certificate is not for signatures",
            Self::LeafNotP384 => "leaf certificate has a key that is not on p-384",
            Self::BadSignature => "signature of the attestation document is wrong",
            Self::Stale => "attestation document is stale",
            Self::FromTheFuture => "attestation document is from the future",
            Self::DebugMode => "enclave is in debug mode: pcr0 is all zeros",
            Self::WrongNonce => "nonce is not the expected one",
            Self::PcrMissing(index) => return write!(formatter, "pcr{index} is missing"),
            Self::PcrMismatch(index) => return write!(formatter, "pcr{index} is not the expected one"),
        })
    }
}
