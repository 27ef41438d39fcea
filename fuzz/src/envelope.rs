//! Envelopes as KMS makes them: another reader of their shape, and what must open.

pub mod draft;

use std::sync::LazyLock;

use aes::Aes256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bcder::decode::{Constructed, DecodeError, SliceSource, Source};
use bcder::{Mode, Tag};
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockModeDecrypt as _, KeyIvInit as _};

/// Each byte of a wrapped key.
const CONTENT_KEY_BYTE: u8 = 7;

/// Under how many others a chunk of content can be.
const MAX_CHUNK_DEPTH: usize = 5;

const OCTET_STRING: Tag = Tag::OCTET_STRING;

/// The recipient's private key, PKCS #8, of the published envelope that KMS made.
pub static PRIVATE_KEY: LazyLock<Vec<u8>> =
    LazyLock::new(|| decode(include_str!("../../enclave-runtime/tests/data/kms-recipient-key.pkcs8.b64")));

/// SHA-256 of the recipient's public key, as `openssl pkey -pubout -outform DER | sha256sum` tells it.
pub const RECIPIENT: [u8; 32] =
    *b"\xfb\x09\xe9\xaf\x29\x40\xdd\xcf\x0d\x2b\xbf\x63\x58\xc9\x83\xaf\x46\xfc\x5f\xdc\xed\xbc\xa2\x51\xd5\x4c\xea\xb4\xd0\x69\xcd\x89";

/// Content keys under the recipient's key, by `openssl pkeyutl -encrypt`: the first as it should be, and each other
/// wrong in what its name says. RSA is too slow to repeat for each input.
static WRAPPED_KEYS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let lines = include_str!("envelope/wrapped_keys.txt").lines();
    lines.map(|line| decode(line.split_once(' ').expect("a name").1)).collect()
});

fn decode(base64: &str) -> Vec<u8> {
    STANDARD.decode(base64.split_whitespace().collect::<String>()).expect("base64")
}

/// An envelope, taken apart.
#[derive(Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in the product's")]
pub struct Parts {
    pub recipient: Vec<u8>,
    pub wrapped_key: Vec<u8>,
    pub iv: Vec<u8>,
    pub content: Vec<u8>,
}

/// The parts of an envelope.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<Parts> {
    if bytes.len() > 6144 {
        return None;
    }
    let mut source = SliceSource::new(bytes);
    let parts = Mode::Ber
        .decode(&mut source, |cons| {
            cons.take_sequence(|cons| {
                oid(cons, "1.2.840.113549.1.7.3")?;
                cons.take_constructed_if(Tag::CTX_0, |cons| cons.take_sequence(enveloped_data))
            })
        })
        .ok()?;
    if !source.slice().is_empty() {
        return None;
    }
    let fits = parts.recipient.len() == 32 && parts.wrapped_key.len() == 256 && parts.iv.len() == 16;
    (fits && !parts.content.is_empty() && parts.content.len() % 16 == 0).then_some(parts)
}

/// Whether some length in it may be taken for that of a marked end, which X.690 has as two octets, and bcder in any
/// spelling of zero.
#[must_use]
pub fn may_have_long_end(bytes: &[u8]) -> bool {
    bytes.windows(3).any(|window| window[0] == 0 && (0x81..=0x84).contains(&window[1]) && window[2] == 0)
}

type Read<T, S> = Result<T, DecodeError<<S as Source>::Error>>;

