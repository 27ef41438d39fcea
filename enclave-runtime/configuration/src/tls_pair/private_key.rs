//! A private key in PEM or DER, parsed by aws-lc-rs, and the errors of parsing.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::{Decode as _, SliceReader, Tag, Tagged as _};

use super::pem::sections;
use super::public_key::{self, KINDS};

/// The limit of KMS for `Encrypt`. A P-384 key takes 0.3 KiB.
pub const MAX_KEY_BYTES: usize = 4096;

/// A section that `openssl ecparam -genkey` writes. It adds nothing to the key.
const EC_PARAMETERS: &str = "EC PARAMETERS";

/// A private key that TLS can be served with.
pub struct PrivateKey {
    key: Arc<dyn SigningKey>,
    spki: Vec<u8>,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PrivateKey").finish_non_exhaustive()
    }
}

/// Why a key cannot serve TLS, in one line that reveals nothing of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidKey {
    /// The key is longer than [`MAX_KEY_BYTES`].
    TooLong,
    /// The bytes are not a private key, neither in PEM nor in DER.
    NotAKey,
    /// The key needs a password.
    Encrypted,
    /// The file has other sections beside the key.
    NotAlone,
    /// The kind of key is unsupported.
    NotServed,
}

impl fmt::Display for InvalidKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => {
                write!(formatter, "longer than {MAX_KEY_BYTES} bytes, which is all that KMS encrypts")
            }
            Self::NotAKey => formatter.write_str("not a private key in PEM or DER"),
            Self::Encrypted => formatter
                .write_str("protected by a password: remove the password, since KMS protects the key"),
            Self::NotAlone => formatter.write_str("not one private key and nothing else"),
            Self::NotServed => write!(formatter, "a key of an unsupported kind: {KINDS}"),
        }
    }
}

impl std::error::Error for InvalidKey {}

impl PrivateKey {
    /// Parses a key: PKCS#8 or SEC 1, in DER or PEM. The caller wipes `bytes`.
    ///
    /// # Errors
    /// [`InvalidKey`]
    pub fn from_pem_or_der(bytes: &[u8]) -> Result<Self, InvalidKey> {
        if bytes.len() > MAX_KEY_BYTES {
            return Err(InvalidKey::TooLong);
        }
        match str::from_utf8(bytes).map(sections) {
            Ok(Ok(sections)) if !sections.is_empty() => {
                if sections.iter().any(|it| it.label == "ENCRYPTED PRIVATE KEY" || it.is_encrypted()) {
                    return Err(InvalidKey::Encrypted);
                }
                let mut keys = sections.iter().filter(|section| section.label != EC_PARAMETERS);
                let (Some(key), None) = (keys.next(), keys.next()) else { return Err(InvalidKey::NotAlone) };
                if !key.label.ends_with("PRIVATE KEY") {
                    return Err(InvalidKey::NotAKey);
                }
                Self::from_der(&key.decode().map_err(|_| InvalidKey::NotAKey)?)
            }
            _ => Self::from_der(bytes),
        }
    }

    /// The key in `der`: PKCS #8 or SEC 1, not encrypted.
    ///
    /// # Errors
    /// [`InvalidKey`]
    pub fn from_der(der: &[u8]) -> Result<Self, InvalidKey> {
        if is_encrypted(der) {
            return Err(InvalidKey::Encrypted);
        }
        let key = any_supported_type(&PrivateKeyDer::Pkcs8(der.into()))
            .or_else(|_| any_supported_type(&PrivateKeyDer::Sec1(der.into())))
            .ok();
        let Some(key) = key else {
            return Err(if begins_like_a_key(der) { InvalidKey::NotServed } else { InvalidKey::NotAKey });
        };
        let spki = key.public_key().map(|spki| spki.to_vec()).unwrap_or_default();
        if !public_key::is_served(&spki) {
            return Err(InvalidKey::NotServed);
        }
        Ok(Self { key, spki })
    }

    /// The `SubjectPublicKeyInfo` of the public key, in DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The key in the form that rustls signs with.
    #[must_use]
    pub fn into_signing_key(self) -> Arc<dyn SigningKey> {
        self.key
    }
}

/// The tag of the first element of a sequence, if the sequence is the whole of `der`.
fn first_tag(der: &[u8]) -> Option<Tag> {
    let whole = AnyRef::from_der(der).ok().filter(|whole| whole.tag() == Tag::Sequence)?;
    Tag::peek(&SliceReader::new(whole.value()).ok()?).ok()
}

/// PKCS#8, SEC 1 and PKCS#1 begin with a version number; `EncryptedPrivateKeyInfo` (RFC 5958 §3) begins with an
/// algorithm.
fn begins_like_a_key(der: &[u8]) -> bool {
    first_tag(der) == Some(Tag::Integer)
}

fn is_encrypted(der: &[u8]) -> bool {
    first_tag(der) == Some(Tag::Sequence)
}
