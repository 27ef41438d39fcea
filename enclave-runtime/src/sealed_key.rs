//! The text of a sealed key, as production writes and reads it.
//!
//! `ns1.` and, in base64url without padding, `version=1 ‖ u16be length ‖ wrapped data key ‖ nonce[12] ‖ ciphertext[32]
//! ‖ tag[16]`: AES-256-GCM under the data key, with `"nitro-signer/sealed-key/v1" ‖ 0 ‖ algorithm ‖ 0 ‖ identity[16]`
//! as associated data. So a backup opens for the identity that it was made for, in an enclave for which KMS unwraps its
//! data key.
//!
//! Older backups are read too: `kms:` and, in base64, the ciphertext that `kms:Encrypt` made of the key's 32 bytes.
//! They bind no identity.
//!
//! A readable text has one spelling: no other text holds the same.

use aws_lc_rs::aead::NONCE_LEN;
use base64ct::{Base64, Base64UrlUnpadded, Encoding as _};
use enclave_core::{IdentityId, SecretKey};
use zeroize::Zeroizing;

use crate::data_key::{DataKey, TAG_BYTES};
use crate::sealer::NotOpened;

const PREFIX: &str = "ns1.";

const LEGACY_PREFIX: &str = "kms:";

const VERSION: u8 = 1;

const KEY_BYTES: usize = 32;

/// The longest ciphertext that KMS takes (KMS API reference, Decrypt).
const MAX_WRAPPED_BYTES: usize = 6144;

/// The bytes besides the wrapped data key.
const OTHER_BYTES: usize = 1 + 2 + NONCE_LEN + KEY_BYTES + TAG_BYTES;

const AAD_PREFIX: &[u8] = b"nitro-signer/sealed-key/v1\0secp256k1\0";

const AAD_BYTES: usize = AAD_PREFIX.len() + 16;

/// The content of a text of a known form. Nothing in it is secret.
#[derive(Debug)]
pub enum SealedKeyText {
    /// The form that is written now.
    V1(SealedKey),
    /// The ciphertext that KMS made of the key itself.
    Legacy(Vec<u8>),
}

/// A key under a data key, with that one as KMS wrapped it. [`Display`](std::fmt::Display) writes the text.
#[derive(Debug)]
pub struct SealedKey {
    wrapped: Vec<u8>,
    nonce: [u8; NONCE_LEN],
    ciphertext: [u8; KEY_BYTES],
    tag: [u8; TAG_BYTES],
}

impl SealedKeyText {
    /// Takes a text apart. Whether it opens is another question.
    ///
    /// # Errors
    /// [`NotOpened::UnknownForm`] by its prefix, else [`NotOpened::Damaged`]
    pub fn parse(text: &[u8]) -> Result<Self, NotOpened> {
        let after = |prefix: &str| text.strip_prefix(prefix.as_bytes());
        if let Some(text) = after(PREFIX) {
            SealedKey::parse(text).map(Self::V1).ok_or(NotOpened::Damaged)
        } else if let Some(text) = after(LEGACY_PREFIX) {
            decode::<Base64>(text, MAX_WRAPPED_BYTES).map(Self::Legacy).ok_or(NotOpened::Damaged)
        } else {
            Err(NotOpened::UnknownForm)
        }
    }
}

impl SealedKey {
    /// The data key as KMS wrapped it.
    #[must_use]
    pub fn wrapped(&self) -> &[u8] {
        &self.wrapped
    }

    /// Opens what was sealed for `identity`. `None` if it was not, or if it was bent.
    #[must_use]
    pub fn open(&self, data_key: &DataKey, identity: &IdentityId) -> Option<SecretKey> {
        let mut text = Zeroizing::new([0; KEY_BYTES]);
        let aad = associated_data(identity);
        data_key.open(self.nonce, &aad, &self.ciphertext, &self.tag, text.as_mut_slice())?;
        SecretKey::take(&mut text).ok()
    }

