//! The answer of KMS to a caller that attests a public key: `CiphertextForRecipient`, in place of a plaintext.
//!
//! It is CMS (RFC 5652), of which KMS uses one shape, and no other is read:
//!
//! ```text
//! ContentInfo      { envelopedData, [0] EnvelopedData }
//! EnvelopedData    { 2, SET { KeyTransRecipientInfo }, EncryptedContentInfo }
//! KeyTrans…Info    { 2, [0] SHA-256 of the public key, rsaesOaep { [0] sha256, [1] mgf1 { sha256 } }, OCTET STRING }
//! EncryptedCont…   { data, aes256-CBC { IV }, [0] content }
//! ```
//!
//! Every length may be any that BER has. The content is one primitive `[0]`, or a constructed one of `OCTET STRING`s,
//! which may be constructed again down to [`MAX_DEPTH`]; every other string is primitive. The parameters of a hash are
//! NULL or absent (KMS writes NULL, OpenSSL nothing); an OAEP label may be there if it is the default, which is empty.
//!
//! Nothing in it authenticates the content: an attacker who changes it changes the plaintext. The TLS connection that
//! brings it shows that KMS made it, and hides how long opening it takes.

mod ber;
#[cfg(test)]
mod draft;
#[cfg(test)]
mod tests;

