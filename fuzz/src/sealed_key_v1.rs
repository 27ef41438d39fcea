//! Sealed keys of production: another reader of their text, another AES-GCM, and a maker of good and bent ones.

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use arbitrary::Arbitrary;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use enclave_runtime::NotOpened;

use crate::bend::Bend;

/// The data key of everything sealed here.
pub const DATA_KEY: [u8; 32] = [7; 32];

/// The identity that raw texts are for.
pub const IDENTITY: [u8; 16] = *b"\x9b\x2f\x0c\x1e\x58\xf4\x4f\x0c\x8d\x3e\x0a\x5b\x6c\x7d\x8e\x9f";

const MAX_WRAPPED_BYTES: usize = 6144;

/// The content of a text.
#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    /// After `ns1.`
    V1(V1),
    /// After `kms:`
    Legacy(Vec<u8>),
}

/// A sealed key, taken apart.
#[derive(Arbitrary, Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as they are documented")]
pub struct V1 {
    pub wrapped: Vec<u8>,
    pub nonce: [u8; 12],
    pub ciphertext: [u8; 32],
    pub tag: [u8; 16],
}

/// The content of `text`, if there is no other way to write it.
///
/// # Errors
/// [`NotOpened`]
pub fn read(text: &[u8]) -> Result<Content, NotOpened> {
    let content = match text.split_at_checked(4) {
        Some((b"ns1.", digits)) => URL_SAFE_NO_PAD.decode(digits).ok().and_then(v1).map(Content::V1),
        Some((b"kms:", digits)) => STANDARD
            .decode(digits)
            .ok()
            .filter(|ciphertext| (1..=MAX_WRAPPED_BYTES).contains(&ciphertext.len()))
            .map(Content::Legacy),
        _ => return Err(NotOpened::UnknownForm),
    };
    content.filter(|content| content.text().as_bytes() == text).ok_or(NotOpened::Damaged)
}

/// From the end, where all lengths are fixed.
fn v1(mut bytes: Vec<u8>) -> Option<V1> {
    let mut take_last = |count| Some(bytes.split_off(bytes.len().checked_sub(count)?));
    let tag = take_last(16)?.try_into().ok()?;
    let ciphertext = take_last(32)?.try_into().ok()?;
    let nonce = take_last(12)?.try_into().ok()?;
    let wrapped = bytes.get(3..)?.to_vec();
    let is_stated = bytes[0] == 1 && usize::from(bytes[1]) * 256 + usize::from(bytes[2]) == wrapped.len();
    let fits = (1..=MAX_WRAPPED_BYTES).contains(&wrapped.len());
    (is_stated && fits).then_some(V1 { wrapped, nonce, ciphertext, tag })
}

impl Content {
    /// The one way to write it.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::V1(v1) => {
                let length = u16::try_from(v1.wrapped.len()).unwrap_or(u16::MAX);
                v1.text(&Frame { version: 1, length, rest: Vec::new() })
            }
            Self::Legacy(ciphertext) => format!("kms:{}", STANDARD.encode(ciphertext)),
        }
    }
}

impl V1 {
    /// The key inside, if it was sealed for `identity`, and is one.
    #[must_use]
    pub fn open(&self, identity: &[u8; 16]) -> Option<[u8; 32]> {
        let (msg, aad) = ([&self.ciphertext[..], &self.tag].concat(), associated_data(identity));
        let key = cipher().decrypt(&Nonce::from(self.nonce), Payload { msg: &msg, aad: &aad }).ok()?;
        let key: [u8; 32] = key.try_into().ok()?;
        secp256k1::SecretKey::from_secret_bytes(key).is_ok().then_some(key)
    }

