//! The store of the ACME client: another reader of it, another AES-GCM, and a maker of good and changed ones.

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use arbitrary::Arbitrary;

use crate::bend::Bend;

/// The data key of everything sealed here.
pub const DATA_KEY: [u8; 32] = [7; 32];

const AAD: &[u8] = b"nitro-signer/certificate/v1";
const MAX_WRAPPED_BYTES: usize = 6144;
const MAX_STATE_BYTES: usize = 48 * 1024;

/// The content of the store, if its form is right.
#[derive(Arbitrary, Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as they are documented")]
pub struct State {
    pub directory: String,
    pub account_url: String,
    pub account_key: Vec<u8>,
    pub certificate: Option<Certificate>,
}

#[derive(Arbitrary, Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as they are documented")]
pub struct Certificate {
    pub obtained_unix_s: u64,
    pub names: Vec<String>,
    pub chain_pem: String,
    pub key: Vec<u8>,
}

impl State {
    /// Whether every part has a length that is allowed.
    #[must_use]
    pub fn is_within_limits(&self) -> bool {
        let fits = |length: usize, most: usize| 0 < length && length <= most;
        fits(self.directory.len(), 1024)
            && fits(self.account_url.len(), 1024)
            && fits(self.account_key.len(), 512)
            && self.certificate.as_ref().is_none_or(|it| {
                fits(it.names.len(), 16)
                    && it.names.iter().all(|name| fits(name.len(), 253))
                    && fits(it.chain_pem.len(), 32 * 1024)
                    && fits(it.key.len(), 512)
            })
    }

    /// The one way to write it. Lengths that do not fit are cut to their last bytes, as a wrong writer would.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut put = |count: usize, part: &[u8]| {
            bytes.extend(&part.len().to_be_bytes()[8 - count..]);
            bytes.extend(part);
        };
        put(2, self.directory.as_bytes());
        put(2, self.account_url.as_bytes());
        put(2, &self.account_key);
        let Some(certificate) = &self.certificate else {
            bytes.push(0);
            return bytes;
        };
        bytes.push(1);
        bytes.extend(certificate.obtained_unix_s.to_be_bytes());
        bytes.push(certificate.names.len().to_be_bytes()[7]);
        let mut put = |count: usize, part: &[u8]| {
            bytes.extend(&part.len().to_be_bytes()[8 - count..]);
            bytes.extend(part);
        };
        for name in &certificate.names {
            put(1, name.as_bytes());
        }
        put(2, certificate.chain_pem.as_bytes());
        put(2, &certificate.key);
        bytes
    }
}

/// The content of `bytes`: read as loosely as possible, and compared with its written form.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<State> {
    let mut rest = bytes.iter().copied();
    let mut part = |count: usize| {
        let length = (0..count).try_fold(0, |length, _| Some(length * 256 + usize::from(rest.next()?)))?;
        let part: Vec<u8> = rest.by_ref().take(length).collect();
        (part.len() == length).then_some(part)
    };
    let directory = String::from_utf8(part(2)?).ok()?;
    let account_url = String::from_utf8(part(2)?).ok()?;
    let account_key = part(2)?;
    let certificate = if rest.next()? == 0 {
        None
    } else {
        let obtained: Vec<u8> = rest.by_ref().take(8).collect();
        let obtained_unix_s = u64::from_be_bytes(obtained.try_into().ok()?);
        let count = rest.next()?;
        let mut part = |count: usize| {
            let length =
                (0..count).try_fold(0, |length, _| Some(length * 256 + usize::from(rest.next()?)))?;
            let part: Vec<u8> = rest.by_ref().take(length).collect();
            (part.len() == length).then_some(part)
        };
        let names = (0..count).map(|_| String::from_utf8(part(1)?).ok()).collect::<Option<_>>()?;
        let chain_pem = String::from_utf8(part(2)?).ok()?;
        Some(Certificate { obtained_unix_s, names, chain_pem, key: part(2)? })
    };
    let state = State { directory, account_url, account_key, certificate };
    let is_right = state.is_within_limits() && state.bytes() == bytes && bytes.len() <= MAX_STATE_BYTES;
    is_right.then_some(state)
}

/// The content of a sealed state: the wrapped data key, and the plaintext if it opens. `None` if it has another form.
#[must_use]
pub fn open(bytes: &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let length = usize::from(*bytes.get(1)?) * 256 + usize::from(*bytes.get(2)?);
    let wrapped = bytes.get(3..3 + length)?.to_vec();
    let nonce: [u8; 12] = bytes.get(3 + length..15 + length)?.try_into().ok()?;
    let sealed = bytes.get(15 + length..)?;
    let is_right = bytes[0] == 1
        && (1..=MAX_WRAPPED_BYTES).contains(&length)
        && (17..=MAX_STATE_BYTES + 16).contains(&sealed.len());
    if !is_right {
        return None;
    }
    let payload = Payload { msg: sealed, aad: AAD };
    Some((wrapped, cipher().decrypt(&Nonce::from(nonce), payload).ok()))
}

/// Nonce, ciphertext and tag.
#[must_use]
pub fn after_the_wrapped_key(bytes: &[u8]) -> Option<&[u8]> {
    let length = usize::from(*bytes.get(1)?) * 256 + usize::from(*bytes.get(2)?);
    bytes.get(3 + length..)
}

fn cipher() -> Aes256Gcm {
    Aes256Gcm::new(&Key::<Aes256Gcm>::from(DATA_KEY))
}

/// A sealed state in the making.
#[derive(Arbitrary, Debug)]
pub struct Draft<'a> {
    state: State,
    bends_inside: Vec<Bend<'a>>,
    wrapped: Vec<u8>,
    nonce: [u8; 12],
    bends: Vec<Bend<'a>>,
}

/// The result of a draft.
#[derive(Debug)]
pub struct Outcome {
    /// The sealed plaintext: a state, perhaps changed.
    pub plaintext: Vec<u8>,
    /// That, sealed.
    pub good: Vec<u8>,
    /// The sealed bytes, perhaps changed.
    pub bent: Vec<u8>,
}

impl Draft<'_> {
    /// Writes it down.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let mut plaintext = self.state.bytes();
        for bend in &self.bends_inside {
            bend.apply(&mut plaintext);
        }
        let payload = Payload { msg: &plaintext, aad: AAD };
        let sealed = cipher().encrypt(&Nonce::from(self.nonce), payload).expect("a short plaintext");
        let mut good = vec![1];
        good.extend(&self.wrapped.len().to_be_bytes()[6..]);
        good.extend(&self.wrapped);
        good.extend(self.nonce);
        good.extend(sealed);
        let mut bent = good.clone();
        for bend in &self.bends {
            bend.apply(&mut bent);
        }
        Outcome { plaintext, good, bent }
    }
}