use aws_lc_rs::cipher::{AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use zeroize::Zeroizing;

use ber::Reader;

/// The longest `CiphertextForRecipient` in the API reference of KMS.
const MAX_ENVELOPE_BYTES: usize = 6144;

/// The depth of the shape, for the name of mgf1's hash. So chunks of content may be in five others, as many as OpenSSL
/// accepts.
const MAX_DEPTH: usize = 10;

pub(crate) const IDENTIFIER_BYTES: usize = 32;
/// The modulus of RSA-2048.
pub(crate) const WRAPPED_KEY_BYTES: usize = 256;
pub(crate) const CONTENT_KEY_BYTES: usize = 32;
const BLOCK_BYTES: usize = 16;

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const NULL: u8 = 0x05;
const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTET_STRING_OF_CHUNKS: u8 = 0x24;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0]` instead of the OCTET STRING's own tag.
const CONTEXT_0_PRIMITIVE: u8 = 0x80;
const CONTEXT_0: u8 = 0xa0;
const CONTEXT_1: u8 = 0xa1;
const CONTEXT_2: u8 = 0xa2;

/// Both versions in the shape: that of a recipient named by its key.
const VERSION: &[u8] = &[2];

/// 1.2.840.113549.1.7.1
const DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";
/// 1.2.840.113549.1.7.3
const ENVELOPED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03";
/// 1.2.840.113549.1.1.7
const RSAES_OAEP: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07";
/// 1.2.840.113549.1.1.8
const MGF1: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08";
/// 1.2.840.113549.1.1.9
const P_SPECIFIED: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x09";
/// 2.16.840.1.101.3.4.2.1
const SHA_256: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x01";
/// 2.16.840.1.101.3.4.1.42
const AES_256_CBC: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x01\x2a";

/// An envelope gave no plaintext. The reason is not told: between a wrong padding and a wrong key, it would be a hint
/// at the plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnvelopeNotOpened;

impl std::fmt::Display for EnvelopeNotOpened {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the envelope cannot be opened")
    }
}

impl std::error::Error for EnvelopeNotOpened {}

/// A `CiphertextForRecipient`, taken apart. Nothing in it is secret.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// The name of the key it is for.
    pub recipient: &'a [u8; IDENTIFIER_BYTES],
    /// The content's key under the recipient's.
    pub wrapped_key: &'a [u8; WRAPPED_KEY_BYTES],
    /// The content's initialisation vector.
    pub iv: &'a [u8; BLOCK_BYTES],
    /// The ciphertext: one or more whole blocks.
    pub content: Vec<u8>,
}

impl<'a> Envelope<'a> {
    /// Takes apart what has the shape above, and is not longer than KMS's are.
    ///
    /// # Errors
    /// [`EnvelopeNotOpened`]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EnvelopeNotOpened> {
        if bytes.len() > MAX_ENVELOPE_BYTES {
            return Err(EnvelopeNotOpened);
        }
        content_info(bytes).ok_or(EnvelopeNotOpened)
    }

    /// The plaintext. Its padding is that of PKCS #7 to the last byte, or there is none.
    pub(crate) fn decrypt(self, content_key: &[u8; CONTENT_KEY_BYTES]) -> Option<Zeroizing<Vec<u8>>> {
        let key = UnboundCipherKey::new(&AES_256, content_key).ok()?;
        let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?;
        let mut content = Zeroizing::new(self.content);
        let length = key.decrypt(&mut content, DecryptionContext::Iv128(self.iv.into())).ok()?.len();
        content.truncate(length);
        Some(content)
    }
}

fn content_info(bytes: &[u8]) -> Option<Envelope<'_>> {
    let mut reader = Reader::new(bytes, MAX_DEPTH);
    let envelope = reader.constructed(SEQUENCE, |reader| {
        exactly(reader, OBJECT_IDENTIFIER, ENVELOPED_DATA)?;
        reader.constructed(CONTEXT_0, |reader| reader.constructed(SEQUENCE, enveloped_data))
    })?;
    reader.end()?;
    Some(envelope)
}

fn enveloped_data<'a>(reader: &mut Reader<'a>) -> Option<Envelope<'a>> {
    exactly(reader, INTEGER, VERSION)?;
    let (recipient, wrapped_key) =
        reader.constructed(SET, |reader| reader.constructed(SEQUENCE, recipient_info))?;
    let (iv, content) = reader.constructed(SEQUENCE, encrypted_content_info)?;
    Some(Envelope { recipient, wrapped_key, iv, content })
}

fn recipient_info<'a>(
    reader: &mut Reader<'a>,
) -> Option<(&'a [u8; IDENTIFIER_BYTES], &'a [u8; WRAPPED_KEY_BYTES])> {
    exactly(reader, INTEGER, VERSION)?;
    let recipient = reader.primitive(CONTEXT_0_PRIMITIVE)?.try_into().ok()?;
    reader.constructed(SEQUENCE, |reader| {
        exactly(reader, OBJECT_IDENTIFIER, RSAES_OAEP)?;
        reader.constructed(SEQUENCE, oaep_parameters)
    })?;
    let wrapped_key = reader.primitive(OCTET_STRING)?.try_into().ok()?;
    Some((recipient, wrapped_key))
}

fn oaep_parameters(reader: &mut Reader<'_>) -> Option<()> {
    reader.constructed(CONTEXT_0, sha_256)?;
    reader.constructed(CONTEXT_1, |reader| {
        reader.constructed(SEQUENCE, |reader| {
            exactly(reader, OBJECT_IDENTIFIER, MGF1)?;
            sha_256(reader)
        })
    })?;
    if !reader.next_is(CONTEXT_2) {
        return Some(());
    }
    reader.constructed(CONTEXT_2, |reader| {
        reader.constructed(SEQUENCE, |reader| {
            exactly(reader, OBJECT_IDENTIFIER, P_SPECIFIED)?;
            exactly(reader, OCTET_STRING, b"")
        })
    })
}

fn sha_256(reader: &mut Reader<'_>) -> Option<()> {
    reader.constructed(SEQUENCE, |reader| {
        exactly(reader, OBJECT_IDENTIFIER, SHA_256)?;
        if reader.next_is(NULL) { exactly(reader, NULL, b"") } else { Some(()) }
    })
}

fn encrypted_content_info<'a>(reader: &mut Reader<'a>) -> Option<(&'a [u8; BLOCK_BYTES], Vec<u8>)> {
    exactly(reader, OBJECT_IDENTIFIER, DATA)?;
    let iv = reader.constructed(SEQUENCE, |reader| {
        exactly(reader, OBJECT_IDENTIFIER, AES_256_CBC)?;
        reader.primitive(OCTET_STRING)?.try_into().ok()
    })?;
    let content = if reader.next_is(CONTEXT_0_PRIMITIVE) {
        reader.primitive(CONTEXT_0_PRIMITIVE)?.to_vec()
    } else {
        let mut content = Vec::new();
        reader.constructed(CONTEXT_0, |reader| chunks(reader, &mut content))?;
        content
    };
    (!content.is_empty() && content.len().is_multiple_of(BLOCK_BYTES)).then_some((iv, content))
}

/// Appends all chunks to `content`; those within others too, as deep as the reader goes.
fn chunks(reader: &mut Reader<'_>, content: &mut Vec<u8>) -> Option<()> {
    loop {
        if reader.next_is(OCTET_STRING) {
            content.extend_from_slice(reader.primitive(OCTET_STRING)?);
        } else if reader.next_is(OCTET_STRING_OF_CHUNKS) {
            reader.constructed(OCTET_STRING_OF_CHUNKS, |reader| chunks(reader, content))?;
        } else {
            return Some(());
        }
    }
}

fn exactly(reader: &mut Reader<'_>, tag: u8, contents: &[u8]) -> Option<()> {
    (reader.primitive(tag)? == contents).then_some(())
}
