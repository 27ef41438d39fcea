//! Makes envelopes in every spelling of BER, for tests to change.

use aws_lc_rs::cipher::{
    AES_256, DecryptionContext, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use sha2::{Digest as _, Sha256};

use super::{
    AES_256_CBC, BLOCK_BYTES, CONTEXT_0, CONTEXT_0_PRIMITIVE, CONTEXT_1, DATA, ENVELOPED_DATA, INTEGER, MGF1,
    NULL, OBJECT_IDENTIFIER, OCTET_STRING, OCTET_STRING_OF_CHUNKS, RSAES_OAEP, SEQUENCE, SET, SHA_256,
    WRAPPED_KEY_BYTES,
};
use crate::recipient::RecipientKey;

pub(super) const CONTENT_KEY: [u8; 32] = [0x6b; 32];

/// Where the parts of a [`tree`] are.
pub(super) const RECIPIENTS: &[usize] = &[1, 0, 1];
pub(super) const OAEP_PARAMETERS: &[usize] = &[1, 0, 1, 0, 2, 1];
pub(super) const WRAPPED_KEY: &[usize] = &[1, 0, 1, 0, 3];
pub(super) const IV: &[usize] = &[1, 0, 2, 1, 1];
pub(super) const CONTENT: &[usize] = &[1, 0, 2, 2];

#[derive(Clone, Debug)]
pub(super) enum Node {
    Primitive(u8, Vec<u8>),
    Constructed(u8, Vec<Node>),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Length {
    Shortest,
    /// In at least so many octets after the first.
    Long(usize),
    /// The shortest, where BER has no such length.
    Indefinite,
}

impl Node {
    /// The bytes, each length written as the next of `lengths` says, and the shortest way after the last.
    pub(super) fn encode(&self, lengths: &[Length]) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut lengths.iter().copied(), &mut out);
        out
    }

    pub(super) fn at(&mut self, path: &[usize]) -> &mut Node {
        path.iter().fold(self, |node, index| &mut node.children()[*index])
    }

    pub(super) fn children(&mut self) -> &mut Vec<Node> {
        match self {
            Self::Primitive(..) => panic!("a primitive element has no elements"),
            Self::Constructed(_, children) => children,
        }
    }

    /// The paths to all elements within.
    pub(super) fn paths(&self) -> Vec<Vec<usize>> {
        let Self::Constructed(_, children) = self else { return Vec::new() };
        let mut paths = Vec::new();
        for (index, child) in children.iter().enumerate() {
            paths.push(vec![index]);
            paths.extend(child.paths().iter().map(|path| [&[index], &path[..]].concat()));
        }
        paths
    }

    fn write(&self, lengths: &mut impl Iterator<Item = Length>, out: &mut Vec<u8>) {
        let length = lengths.next().unwrap_or(Length::Shortest);
        let (tag, contents) = match self {
            Self::Primitive(tag, contents) => (*tag, contents.clone()),
            Self::Constructed(tag, children) => {
                let mut contents = Vec::new();
                for child in children {
                    child.write(lengths, &mut contents);
                }
                (*tag, contents)
            }
        };
        out.push(tag);
        if let (Length::Indefinite, Self::Constructed(..)) = (length, self) {
            out.push(0x80);
            out.extend([&contents[..], &[0, 0]].concat());
            return;
        }
        let all_octets = contents.len().to_be_bytes();
        let needed = all_octets.len() - all_octets.iter().take_while(|octet| **octet == 0).count();
        let octets = match length {
            Length::Long(octets) => octets.max(needed),
            _ if contents.len() < 128 => 0,
            _ => needed,
        };
        if octets == 0 {
            out.push(u8::try_from(contents.len()).unwrap());
        } else {
            out.push(0x80 | u8::try_from(octets).unwrap());
            out.extend(&all_octets[all_octets.len() - octets..]);
        }
        out.extend(contents);
    }
}

/// An envelope of `content`, in one piece, that only lacks to be encoded.
pub(super) fn tree(key: &RecipientKey, plaintext: &[u8]) -> Node {
    let (iv, ciphertext) = encrypt(plaintext);
    sequence(vec![
        oid(ENVELOPED_DATA),
        Node::Constructed(
            CONTEXT_0,
            vec![sequence(vec![
                Node::Primitive(INTEGER, vec![2]),
                Node::Constructed(SET, vec![recipient(key)]),
                sequence(vec![
                    oid(DATA),
                    sequence(vec![oid(AES_256_CBC), Node::Primitive(OCTET_STRING, iv.to_vec())]),
                    Node::Primitive(CONTEXT_0_PRIMITIVE, ciphertext),
                ]),
            ])],
        ),
    ])
}

fn recipient(key: &RecipientKey) -> Node {
    sequence(vec![
        Node::Primitive(INTEGER, vec![2]),
        Node::Primitive(CONTEXT_0_PRIMITIVE, Sha256::digest(key.public_key_der()).to_vec()),
        sequence(vec![
            oid(RSAES_OAEP),
            sequence(vec![
                Node::Constructed(CONTEXT_0, vec![sha_256()]),
                Node::Constructed(CONTEXT_1, vec![sequence(vec![oid(MGF1), sha_256()])]),
            ]),
        ]),
        Node::Primitive(OCTET_STRING, wrap(key, &CONTENT_KEY)),
    ])
}

pub(super) fn sequence(children: Vec<Node>) -> Node {
    Node::Constructed(SEQUENCE, children)
}

pub(super) fn oid(contents: &[u8]) -> Node {
    Node::Primitive(OBJECT_IDENTIFIER, contents.to_vec())
}

fn sha_256() -> Node {
    sequence(vec![oid(SHA_256), Node::Primitive(NULL, Vec::new())])
}

/// `ciphertext` cut after each of `sizes`, in `depth` strings of chunks.
pub(super) fn chunked(ciphertext: &[u8], sizes: &[usize], depth: usize) -> Node {
    let mut rest = ciphertext;
    let mut chunks = Vec::new();
    for size in sizes {
        let (chunk, after) = rest.split_at(rest.len().min(*size));
        chunks.push(Node::Primitive(OCTET_STRING, chunk.to_vec()));
        rest = after;
    }
    chunks.push(Node::Primitive(OCTET_STRING, rest.to_vec()));
    for _ in 0..depth {
        chunks = vec![Node::Constructed(OCTET_STRING_OF_CHUNKS, chunks)];
    }
    Node::Constructed(CONTEXT_0, chunks)
}

pub(super) fn wrap(key: &RecipientKey, content_key: &[u8]) -> Vec<u8> {
    let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(key.public_key_der()).unwrap());
    let mut wrapped = [0; WRAPPED_KEY_BYTES];
    key.unwrap().encrypt(&OAEP_SHA256_MGF1SHA256, content_key, &mut wrapped, None).unwrap().to_vec()
}

/// The IV, and the ciphertext under [`CONTENT_KEY`].
pub(super) fn encrypt(plaintext: &[u8]) -> ([u8; BLOCK_BYTES], Vec<u8>) {
    const IV: [u8; BLOCK_BYTES] = [0x1e; BLOCK_BYTES];
    let key = UnboundCipherKey::new(&AES_256, &CONTENT_KEY).unwrap();
    let mut content = plaintext.to_vec();
    let iv = PaddedBlockEncryptingKey::cbc_pkcs7(key)
        .unwrap()
        .less_safe_encrypt(&mut content, EncryptionContext::Iv128(IV.into()))
        .unwrap();
    assert!(matches!(iv, DecryptionContext::Iv128(iv) if *iv.as_ref() == IV));
    (IV, content)
}
