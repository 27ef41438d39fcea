//! Local sealed keys: a maker of good and bent ones, and the documented form rule.

use aes_gcm::aead::{Aead as _, KeyInit as _};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use arbitrary::Arbitrary;
use enclave_runtime::NotOpened;

use crate::bend::Bend;
use crate::identity::{hex, to_hex};

/// `SEALING_KEY`
pub const SEALING_KEY: [u8; 32] = [1; 32];

/// The result of opening a blob.
///
/// # Errors
/// [`NotOpened`]
pub fn open(blob: &[u8]) -> Result<[u8; 32], NotOpened> {
    if blob.starts_with(b"ns1.") || blob.starts_with(b"kms:") {
        return Err(NotOpened::Damaged);
    }
    if blob.starts_with(b"ev:") {
        return Err(NotOpened::UnknownForm);
    }
    let parts: Vec<&[u8]> = blob.split(|byte| *byte == b':').collect();
    let &[iv, ciphertext, tag] = &parts[..] else { return Err(NotOpened::UnknownForm) };
    decrypt(iv, ciphertext, tag).ok_or(NotOpened::Damaged)
}

fn decrypt(iv: &[u8], ciphertext: &[u8], tag: &[u8]) -> Option<[u8; 32]> {
    let (iv, tag) = (hex(iv)?, hex(tag)?);
    if iv.len() != 12 || tag.len() != 16 {
        return None;
    }
    let text = cipher().decrypt(&Nonce::try_from(&iv[..]).ok()?, &*[hex(ciphertext)?, tag].concat()).ok()?;
    let key: [u8; 32] = hex(&text)?.try_into().ok()?;
    secp256k1::SecretKey::from_secret_bytes(key).is_ok().then_some(key)
}

fn cipher() -> Aes256Gcm {
    Aes256Gcm::new(&Key::<Aes256Gcm>::from(SEALING_KEY))
}

/// A blob in the making.
#[derive(Arbitrary, Debug)]
pub struct Draft<'a> {
    plaintext: Plaintext<'a>,
    iv: [u8; 12],
    bends: Vec<Bend<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Plaintext<'a> {
    Key([u8; 32]),
    KeyInCapitals([u8; 32]),
    /// Its last byte, above 128 from the curve's order down.
    Edge(u8),
    Raw(&'a [u8]),
}

impl Draft<'_> {
    /// The good blob, and what became of it.
    #[must_use]
    pub fn blobs(&self) -> (Vec<u8>, Vec<u8>) {
        let sealed =
            cipher().encrypt(&Nonce::from(self.iv), &*self.plaintext.bytes()).expect("a short plaintext");
        let (ciphertext, tag) = sealed.split_at(sealed.len() - 16);
        let good = [to_hex(&self.iv), to_hex(ciphertext), to_hex(tag)].join(":").into_bytes();
        let mut bent = good.clone();
        for bend in &self.bends {
            bend.apply(&mut bent);
        }
        (good, bent)
    }
}

impl Plaintext<'_> {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Key(key) => to_hex(key).into_bytes(),
            Self::KeyInCapitals(key) => to_hex(key).to_uppercase().into_bytes(),
            Self::Edge(near) => {
                let order = secp256k1::constants::CURVE_ORDER;
                let mut key = if *near < 128 { [0; 32] } else { order };
                key[31] = if *near < 128 { *near } else { order[31].wrapping_add(near.wrapping_sub(192)) };
                to_hex(&key).into_bytes()
            }
            Self::Raw(raw) => raw.to_vec(),
        }
    }
}