    fn text(&self, frame: &Frame) -> String {
        let mut bytes = vec![frame.version];
        bytes.extend(frame.length.to_be_bytes());
        bytes.extend(&self.wrapped);
        bytes.extend(self.nonce);
        bytes.extend(self.ciphertext);
        bytes.extend(self.tag);
        bytes.extend(&frame.rest);
        format!("ns1.{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

fn associated_data(identity: &[u8; 16]) -> Vec<u8> {
    let mut data = b"nitro-signer/sealed-key/v1".to_vec();
    data.push(0);
    data.extend(b"secp256k1");
    data.push(0);
    data.extend(identity);
    data
}

fn cipher() -> Aes256Gcm {
    Aes256Gcm::new(&Key::<Aes256Gcm>::from(DATA_KEY))
}

/// A text in the making.
#[derive(Arbitrary, Debug)]
pub struct Draft<'a> {
    identity: [u8; 16],
    form: Form<'a>,
    bends: Vec<Bend<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Form<'a> {
    Sealed {
        key: SealedKey,
        wrapped: Bytes<'a>,
        nonce: [u8; 12],
    },
    /// With what is not right around it, too.
    Framed {
        v1: V1,
        frame: Frame,
    },
    Legacy(Bytes<'a>),
}

#[derive(Arbitrary, Debug)]
enum SealedKey {
    Any([u8; 32]),
    /// Its last byte, above 128 from the curve's order down.
    Edge(u8),
}

#[derive(Arbitrary, Debug)]
enum Bytes<'a> {
    These(&'a [u8]),
    /// So many from or under the longest, of one value.
    Long(i8, u8),
}

#[derive(Arbitrary, Debug)]
struct Frame {
    version: u8,
    length: u16,
    rest: Vec<u8>,
}

/// The result of a draft.
#[derive(Debug)]
pub struct Outcome {
    /// As it was written.
    pub good: String,
    /// Its content, if it may be read.
    pub content: Option<Content>,
    /// The key inside, if it opens for the draft's identity.
    pub key: Option<[u8; 32]>,
    /// The text, perhaps changed.
    pub bent: Vec<u8>,
}

impl Draft<'_> {
    /// The identity that it is for. The version and variant of its UUID are right.
    #[must_use]
    pub fn identity(&self) -> [u8; 16] {
        let mut identity = self.identity;
        identity[6] = identity[6] & 0x0f | 0x40;
        identity[8] = identity[8] & 0x3f | 0x80;
        identity
    }

    /// Writes it down.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let (good, content, key) = match &self.form {
            Form::Sealed { key, wrapped, nonce } => {
                let (key, wrapped) = (key.bytes(), wrapped.bytes());
                let payload = Payload { msg: &key, aad: &associated_data(&self.identity()) };
                let sealed = cipher().encrypt(&Nonce::from(*nonce), payload).expect("a short plaintext");
                let (ciphertext, tag) = sealed.split_first_chunk().expect("32 bytes and a tag");
                let tag = tag.try_into().expect("16 bytes");
                let fits = (1..=MAX_WRAPPED_BYTES).contains(&wrapped.len());
                let content = Content::V1(V1 { wrapped, nonce: *nonce, ciphertext: *ciphertext, tag });
                let is_key = secp256k1::SecretKey::from_secret_bytes(key).is_ok();
                (content.text(), fits.then_some(content), (fits && is_key).then_some(key))
            }
            Form::Framed { v1, frame } => {
                let is_right = frame.version == 1
                    && usize::from(frame.length) == v1.wrapped.len()
                    && frame.rest.is_empty()
                    && (1..=MAX_WRAPPED_BYTES).contains(&v1.wrapped.len());
                let text = v1.text(frame);
                // Where it is not, the bytes may still be another sealed key's.
                let content =
                    if is_right { Some(Content::V1(v1.clone())) } else { read(text.as_bytes()).ok() };
                (text, content, None)
            }
            Form::Legacy(ciphertext) => {
                let content = Content::Legacy(ciphertext.bytes());
                let text = content.text();
                let fits = (1..=MAX_WRAPPED_BYTES).contains(&ciphertext.bytes().len());
                (text, fits.then_some(content), None)
            }
        };
        let mut bent = good.clone().into_bytes();
        for bend in &self.bends {
            bend.apply(&mut bent);
        }
        Outcome { good, content, key, bent }
    }
}

impl SealedKey {
    fn bytes(&self) -> [u8; 32] {
        match self {
            Self::Any(key) => *key,
            Self::Edge(near) => {
                let order = secp256k1::constants::CURVE_ORDER;
                let mut key = if *near < 128 { [0; 32] } else { order };
                key[31] = if *near < 128 { *near } else { order[31].wrapping_add(near.wrapping_sub(192)) };
                key
            }
        }
    }
}

impl Bytes<'_> {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::These(bytes) => bytes.to_vec(),
            Self::Long(more, value) => vec![*value; MAX_WRAPPED_BYTES.saturating_add_signed((*more).into())],
        }
    }
}
