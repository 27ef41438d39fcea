//! Sealing with a key from the environment, for development: the format of the replaced signer.
//!
//! `iv:ciphertext:tag`, each in hex: AES-256-GCM under `SEALING_KEY`, no associated data, and the plaintext is the 64
//! hex digits of the private key. The format binds no identity.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use enclave_core::{IdentityId, SecretKey, with_burnt_stack};
use zeroize::Zeroizing;

use crate::restore::{RestorePlaces, Standing};
use crate::sealer::{NotOpened, NotSealed, Sealer};

const TAG_BYTES: usize = 16;

/// The hex of a private key.
const PLAINTEXT_BYTES: usize = 64;

/// A sealer without KMS.
pub struct LocalSealer(LessSafeKey);

/// A local sealed key, parsed. Nothing in it is secret.
#[derive(Debug)]
pub struct LocalSealedKey {
    iv: [u8; NONCE_LEN],
    ciphertext: [u8; PLAINTEXT_BYTES],
    tag: [u8; TAG_BYTES],
}

/// `SEALING_KEY` is not 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidSealingKey;

impl std::fmt::Debug for LocalSealer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LocalSealer").finish_non_exhaustive()
    }
}

impl LocalSealer {
    /// Takes `SEALING_KEY`, 64 hex digits in either case.
    ///
    /// # Errors
    /// [`InvalidSealingKey`]
    pub fn from_hex(hex: &str) -> Result<Self, InvalidSealingKey> {
        let mut key = Zeroizing::new([0; 32]);
        if hex.len() != 64 || base16ct::mixed::decode(hex, key.as_mut_slice()).is_err() {
            return Err(InvalidSealingKey);
        }
        let key = UnboundKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| InvalidSealingKey)?;
        Ok(Self(LessSafeKey::new(key)))
    }
}

impl Sealer for LocalSealer {
    /// The sealing key is at hand.
    type Sealing = ();
    type Opening = LocalSealedKey;

    async fn prepare_seal(&self) -> Result<(), NotSealed> {
        Ok(())
    }

    async fn prepare_open(
        &self,
        sealed_key: &[u8],
        _: &RestorePlaces,
        _: &Standing,
    ) -> Result<LocalSealedKey, NotOpened> {
        LocalSealedKey::parse(sealed_key)
    }

    fn seal(&self, (): (), _identity: &IdentityId, key: &SecretKey) -> Result<String, NotSealed> {
        with_burnt_stack(|| {
            let mut iv = [0; NONCE_LEN];
            getrandom::fill(&mut iv).map_err(|_| NotSealed)?;
            let mut text = Zeroizing::new([0; PLAINTEXT_BYTES]);
            base16ct::lower::encode(key.secret_bytes(), text.as_mut_slice()).map_err(|_| NotSealed)?;
            let nonce = Nonce::assume_unique_for_key(iv);
            let tag = self
                .0
                .seal_in_place_separate_tag(nonce, Aad::empty(), text.as_mut_slice())
                .map_err(|_| NotSealed)?;
            let hex = base16ct::lower::encode_string;
            Ok(format!("{}:{}:{}", hex(&iv), hex(text.as_slice()), hex(tag.as_ref())))
        })
    }

    fn open(&self, sealed_key: LocalSealedKey, _identity: &IdentityId) -> Result<SecretKey, NotOpened> {
        with_burnt_stack(|| self.decrypt(&sealed_key).ok_or(NotOpened::Damaged))
    }
}

impl LocalSealer {
    fn decrypt(&self, LocalSealedKey { iv, ciphertext, tag }: &LocalSealedKey) -> Option<SecretKey> {
        let mut text = Zeroizing::new([0; PLAINTEXT_BYTES]);
        let nonce = Nonce::assume_unique_for_key(*iv);
        self.0.open_separate_gather(nonce, Aad::empty(), ciphertext, tag, text.as_mut_slice()).ok()?;
        let mut key = Zeroizing::new(decode::<32>(text.as_slice())?);
        SecretKey::take(&mut key).ok()
    }
}

impl LocalSealedKey {
    /// Parses `text`.
    ///
    /// # Errors
    /// [`NotOpened::Damaged`] for a bad part, and for the forms that production seals. [`NotOpened::UnknownForm`] for
    /// every other form.
    pub fn parse(text: &[u8]) -> Result<Self, NotOpened> {
        if text.starts_with(b"ns1.") || text.starts_with(b"kms:") {
            return Err(NotOpened::Damaged);
        }
        if text.starts_with(b"ev:") {
            return Err(NotOpened::UnknownForm);
        }
        let mut parts = text.split(|byte| *byte == b':');
        let (Some(iv), Some(ciphertext), Some(tag), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotOpened::UnknownForm);
        };
        let parse_parts =
            || Some(Self { iv: decode(iv)?, ciphertext: decode(ciphertext)?, tag: decode(tag)? });
        parse_parts().ok_or(NotOpened::Damaged)
    }
}

