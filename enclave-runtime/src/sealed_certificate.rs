//! The state that the ACME client keeps with the parent, which can read nothing of it: an [`AcmeState`] under a data
//! key.
//!
//! `version=1 ‖ u16be length ‖ wrapped data key ‖ nonce[12] ‖ ciphertext ‖ tag[16]`: AES-256-GCM, with
//! `"nitro-signer/certificate/v1"` as associated data, so that no sealed key opens as a certificate, nor the other way
//! around. The parent can hold it back or give out an older one; it cannot make one.

use aws_lc_rs::aead::NONCE_LEN;
use zeroize::Zeroizing;

use crate::acme::{AcmeState, MAX_STATE_BYTES};
use crate::data_key::{DataKey, TAG_BYTES};

const VERSION: u8 = 1;

/// The longest ciphertext that KMS takes (KMS API reference, Decrypt).
const MAX_WRAPPED_BYTES: usize = 6144;

/// The bytes besides the wrapped data key and the ciphertext.
const OTHER_BYTES: usize = 1 + 2 + NONCE_LEN + TAG_BYTES;

/// Of all: what is longer is not read to its end.
pub(crate) const MAX_SEALED_CERTIFICATE_BYTES: usize = OTHER_BYTES + MAX_WRAPPED_BYTES + MAX_STATE_BYTES;

const AAD: &[u8] = b"nitro-signer/certificate/v1";

/// A state under a data key, with that one as KMS wrapped it.
#[derive(Debug)]
pub struct SealedCertificate {
    wrapped: Vec<u8>,
    nonce: [u8; NONCE_LEN],
    ciphertext: Vec<u8>,
    tag: [u8; TAG_BYTES],
}

