//! A key: its material, its policy, and what it seals.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest, Sha256};

use crate::key_arn::KeyArn;
use crate::policy::Policy;

/// Bytes of key material.
pub(crate) const MATERIAL_BYTES: usize = 32;

/// The first byte of a ciphertext.
const VERSION: u8 = 1;

/// Enough of the hash of an ARN to tell the keys of one emulator apart.
const KEY_TAG_BYTES: usize = 16;

const HEAD_BYTES: usize = 1 + KEY_TAG_BYTES;

/// A symmetric key. What it seals is
/// `u8 version ‖ key tag[16] ‖ nonce[12] ‖ ciphertext ‖ tag[16]`, with the ARN and the encryption context
/// authenticated beside it. To clients that is opaque, as the real one is.
pub(crate) struct Key {
    arn: KeyArn,
    policy: Policy,
    material_id: String,
    cipher: LessSafeKey,
    forgotten: AtomicBool,
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Key").field("arn", &self.arn).finish_non_exhaustive()
    }
}

/// A ciphertext is not one of this key and this encryption context, or was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotOpened;

impl Key {
    pub(crate) fn new(arn: KeyArn, policy: Policy, material: &[u8; MATERIAL_BYTES]) -> Self {
        let cipher = UnboundKey::new(&AES_256_GCM, material).expect("the length is that of AES-256");
        let material_id = Sha256::digest([b"material of ".as_slice(), arn.as_str().as_bytes()].concat());
        Self {
            material_id: hex::encode(material_id),
            cipher: LessSafeKey::new(cipher),
            forgotten: AtomicBool::new(false),
            arn,
            policy,
        }
    }

    pub(crate) fn arn(&self) -> &KeyArn {
        &self.arn
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// 64 hexadecimal digits, as KMS has named key material since 2025.
    pub(crate) fn material_id(&self) -> &str {
        &self.material_id
    }

    pub(crate) fn is_forgotten(&self) -> bool {
        self.forgotten.load(Ordering::Relaxed)
    }

    pub(crate) fn set_forgotten(&self, forgotten: bool) {
        self.forgotten.store(forgotten, Ordering::Relaxed);
    }

    /// Whether the ciphertext says that it is of this key.
    pub(crate) fn is_named_in(&self, ciphertext: &[u8]) -> bool {
        ciphertext.starts_with(&self.head())
    }

    pub(crate) fn seal(&self, plaintext: &[u8], context: &BTreeMap<String, String>) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = plaintext.to_vec();
        self.cipher
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), self.aad(context), &mut sealed)
            .expect("AES-GCM seals more than KMS takes");
        [self.head().as_slice(), &nonce, &sealed].concat()
    }

    /// # Errors
    ///
    /// One for every reason, as KMS has.
    pub(crate) fn open(
        &self,
        ciphertext: &[u8],
        context: &BTreeMap<String, String>,
    ) -> Result<Vec<u8>, NotOpened> {
        let rest = ciphertext.strip_prefix(self.head().as_slice()).ok_or(NotOpened)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or(NotOpened)?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plaintext =
            self.cipher.open_in_place(nonce, self.aad(context), &mut sealed).map_err(|_| NotOpened)?;
        Ok(plaintext.to_vec())
    }

    fn head(&self) -> [u8; HEAD_BYTES] {
        let mut head = [VERSION; HEAD_BYTES];
        head[1..].copy_from_slice(&Sha256::digest(self.arn.as_str())[..KEY_TAG_BYTES]);
        head
    }

    /// The ARN and the context in the order of its names, each text after its length.
    fn aad(&self, context: &BTreeMap<String, String>) -> Aad<Vec<u8>> {
        let texts = context.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
        let mut bytes = Vec::new();
        for text in std::iter::once(self.arn.as_str()).chain(texts) {
            bytes.extend((text.len() as u64).to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        Aad::from(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> Key {
        let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}"#;
        let arn = format!("arn:aws:kms:eu-central-1:111122223333:key/{id}");
        Key::new(arn.parse().unwrap(), Policy::parse(policy).unwrap(), &[7; MATERIAL_BYTES])
    }

    fn context(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|&(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn a_ciphertext_is_bound_to_key_and_context() {
        let (first, second) = (key("first"), key("second"));
        let sealed = first.seal(b"plaintext", &context(&[("a", "bc")]));
        assert_eq!(first.open(&sealed, &context(&[("a", "bc")])), Ok(b"plaintext".to_vec()));
        assert!(first.is_named_in(&sealed) && !second.is_named_in(&sealed));
        for other in [context(&[]), context(&[("ab", "c")]), context(&[("a", "bc"), ("d", "e")])] {
            assert_eq!(first.open(&sealed, &other), Err(NotOpened));
        }
        // The same material under another name.
        let renamed = [&second.head(), &sealed[HEAD_BYTES..]].concat();
        assert_eq!(second.open(&renamed, &context(&[("a", "bc")])), Err(NotOpened));
    }

    #[test]
    fn a_changed_or_short_ciphertext_is_not_opened() {
        let key = key("key");
        let sealed = key.seal(&[1; 32], &context(&[]));
        assert!(sealed.len() < 400, "{}", sealed.len());
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert_eq!(key.open(&changed, &context(&[])), Err(NotOpened), "byte {index}");
            assert_eq!(key.open(&sealed[..index], &context(&[])), Err(NotOpened), "{index} bytes");
        }
    }
}
