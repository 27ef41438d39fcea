//! `CiphertextForRecipient`: a CMS EnvelopedData in BER, of the shape that KMS sends.

use std::fmt;

use aws_lc_rs::cipher::{AES_256, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The only size whose acceptance by KMS is certain.
pub(crate) const RSA_BITS: usize = 2048;

const AES_KEY_BYTES: usize = 32;
const IV_BYTES: usize = 16;

/// OpenSSL, and KMS by what was captured of it, cut content into pieces of this size.
const DEFAULT_CHUNK_BYTES: usize = 1024;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const CONTEXT_0: u8 = 0x80;
const CONTEXT_0_CONSTRUCTED: u8 = 0xa0;
const CONTEXT_1_CONSTRUCTED: u8 = 0xa1;
const INDEFINITE: u8 = 0x80;
const END_OF_CONTENTS: [u8; 2] = [0, 0];

/// 1.2.840.113549.1.7.3
const ENVELOPED_DATA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x03];
/// 1.2.840.113549.1.7.1
const DATA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// 1.2.840.113549.1.1.7
const RSAES_OAEP: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x07];
/// 1.2.840.113549.1.1.8
const MGF1: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08];
/// 2.16.840.1.101.3.4.2.1
const SHA256: &[u8] = &[0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
/// 2.16.840.1.101.3.4.1.42
const AES_256_CBC: &[u8] = &[0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a];
const NULL: &[u8] = &[0x05, 0x00];
const VERSION_2: &[u8] = &[INTEGER, 1, 2];

/// How the content is written: both forms were seen from KMS.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnvelopeShape {
    content: ContentForm,
    #[serde(default = "default_chunk_bytes")]
    chunk_bytes: usize,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum ContentForm {
    /// Pieces in OCTET STRINGs, as it is today.
    Constructed,
    /// One piece, as in older captures.
    Primitive,
}

fn default_chunk_bytes() -> usize {
    DEFAULT_CHUNK_BYTES
}

impl Default for EnvelopeShape {
    fn default() -> Self {
        Self { content: ContentForm::Constructed, chunk_bytes: DEFAULT_CHUNK_BYTES }
    }
}

impl EnvelopeShape {
    pub(crate) fn is_possible(self) -> bool {
        self.chunk_bytes > 0
    }
}

/// The public key of the recipient is not an RSA key of 2,048 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidRecipientKey;

impl fmt::Display for InvalidRecipientKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the public key is not an RSA key of {RSA_BITS} bits in SubjectPublicKeyInfo form")
    }
}

impl std::error::Error for InvalidRecipientKey {}

/// The one who can open envelopes.
#[derive(Debug)]
pub(crate) struct RecipientKey {
    key: OaepPublicEncryptingKey,
    subject_key_identifier: [u8; 32],
}

impl RecipientKey {
    /// # Errors
    ///
    /// When the bytes are anything but the key's SubjectPublicKeyInfo in DER.
    pub(crate) fn from_spki(spki_der: &[u8]) -> Result<Self, InvalidRecipientKey> {
        let key = PublicEncryptingKey::from_der(spki_der).map_err(|_| InvalidRecipientKey)?;
        // The parser minds neither bytes that follow nor other spellings, which would be another identifier.
        let spelling = AsDer::<PublicKeyX509Der<'_>>::as_der(&key).map_err(|_| InvalidRecipientKey)?;
        if key.key_size_bits() != RSA_BITS || spelling.as_ref() != spki_der {
            return Err(InvalidRecipientKey);
        }
        let key = OaepPublicEncryptingKey::new(key).map_err(|_| InvalidRecipientKey)?;
        Ok(Self { key, subject_key_identifier: Sha256::digest(spki_der).into() })
    }

    /// Seals a plaintext for the recipient.
    pub(crate) fn seal(&self, plaintext: &[u8], shape: EnvelopeShape) -> Vec<u8> {
        let content_key: [u8; AES_KEY_BYTES] = rand::random();
        let mut wrapped = vec![0; self.key.ciphertext_size()];
        self.key
            .encrypt(&OAEP_SHA256_MGF1SHA256, &content_key, &mut wrapped, None)
            .expect("32 bytes fit a key of 2,048 bits");
        let iv: [u8; IV_BYTES] = rand::random();
        let cipher = UnboundCipherKey::new(&AES_256, &content_key).expect("the length is that of AES-256");
        let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(cipher).expect("AES has a block size");
        let mut content = plaintext.to_vec();
        cipher
            .less_safe_encrypt(&mut content, EncryptionContext::Iv128(FixedLength::from(iv)))
            .expect("CBC takes any plaintext with an initialisation vector of 16 bytes");

        let recipient = definite(
            SEQUENCE,
            &[
                VERSION_2,
                &definite(CONTEXT_0, &[&self.subject_key_identifier]),
                &oaep(),
                &definite(OCTET_STRING, &[&wrapped]),
            ],
        );
        let algorithm = definite(SEQUENCE, &[AES_256_CBC, &definite(OCTET_STRING, &[&iv])]);
        let content = indefinite(SEQUENCE, &[DATA, &algorithm, &content_field(&content, shape)]);
        let enveloped = indefinite(SEQUENCE, &[VERSION_2, &definite(SET, &[&recipient]), &content]);
        indefinite(SEQUENCE, &[ENVELOPED_DATA, &indefinite(CONTEXT_0_CONSTRUCTED, &[&enveloped])])
    }
}

fn oaep() -> Vec<u8> {
    let sha256 = definite(SEQUENCE, &[SHA256, NULL]);
    let mgf1 = definite(SEQUENCE, &[MGF1, &sha256]);
    let parameters = definite(
        SEQUENCE,
        &[&definite(CONTEXT_0_CONSTRUCTED, &[&sha256]), &definite(CONTEXT_1_CONSTRUCTED, &[&mgf1])],
    );
    definite(SEQUENCE, &[RSAES_OAEP, &parameters])
}

fn content_field(content: &[u8], shape: EnvelopeShape) -> Vec<u8> {
    match shape.content {
        ContentForm::Primitive => definite(CONTEXT_0, &[content]),
        ContentForm::Constructed => {
            let chunks = content.chunks(shape.chunk_bytes.max(1));
            let chunks: Vec<u8> = chunks.flat_map(|chunk| definite(OCTET_STRING, &[chunk])).collect();
            indefinite(CONTEXT_0_CONSTRUCTED, &[&chunks])
        }
    }
}

/// A value after its length.
fn definite(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let value = parts.concat();
    let mut bytes = vec![tag];
    match u8::try_from(value.len()) {
        Ok(length @ 0..=127) => bytes.push(length),
        _ => {
            let length = value.len().to_be_bytes();
            let significant = &length[length.iter().take_while(|&&byte| byte == 0).count()..];
            bytes.push(0x80 | u8::try_from(significant.len()).expect("a length has at most eight bytes"));
            bytes.extend(significant);
        }
    }
    bytes.extend(value);
    bytes
}

/// A value that ends with two zero bytes.
fn indefinite(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    [&[tag, INDEFINITE], parts.concat().as_slice(), &END_OF_CONTENTS].concat()
}

#[cfg(test)]
mod tests;