impl SealedCertificate {
    /// Takes the bytes apart. Whether they open is another question. `None` if they are of no known form.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_SEALED_CERTIFICATE_BYTES {
            return None;
        }
        let (version, rest) = bytes.split_first()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (wrapped, rest) = rest.split_at_checked(length)?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (ciphertext, tag) = rest.split_last_chunk()?;
        let fits =
            (1..=MAX_WRAPPED_BYTES).contains(&length) && (1..=MAX_STATE_BYTES).contains(&ciphertext.len());
        (*version == VERSION && fits).then(|| Self {
            wrapped: wrapped.to_vec(),
            nonce: *nonce,
            ciphertext: ciphertext.to_vec(),
            tag: *tag,
        })
    }

    /// The data key as KMS wrapped it.
    #[must_use]
    pub fn wrapped(&self) -> &[u8] {
        &self.wrapped
    }

    /// Opens what was sealed. `None` if it was not, or if it was bent.
    #[must_use]
    pub fn open(&self, data_key: &DataKey) -> Option<AcmeState> {
        let mut text = Zeroizing::new(vec![0; self.ciphertext.len()]);
        data_key.open(self.nonce, AAD, &self.ciphertext, &self.tag, &mut text)?;
        AcmeState::read(&text)
    }

    /// Seals `state`. No `nonce` may come twice under one data key. `None` if it would not be read again.
    pub(crate) fn seal(data_key: &DataKey, nonce: [u8; NONCE_LEN], state: &AcmeState) -> Option<Self> {
        let wrapped = data_key.wrapped().to_vec();
        if wrapped.is_empty() || wrapped.len() > MAX_WRAPPED_BYTES {
            return None;
        }
        // In place, so that no plaintext is left.
        let mut text = state.write()?;
        let tag = data_key.seal(nonce, AAD, &mut text)?;
        Some(Self { wrapped, nonce, ciphertext: text.to_vec(), tag })
    }

    /// The parts that [`SealedCertificate::parse`] takes apart.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let Self { wrapped, nonce, ciphertext, tag } = self;
        // Neither sealed nor read if it does not fit.
        let length = u16::try_from(wrapped.len()).unwrap_or(u16::MAX);
        [&[VERSION], &length.to_be_bytes()[..], wrapped, nonce, ciphertext, tag].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_WRAPPED_BYTES, SealedCertificate};
    use crate::acme::state_of_a_test;
    use crate::data_key::{DataKey, DataKeyPlaces};

    /// By Python's `cryptography`, as the format is written down: `a=AESGCM(b'\x07'*32); n=b'\x02'*12; w=b'wrapped data
    /// key'; f=lambda b:len(b).to_bytes(2,'big')+b;
    /// s=f(b'https://a.b/dir')+f(b'https://a.b/acct/1')+f(b'\x01'*138)+b'\x01'+bytes(range(1,9))+b'\x02\x03x.y\x01z'
    /// +f(b'-----BEGIN')+f(b'\x02'*138); c=b'\x01'+f(w)+n+a.encrypt(n,s,b'nitro-signer/certificate/v1')`, and the first
    /// 8 and the last 24 bytes of `c` in hex.
    const FROM_PYTHON: [&str; 2] = ["0100107772617070", "a7973f39edca3154a53e320dac67e85bd34025d4921caf1b"];

    fn data_key(byte: u8, wrapped: &[u8]) -> DataKey {
        DataKey::new(&DataKeyPlaces::new(1).unwrap(), &[byte; 32], wrapped.to_vec()).unwrap()
    }

    fn sealed(key: &DataKey) -> Vec<u8> {
        SealedCertificate::seal(key, [2; 12], &state_of_a_test()).unwrap().bytes()
    }

    #[test]
    fn agrees_with_another_implementation() {
        let bytes = hex::encode(sealed(&data_key(7, b"wrapped data key")));
        let [first, last] = FROM_PYTHON;
        assert!(bytes.starts_with(first) && bytes.ends_with(last), "{bytes}");
    }

    #[test]
    fn opens_under_its_data_key_only_and_every_bit_counts() {
        let key = data_key(7, b"wrapped data key");
        let bytes = sealed(&key);
        let parsed = SealedCertificate::parse(&bytes).unwrap();
        assert_eq!(parsed.wrapped(), b"wrapped data key");
        assert_eq!(parsed.open(&key).unwrap().write(), state_of_a_test().write());
        assert!(parsed.open(&data_key(8, b"wrapped data key")).is_none());
        for bit in 0..bytes.len() * 8 {
            let mut bent = bytes.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            let opened = SealedCertificate::parse(&bent).filter(|it| it.wrapped() == key.wrapped());
            assert!(opened.and_then(|it| it.open(&key)).is_none(), "{bit}");
        }
        for length in 0..bytes.len() {
            assert!(SealedCertificate::parse(&bytes[..length]).and_then(|it| it.open(&key)).is_none());
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(SealedCertificate::parse(&longer).unwrap().open(&key).is_none());
    }

    #[test]
    fn a_sealed_key_is_no_certificate() {
        let key = data_key(7, b"wrapped data key");
        let state = state_of_a_test();
        let mut text = state.write().unwrap();
        let tag = key.seal([2; 12], b"nitro-signer/sealed-key/v1\0secp256k1\0", &mut text).unwrap();
        let ciphertext = text.to_vec();
        let other = SealedCertificate { wrapped: key.wrapped().to_vec(), nonce: [2; 12], ciphertext, tag };
        assert!(SealedCertificate::parse(&other.bytes()).unwrap().open(&key).is_none());
    }

    #[test]
    fn what_would_not_be_read_is_not_sealed() {
        for (wrapped_bytes, seals) in
            [(0, false), (1, true), (MAX_WRAPPED_BYTES, true), (MAX_WRAPPED_BYTES + 1, false)]
        {
            let key = data_key(7, &vec![9; wrapped_bytes]);
            let sealed = SealedCertificate::seal(&key, [2; 12], &state_of_a_test());
            assert_eq!(sealed.is_some(), seals, "{wrapped_bytes}");
            if let Some(sealed) = sealed {
                assert!(SealedCertificate::parse(&sealed.bytes()).is_some());
            }
        }
    }
}
