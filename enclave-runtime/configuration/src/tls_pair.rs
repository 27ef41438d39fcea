//! Checks a certificate together with its key. `signerctl secret seal TLS_KEY` uses the same check, so an operator sees
//! the signer's errors before deployment.

mod chain;
mod pem;
mod private_key;
mod public_key;
#[cfg(test)]
mod test_ca;

use std::fmt;

use rustls::pki_types::UnixTime;

pub use self::chain::{CertificateChain, InvalidChain, MAX_CHAIN_BYTES, MAX_CHAIN_CERTIFICATES};
pub use self::private_key::{InvalidKey, MAX_KEY_BYTES, PrivateKey};

/// Why a chain and a key are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidPair {
    /// The chain is invalid.
    Chain(InvalidChain),
    /// The key is invalid.
    Key(InvalidKey),
    /// The key belongs to another certificate.
    Mismatch,
}

impl fmt::Display for InvalidPair {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain(error) => write!(formatter, "TLS_CERT_CHAIN: {error}"),
            Self::Key(error) => write!(formatter, "TLS_KEY: {error}"),
            Self::Mismatch => formatter.write_str("TLS_KEY: not the key of certificate 1 of TLS_CERT_CHAIN"),
        }
    }
}

impl std::error::Error for InvalidPair {}

/// Checks a chain in PEM and a key in PEM or DER that serve from `now` on, and that they belong together. The caller
/// wipes `key`.
///
/// # Errors
/// [`InvalidPair`]
pub fn check_pair(
    chain_pem: &[u8],
    key: &[u8],
    now: UnixTime,
) -> Result<(CertificateChain, PrivateKey), InvalidPair> {
    let chain = CertificateChain::from_pem(chain_pem, now).map_err(InvalidPair::Chain)?;
    let key = PrivateKey::from_pem_or_der(key).map_err(InvalidPair::Key)?;
    if chain.spki() == key.spki() { Ok((chain, key)) } else { Err(InvalidPair::Mismatch) }
}

#[cfg(test)]
mod tests;