fn decode<const N: usize>(hex: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    (hex.len() == 2 * N).then_some(())?;
    base16ct::mixed::decode(hex, &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use enclave_core::{IdentityId, SecretKey};

    use super::{LocalSealedKey, LocalSealer};
    use crate::sealer::{NotOpened, Sealer as _};

    /// Made by the format's own code, in Node:
    /// `c=crypto.createCipheriv('aes-256-gcm',Buffer.alloc(32,1),Buffer.alloc(12,2));
    /// [Buffer.alloc(12,2),Buffer.concat([c.update('03'.repeat(32)),c.final()]),c.getAuthTag()].map(b=>b.toString('hex')).join(':')`
    const FROM_NODE: &str = "020202020202020202020202:37e5f97a7a64f1cee3ff8cfb6c94f2819286e1dcdb82bd42edb4d0c848c8444c474c2e045d5c93dc771d62daaf146c489a46eee49769ed15fb70838153077db9:2e20dcd481625490444370b4c78220bd";

    fn identity() -> IdentityId {
        IdentityId::from_text(b"00000000-0000-0000-0000-000000000000").unwrap()
    }

    fn sealer() -> LocalSealer {
        LocalSealer::from_hex(&"01".repeat(32)).unwrap()
    }

    fn open(sealed_key: &[u8]) -> Result<[u8; 32], NotOpened> {
        let opening = LocalSealedKey::parse(sealed_key)?;
        sealer().open(opening, &identity()).map(|key| *key.secret_bytes())
    }

    #[test]
    fn opens_what_node_sealed() {
        assert_eq!(open(FROM_NODE.as_bytes()), Ok([3; 32]));
        assert_eq!(open(FROM_NODE.to_uppercase().as_bytes()), Ok([3; 32]));
    }

    #[test]
    fn opens_what_it_sealed() {
        let key = SecretKey::take(&mut [5; 32]).unwrap();
        let first = sealer().seal((), &identity(), &key).unwrap();
        let second = sealer().seal((), &identity(), &key).unwrap();
        assert_ne!(first, second);
        assert_eq!(open(first.as_bytes()), Ok([5; 32]));
        assert_eq!(first.split(':').map(str::len).collect::<Vec<_>>(), [24, 128, 32]);
    }

    #[test]
    fn every_damage_is_one_answer() {
        for position in 0..FROM_NODE.len() {
            let mut bent = FROM_NODE.as_bytes().to_vec();
            bent[position] = if bent[position] == b'0' { b'1' } else { b'0' };
            let expected = if FROM_NODE.as_bytes()[position] == b':' {
                NotOpened::UnknownForm
            } else {
                NotOpened::Damaged
            };
            assert_eq!(open(&bent), Err(expected), "{position}");
        }
        for length in 0..FROM_NODE.len() {
            let whole_parts = FROM_NODE[..length].matches(':').count() == 2;
            let expected = if whole_parts { NotOpened::Damaged } else { NotOpened::UnknownForm };
            assert_eq!(open(&FROM_NODE.as_bytes()[..length]), Err(expected), "{length}");
        }
    }

    #[test]
    fn tells_unknown_forms_from_damaged_ones() {
        for unknown in
            ["x", "aa:bb", "ev:aa:bb", "ev:debug:aa:bb:cc:$", "aa:bb:cc:dd", "aa::bb:", " ", "\"", "NS1.x"]
        {
            assert_eq!(open(unknown.as_bytes()), Err(NotOpened::UnknownForm), "{unknown}");
        }
        for damaged in ["::", "aaaa:bbbb:cccc", "xx:yy:zz", "ns1.", "ns1.AAAA", "kms:", "kms:AQID", "kms:a:b"]
        {
            assert_eq!(open(damaged.as_bytes()), Err(NotOpened::Damaged), "{damaged}");
        }
    }

    #[test]
    fn a_sealing_key_is_64_hex_digits() {
        for bad in ["", "01", &"01".repeat(31), &"01".repeat(33), &"0g".repeat(32), &" 1".repeat(32)] {
            assert!(LocalSealer::from_hex(bad).is_err(), "{bad}");
        }
        assert!(LocalSealer::from_hex(&"aB".repeat(32)).is_ok());
    }
}
