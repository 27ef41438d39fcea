//! The local sealed form `iv:ciphertext:tag`, by an AES-GCM that shares no code with the product.

use aes_gcm::aead::array::Array;
use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, AesGcm, aes::Aes256};

use crate::failure::{Failure, fail};

/// A sealed key in parts, so that a test can bend each.
#[derive(Clone)]
pub struct Sealed {
    /// The nonce; 12 bytes when good.
    pub iv: Vec<u8>,
    /// The ciphertext.
    pub ciphertext: Vec<u8>,
    /// The tag; 16 bytes when good.
    pub tag: Vec<u8>,
}

impl Sealed {
    /// The blob, in lower-case hex.
    #[must_use]
    pub fn blob(&self) -> String {
        [&self.iv, &self.ciphertext, &self.tag].map(hex::encode).join(":")
    }
}

/// Seals a scalar as the reference did: its 64 lower-case hex digits are the plaintext.
#[must_use]
pub fn seal(key: &[u8; 32], scalar: &[u8; 32]) -> Sealed {
    seal_bytes(key, hex::encode(scalar).as_bytes(), b"")
}

/// Seals any plaintext, with any associated data.
#[must_use]
pub fn seal_bytes(key: &[u8; 32], plaintext: &[u8], associated: &[u8]) -> Sealed {
    let iv: [u8; 12] = rand::random();
    let mut ciphertext = plaintext.to_vec();
    let tag = Aes256Gcm::new(&Array(*key))
        .encrypt_inout_detached(&Array::<u8, U12>(iv), associated, ciphertext.as_mut_slice().into())
        .expect("the plaintext is short");
    Sealed { iv: iv.to_vec(), ciphertext, tag: tag.to_vec() }
}

/// Seals correctly for an IV of 16 bytes, which `docs/api.md`, "9. Backups" refuses.
#[must_use]
pub fn seal_with_long_iv(key: &[u8; 32], scalar: &[u8; 32]) -> Sealed {
    let iv: [u8; 16] = rand::random();
    let mut ciphertext = hex::encode(scalar).into_bytes();
    let tag = AesGcm::<Aes256, U16>::new(&Array(*key))
        .encrypt_inout_detached(&Array::<u8, U16>(iv), b"", ciphertext.as_mut_slice().into())
        .expect("the plaintext is short");
    Sealed { iv: iv.to_vec(), ciphertext, tag: tag.to_vec() }
}

/// Opens a blob of the exact export form and gives its plaintext.
pub fn open(key: &[u8; 32], blob: &str) -> Result<String, Failure> {
    let parts: Vec<&str> = blob.split(':').collect();
    let [iv, ciphertext, tag] = parts.as_slice() else {
        return fail(format!("not three parts: {blob}"));
    };
    if blob.bytes().any(|b| b.is_ascii_uppercase()) {
        return fail(format!("upper-case hex: {blob}"));
    }
    let iv: [u8; 12] = exactly(iv)?;
    let tag: [u8; 16] = exactly(tag)?;
    let mut text = hex::decode(ciphertext)?;
    Aes256Gcm::new(&Array(*key))
        .decrypt_inout_detached(
            &Array::<u8, U12>(iv),
            b"",
            text.as_mut_slice().into(),
            &Array::<u8, U16>(tag),
        )
        .map_err(|_| Failure::new(format!("does not open: {blob}")))?;
    Ok(String::from_utf8(text)?)
}

fn exactly<const N: usize>(text: &str) -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|e| Failure::new(format!("{text:?} is not {N} bytes in hex: {e}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{open, seal, seal_bytes};

    #[test]
    fn what_is_sealed_opens_and_what_is_bent_does_not() {
        let (key, scalar) = (rand::random(), rand::random());
        let mut sealed = seal(&key, &scalar);
        assert_eq!(open(&key, &sealed.blob()).unwrap(), hex::encode(scalar));
        assert!(open(&rand::random(), &sealed.blob()).is_err());
        sealed.tag[0] ^= 1;
        assert!(open(&key, &sealed.blob()).is_err());
        assert!(open(&key, &seal_bytes(&key, b"x", b"other").blob()).is_err());
    }
}