    /// Seals `key` for `identity`. No `nonce` may come twice under one data key.
    pub(crate) fn seal(
        data_key: &DataKey,
        nonce: [u8; NONCE_LEN],
        identity: &IdentityId,
        key: &SecretKey,
    ) -> Option<Self> {
        let wrapped = data_key.wrapped().to_vec();
        // A text that could not be read again is not written.
        if wrapped.is_empty() || wrapped.len() > MAX_WRAPPED_BYTES {
            return None;
        }
        let mut text = Zeroizing::new(*key.secret_bytes());
        let tag = data_key.seal(nonce, &associated_data(identity), text.as_mut_slice())?;
        Some(Self { wrapped, nonce, ciphertext: *text, tag })
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let bytes = decode::<Base64UrlUnpadded>(text, OTHER_BYTES + MAX_WRAPPED_BYTES)?;
        let (version, rest) = bytes.split_first()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (wrapped, rest) = rest.split_at_checked(length)?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (ciphertext, rest) = rest.split_first_chunk()?;
        let (tag, rest) = rest.split_first_chunk()?;
        let is_whole = *version == VERSION && !wrapped.is_empty() && rest.is_empty();
        is_whole.then(|| Self {
            wrapped: wrapped.to_vec(),
            nonce: *nonce,
            ciphertext: *ciphertext,
            tag: *tag,
        })
    }
}

impl std::fmt::Display for SealedKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { wrapped, nonce, ciphertext, tag } = self;
        let length = u16::try_from(wrapped.len()).expect("neither sealed nor read if longer than 6144");
        let bytes = [&[VERSION], &length.to_be_bytes()[..], wrapped, nonce, ciphertext, tag].concat();
        write!(formatter, "{PREFIX}{}", Base64UrlUnpadded::encode_string(&bytes))
    }
}

fn associated_data(identity: &IdentityId) -> [u8; AAD_BYTES] {
    let mut aad = [0; AAD_BYTES];
    aad[..AAD_PREFIX.len()].copy_from_slice(AAD_PREFIX);
    aad[AAD_PREFIX.len()..].copy_from_slice(identity.as_bytes());
    aad
}

