//! The Nitro Security Module: attestation documents, randomness, platform configuration registers.

mod device;
#[cfg(feature = "dev")]
mod software;

use enclave_core::AttestationNonce;
use nix::errno::Errno;
use zeroize::Zeroizing;

pub use device::Device;
#[cfg(feature = "dev")]
pub use software::{ClockError, NoSoftwareNsm, Pcrs, SoftwareNsm};

/// Longest public key, §3.2.2.2 of AWS's "attestation process"; a DER SPKI of RSA-2048 has 294.
const MAX_PUBLIC_KEY_BYTES: usize = 1024;

/// Longest user data. AWS's documents say both 512 and 1024: the smaller is safe to send.
const MAX_USER_DATA_BYTES: usize = 512;

/// Longest nonce: what a client may choose.
pub const MAX_NONCE_BYTES: usize = AttestationNonce::MAX_BYTES;

/// The operations of an NSM that the signer uses.
///
/// Every call blocks: the kernel lets one through at a time and waits up to 120 s for its answer. In async code, call
/// within `tokio::task::spawn_blocking`.
pub trait Nsm: Send + Sync + 'static {
    /// A signed document (COSE_Sign1) that says what runs here, and what `request` holds.
    ///
    /// # Errors
    /// [`NsmUnavailable`]
    fn attest(&self, request: &AttestationRequest<'_>) -> Result<Vec<u8>, NsmUnavailable>;

    /// Fresh random bytes; 256 from the NSMs that are known.
    ///
    /// # Errors
    /// [`NsmUnavailable`]
    fn random(&self) -> Result<Zeroizing<Vec<u8>>, NsmUnavailable>;

    /// The register `index`.
    ///
    /// # Errors
    /// [`NsmUnavailable`]
    fn describe_pcr(&self, index: u16) -> Result<Pcr, NsmUnavailable>;
}

/// The facts that a document has to vouch for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttestationRequest<'a> {
    /// A key whose private half is in the enclave, DER.
    pub public_key: Option<&'a [u8]>,
    /// Anything.
    pub user_data: Option<&'a [u8]>,
    /// Bytes of the verifier's choice, so that the verifier knows that the document is new.
    pub nonce: Option<&'a [u8]>,
}

/// A platform configuration register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pcr {
    /// It can no longer change, and stands in documents.
    pub locked: bool,
    /// 48 bytes, a chain of SHA-384.
    pub value: Vec<u8>,
}

/// The NSM did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NsmUnavailable {
    /// `/dev/nsm` cannot be opened.
    NotOpened(Errno),
    /// A field of the request is longer than the NSM must take, or empty where that is no value.
    InvalidField(&'static str),
    /// The NSM's error, by its name. `InternalError` is also the name of an answer that does not decode, and of every
    /// error of the kernel but `EMSGSIZE`.
    Refused(&'static str),
    /// An answer to another request, by its name.
    Unexpected(&'static str),
}

impl std::fmt::Display for NsmUnavailable {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotOpened(errno) => write!(formatter, "/dev/nsm cannot be opened: {errno}"),
            Self::InvalidField(field) => write!(formatter, "the nsm takes no {field} of that length"),
            Self::Refused(error) => write!(formatter, "the nsm answered with the error {error}"),
            Self::Unexpected(answer) => write!(formatter, "the nsm answered with {answer}"),
        }
    }
}

impl std::error::Error for NsmUnavailable {}

impl AttestationRequest<'_> {
    /// Within the limits, each of which the NSM may enforce.
    fn check(&self) -> Result<(), NsmUnavailable> {
        let longest = |field: Option<&[u8]>| field.map_or(0, <[u8]>::len);
        if self.public_key.is_some_and(<[u8]>::is_empty) || longest(self.public_key) > MAX_PUBLIC_KEY_BYTES {
            return Err(NsmUnavailable::InvalidField("public_key"));
        }
        if longest(self.user_data) > MAX_USER_DATA_BYTES {
            return Err(NsmUnavailable::InvalidField("user_data"));
        }
        if longest(self.nonce) > MAX_NONCE_BYTES {
            return Err(NsmUnavailable::InvalidField("nonce"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        AttestationRequest, MAX_NONCE_BYTES, MAX_PUBLIC_KEY_BYTES, MAX_USER_DATA_BYTES, NsmUnavailable,
    };

    #[test]
    fn each_field_has_its_limit() {
        let bytes = [7; 1025];
        let request = |public_key: usize, user_data: usize, nonce: usize| AttestationRequest {
            public_key: Some(&bytes[..public_key]),
            user_data: Some(&bytes[..user_data]),
            nonce: Some(&bytes[..nonce]),
        };
        let longest = request(MAX_PUBLIC_KEY_BYTES, MAX_USER_DATA_BYTES, MAX_NONCE_BYTES);
        assert_eq!(longest.check(), Ok(()));
        assert_eq!(request(1, 0, 0).check(), Ok(()));
        assert_eq!(AttestationRequest::default().check(), Ok(()));
        for (request, field) in [
            (request(MAX_PUBLIC_KEY_BYTES + 1, 0, 0), "public_key"),
            (request(0, 0, 0), "public_key"),
            (request(1, MAX_USER_DATA_BYTES + 1, 0), "user_data"),
            (request(1, 0, MAX_NONCE_BYTES + 1), "nonce"),
        ] {
            assert_eq!(request.check(), Err(NsmUnavailable::InvalidField(field)));
        }
    }
}
