//! The content of an attestation document, from the tree of its items.

use std::collections::{BTreeMap, BTreeSet};

use attestation::Document;

use crate::cbor::{Item, byte_string};

/// The content of a document.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    module_id: String,
    timestamp_unix_ms: u64,
    pcrs: BTreeMap<u8, Vec<u8>>,
    certificate: Vec<u8>,
    cabundle: Vec<Vec<u8>>,
    /// Public key, user data and nonce.
    optional: [Option<Vec<u8>>; 3],
}

impl From<Document> for Said {
    fn from(document: Document) -> Self {
        Self {
            module_id: document.module_id,
            timestamp_unix_ms: document.timestamp_unix_ms,
            pcrs: document.pcrs.iter().map(|(index, value)| (index, value.to_vec())).collect(),
            certificate: document.certificate,
            cabundle: document.cabundle,
            optional: [document.public_key, document.user_data, document.nonce],
        }
    }
}

/// A document of `payload` and a signature of zeros.
#[must_use]
pub fn enclose(payload: &[u8]) -> Vec<u8> {
    spell(&[0xa1, 0x01, 0x38, 0x22], payload, &[0; 96])
}

/// The content of `document`, if it is well-formed.
#[must_use]
pub fn read(document: &[u8]) -> Option<Said> {
    if document.len() > 16384 {
        return None;
    }
    // Tags change no meaning, so the spelling has to be compared without the one that is allowed.
    let untagged = if document.first() == Some(&0xd2) { &document[1..] } else { document };
    let Item::Array(parts) = Item::read(untagged).ok()? else { return None };
    let [Item::Bytes(protected), Item::Map(unprotected), Item::Bytes(payload), Item::Bytes(signature)] =
        &parts[..]
    else {
        return None;
    };
    let is_sign1 = *protected == [0xa1, 0x01, 0x38, 0x22] && unprotected.is_empty() && signature.len() == 96;
    if !is_sign1 || spell(protected, payload, signature) != untagged {
        return None;
    }
    read_payload(payload)
}

fn spell(protected: &[u8], payload: &[u8], signature: &[u8]) -> Vec<u8> {
    [vec![0x84], byte_string(protected), vec![0xa0], byte_string(payload), byte_string(signature)].concat()
}

fn read_payload(payload: &[u8]) -> Option<Said> {
    let payload = Item::read(payload).ok()?;
    let Item::Map(pairs) = payload.untagged() else { return None };
    let mut fields = BTreeMap::new();
    for (key, value) in pairs {
        let Item::Text(name) = key.untagged() else { return None };
        if fields.insert(name.as_str(), value).is_some() {
            return None;
        }
    }
    let known: BTreeSet<&str> =
        "module_id digest timestamp pcrs certificate cabundle public_key user_data nonce"
            .split(' ')
            .collect();
    if !fields.keys().all(|name| known.contains(name)) {
        return None;
    }
    if *fields.get("digest")?.untagged() != Item::Text("SHA384".to_owned()) {
        return None;
    }
    let optional = |name: &str| match fields.get(name) {
        None | Some(Item::Null) => Some(None),
        Some(item) => bytes(item, 0, 1024).map(Some),
    };
    Some(Said {
        module_id: match fields.get("module_id")?.untagged() {
            Item::Text(text) if !text.is_empty() => text.clone(),
            _ => return None,
        },
        timestamp_unix_ms: match *fields.get("timestamp")?.untagged() {
            Item::Unsigned(time) if time > 0 => time,
            _ => return None,
        },
        pcrs: read_pcrs(fields.get("pcrs")?.untagged())?,
        certificate: bytes(fields.get("certificate")?, 1, 1024)?,
        cabundle: match fields.get("cabundle")?.untagged() {
            Item::Array(items) if (1..=7).contains(&items.len()) => {
                items.iter().map(|item| bytes(item, 1, 1024)).collect::<Option<_>>()?
            }
            _ => return None,
        },
        optional: [optional("public_key")?, optional("user_data")?, optional("nonce")?],
    })
}

fn read_pcrs(item: &Item) -> Option<BTreeMap<u8, Vec<u8>>> {
    let Item::Map(pairs) = item else { return None };
    let mut pcrs = BTreeMap::new();
    for (key, value) in pairs {
        let &Item::Unsigned(index @ 0..32) = key.untagged() else { return None };
        pcrs.insert(u8::try_from(index).ok()?, bytes(value, 48, 48)?);
    }
    (!pcrs.is_empty() && pcrs.len() == pairs.len()).then_some(pcrs)
}

fn bytes(item: &Item, min: usize, max: usize) -> Option<Vec<u8>> {
    match item.untagged() {
        Item::Bytes(bytes) if (min..=max).contains(&bytes.len()) => Some(bytes.clone()),
        _ => None,
    }
}