/// Strict base64 of at most so many bytes.
fn decode<E: base64ct::Encoding>(text: &[u8], max_bytes: usize) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    // Before memory is taken: four digits hold three bytes.
    if text.is_empty() || text.len() > max_bytes.div_ceil(3) * 4 {
        return None;
    }
    E::decode_vec(text).ok().filter(|bytes| bytes.len() <= max_bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base64ct::{Base64UrlUnpadded, Encoding as _};
    use enclave_core::{IdentityId, SecretKey};

    use super::{MAX_WRAPPED_BYTES, PREFIX, SealedKey, SealedKeyText};
    use crate::data_key::{DataKey, DataKeyPlaces};
    use crate::sealer::NotOpened;

    const IDENTITY: &[u8] = b"9b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e9f";
    const OTHER_IDENTITY: &[u8] = b"9b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e90";

    /// By Python's `cryptography`, as the format is written down: `a=AESGCM(b'\x07'*32); n=b'\x02'*12; w=b'wrapped data
    /// key'; i=uuid.UUID('9b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e9f').bytes;
    /// 'ns1.'+urlsafe_b64encode(b'\x01'+len(w).to_bytes(2,'big')+w+n+a.encrypt(n,b'\x03'*32,
    /// b'nitro-signer/sealed-key/v1\0secp256k1\0'+i)).rstrip(b'=').decode()`
    const FROM_PYTHON: &str = "ns1.AQAQd3JhcHBlZCBkYXRhIGtleQICAgICAgICAgICAhm36gRY6LYkGVOFtOGBz3nJEGv5c7Upt8UJ8EoZkrhw8nOAYoJKzsEb0lG4vBzPpA";

    fn identity(text: &[u8]) -> IdentityId {
        IdentityId::from_text(text).unwrap()
    }

    fn data_key(wrapped: &[u8]) -> DataKey {
        let places: Arc<DataKeyPlaces> = DataKeyPlaces::new(1).unwrap();
        DataKey::new(&places, &[7; 32], wrapped.to_vec()).unwrap()
    }

    fn opened(key: &DataKey, identity: &IdentityId, text: &[u8]) -> Result<[u8; 32], NotOpened> {
        match SealedKeyText::parse(text)? {
            SealedKeyText::V1(sealed) if sealed.wrapped() == key.wrapped() => {
                sealed.open(key, identity).map(|key| *key.secret_bytes()).ok_or(NotOpened::Damaged)
            }
            // KMS does not unwrap it, or unwraps another key.
            SealedKeyText::V1(_) => Err(NotOpened::Damaged),
            SealedKeyText::Legacy(_) => panic!("not a sealed key"),
        }
    }

    fn sealed(key: &DataKey) -> Option<String> {
        let secret = SecretKey::take(&mut [3; 32]).unwrap();
        SealedKey::seal(key, [2; 12], &identity(IDENTITY), &secret).map(|sealed| sealed.to_string())
    }

    #[test]
    fn agrees_with_another_implementation() {
        let key = data_key(b"wrapped data key");
        assert_eq!(opened(&key, &identity(IDENTITY), FROM_PYTHON.as_bytes()), Ok([3; 32]));
        assert_eq!(sealed(&key).unwrap(), FROM_PYTHON);
    }

    #[test]
    fn opens_for_its_identity_only() {
        let key = data_key(b"wrapped data key");
        let outcome = opened(&key, &identity(OTHER_IDENTITY), FROM_PYTHON.as_bytes());
        assert_eq!(outcome, Err(NotOpened::Damaged));
    }

    #[test]
    fn every_bit_counts() {
        let key = data_key(b"wrapped data key");
        let bytes = Base64UrlUnpadded::decode_vec(&FROM_PYTHON[PREFIX.len()..]).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bent = bytes.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            let text = format!("{PREFIX}{}", Base64UrlUnpadded::encode_string(&bent));
            let outcome = opened(&key, &identity(IDENTITY), text.as_bytes());
            assert_eq!(outcome, Err(NotOpened::Damaged), "{bit}");
        }
        for bit in 0..FROM_PYTHON.len() * 8 {
            let mut bent = FROM_PYTHON.as_bytes().to_vec();
            bent[bit / 8] ^= 1 << (bit % 8);
            let expected = if bit / 8 < PREFIX.len() { NotOpened::UnknownForm } else { NotOpened::Damaged };
            assert_eq!(opened(&key, &identity(IDENTITY), &bent), Err(expected), "{bit}");
        }
    }

    #[test]
    fn every_byte_has_to_be_there_and_no_more() {
        let key = data_key(b"wrapped data key");
        for length in 0..FROM_PYTHON.len() {
            let expected = if length < PREFIX.len() { NotOpened::UnknownForm } else { NotOpened::Damaged };
            let outcome = opened(&key, &identity(IDENTITY), &FROM_PYTHON.as_bytes()[..length]);
            assert_eq!(outcome, Err(expected), "{length}");
        }
        for more in ["A", "AA", "AAAA", "=", "==", "\n", " "] {
            let outcome = opened(&key, &identity(IDENTITY), format!("{FROM_PYTHON}{more}").as_bytes());
            assert_eq!(outcome, Err(NotOpened::Damaged), "{more:?}");
        }
    }

    #[test]
    fn what_is_sealed_is_read_again() {
        for wrapped_bytes in [1, MAX_WRAPPED_BYTES] {
            let key = data_key(&vec![9; wrapped_bytes]);
            let text = sealed(&key).unwrap();
            assert_eq!(opened(&key, &identity(IDENTITY), text.as_bytes()), Ok([3; 32]), "{wrapped_bytes}");
        }
        for wrapped_bytes in [0, MAX_WRAPPED_BYTES + 1] {
            assert_eq!(sealed(&data_key(&vec![9; wrapped_bytes])), None, "{wrapped_bytes}");
        }
    }

    #[test]
    fn forms_are_told_apart() {
        for unknown in
            ["", "x", "aa:bb:cc", "ev:aa:bb", "ns1", "NS1.AAAA", "kms", "KMS:AAAA", "ns2.AAAA", " ns1.A"]
        {
            assert_eq!(
                SealedKeyText::parse(unknown.as_bytes()).err(),
                Some(NotOpened::UnknownForm),
                "{unknown}"
            );
        }
        let too_long = format!("kms:{}", "AAAA".repeat(MAX_WRAPPED_BYTES / 3 + 1));
        for damaged in ["ns1.", "kms:", "kms:A", "kms:AAA", "kms:AA==\n", "kms:-_-_", "kms:a:b", &too_long] {
            assert_eq!(SealedKeyText::parse(damaged.as_bytes()).err(), Some(NotOpened::Damaged), "{damaged}");
        }
        assert!(
            matches!(SealedKeyText::parse(b"kms:AQID"), Ok(SealedKeyText::Legacy(bytes)) if bytes == [1, 2, 3])
        );
    }
}