fn enveloped_data<S: Source>(cons: &mut Constructed<'_, S>) -> Read<Parts, S> {
    exactly(cons, Tag::INTEGER, &[2])?;
    let (recipient, wrapped_key) = cons.take_set(|cons| {
        cons.take_sequence(|cons| {
            exactly(cons, Tag::INTEGER, &[2])?;
            let recipient = primitive(cons, Tag::CTX_0)?;
            cons.take_sequence(|cons| {
                oid(cons, "1.2.840.113549.1.1.7")?;
                cons.take_sequence(oaep)
            })?;
            Ok((recipient, primitive(cons, OCTET_STRING)?))
        })
    })?;
    let (iv, content) = cons.take_sequence(|cons| {
        oid(cons, "1.2.840.113549.1.7.1")?;
        let iv = cons.take_sequence(|cons| {
            oid(cons, "2.16.840.1.101.3.4.1.42")?;
            primitive(cons, OCTET_STRING)
        })?;
        let content = cons.take_value_if(Tag::CTX_0, |content| match content {
            bcder::decode::Content::Primitive(content) => Ok(content.take_all()?.to_vec()),
            bcder::decode::Content::Constructed(content) => chunks(content, MAX_CHUNK_DEPTH),
        })?;
        Ok((iv, content))
    })?;
    Ok(Parts { recipient, wrapped_key, iv, content })
}

fn oaep<S: Source>(cons: &mut Constructed<'_, S>) -> Read<(), S> {
    cons.take_constructed_if(Tag::CTX_0, hash)?;
    cons.take_constructed_if(Tag::CTX_1, |cons| {
        cons.take_sequence(|cons| {
            oid(cons, "1.2.840.113549.1.1.8")?;
            hash(cons)
        })
    })?;
    cons.take_opt_constructed_if(Tag::CTX_2, |cons| {
        cons.take_sequence(|cons| {
            oid(cons, "1.2.840.113549.1.1.9")?;
            exactly(cons, OCTET_STRING, b"")
        })
    })?;
    Ok(())
}

fn hash<S: Source>(cons: &mut Constructed<'_, S>) -> Read<(), S> {
    cons.take_sequence(|cons| {
        oid(cons, "2.16.840.1.101.3.4.2.1")?;
        cons.take_opt_null()
    })
}

fn chunks<S: Source>(cons: &mut Constructed<'_, S>, depth_left: usize) -> Read<Vec<u8>, S> {
    let mut whole = Vec::new();
    while let Some(chunk) = cons.take_opt_value_if(OCTET_STRING, |content| match content {
        bcder::decode::Content::Primitive(content) => Ok(content.take_all()?.to_vec()),
        bcder::decode::Content::Constructed(content) => match depth_left.checked_sub(1) {
            Some(depth_left) => chunks(content, depth_left),
            None => Err(content.content_err("too deep")),
        },
    })? {
        whole.extend(chunk);
    }
    Ok(whole)
}

fn primitive<S: Source>(cons: &mut Constructed<'_, S>, tag: Tag) -> Read<Vec<u8>, S> {
    cons.take_primitive_if(tag, |contents| Ok(contents.take_all()?.to_vec()))
}

fn exactly<S: Source>(cons: &mut Constructed<'_, S>, tag: Tag, expected: &[u8]) -> Read<(), S> {
    match primitive(cons, tag)? == expected {
        true => Ok(()),
        false => Err(cons.content_err("another value")),
    }
}

fn oid<S: Source>(cons: &mut Constructed<'_, S>, expected: &str) -> Read<(), S> {
    match bcder::Oid::take_from(cons)?.to_string() == expected {
        true => Ok(()),
        false => Err(cons.content_err("another object")),
    }
}

/// The plaintext of an envelope with one of the known wrapped keys or a changed one, if it has to open.
#[must_use]
pub fn open(bytes: &[u8]) -> Option<Vec<u8>> {
    let Parts { recipient, wrapped_key, iv, mut content } = read(bytes)?;
    if recipient != RECIPIENT || wrapped_key != WRAPPED_KEYS[0] {
        return None;
    }
    cbc::Decryptor::<Aes256>::new_from_slices(&[CONTENT_KEY_BYTE; 32], &iv)
        .expect("the sizes of AES")
        .decrypt_padded::<NoPadding>(&mut content)
        .expect("whole blocks");
    let count = *content.last()?;
    let kept = content.len().checked_sub(usize::from(count))?;
    let padding = content.split_off(kept);
    ((1..=16).contains(&count) && padding.iter().all(|byte| *byte == count)).then_some(content)
}
