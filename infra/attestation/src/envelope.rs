//! `COSE_Sign1` (RFC 9052 §4.2), in the one spelling that the module writes, with or without its tag.
//!
//! Read by hand and not with `serde_cbor`, which drops tags and takes any length for any number.

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};

use crate::refused::Refused;

/// Longest document: the module's response is at most 12,288 bytes, with the document inside.
pub const MAX_DOCUMENT_BYTES: usize = 16 * 1024;

/// CBOR tag 18.
const SIGN1_TAG: u8 = 0xd2;

/// An array of four.
const ARRAY_OF_4: u8 = 0x84;

/// `{1: -35}`: the algorithm is ES384.
const PROTECTED: [u8; 4] = [0xa1, 0x01, 0x38, 0x22];

/// An empty map, the unprotected header.
const EMPTY_MAP: u8 = 0xa0;

/// r and s.
const SIGNATURE_BYTES: usize = 96;

/// `["Signature1", protected, h'', …`, which the payload follows.
const SIGNED_PREFIX: &[u8] = b"\x84\x6aSignature1\x44\xa1\x01\x38\x22\x40";

/// The parts of a document, as they came.
pub(crate) struct Envelope<'d> {
    pub(crate) payload: &'d [u8],
    signature: &'d [u8],
}

impl<'d> Envelope<'d> {
    pub(crate) fn read(document: &'d [u8]) -> Result<Self, Refused> {
        if document.len() > MAX_DOCUMENT_BYTES {
            return Err(Refused::TooLarge);
        }
        let untagged = document.strip_prefix(&[SIGN1_TAG]).unwrap_or(document);
        let rest = untagged.strip_prefix(&[ARRAY_OF_4]).ok_or(Refused::MalformedEnvelope)?;
        let (protected, rest) = byte_string(rest).ok_or(Refused::MalformedEnvelope)?;
        if protected != PROTECTED {
            return Err(Refused::WrongAlgorithm);
        }
        let rest = rest.strip_prefix(&[EMPTY_MAP]).ok_or(Refused::MalformedEnvelope)?;
        let (payload, rest) = byte_string(rest).ok_or(Refused::MalformedEnvelope)?;
        match byte_string(rest) {
            Some((signature, [])) if signature.len() == SIGNATURE_BYTES => Ok(Self { payload, signature }),
            _ => Err(Refused::MalformedEnvelope),
        }
    }

    /// Verifies the signature with a point of P-384.
    pub(crate) fn verify(&self, public_key: &[u8]) -> Result<(), Refused> {
        let mut signed = SIGNED_PREFIX.to_vec();
        // The payload with the length before it: its shortest spelling, which is the only one that `read` takes.
        match u16::try_from(self.payload.len()).map(u16::to_be_bytes) {
            Ok([0, short @ 0..=0x17]) => signed.push(0x40 | short),
            Ok([0, length @ 0x18..=0xff]) => signed.extend_from_slice(&[0x58, length]),
            Ok([high @ 1..=0xff, low]) => signed.extend_from_slice(&[0x59, high, low]),
            Err(_) => return Err(Refused::TooLarge),
        }
        signed.extend_from_slice(self.payload);
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, public_key)
            .verify(&signed, self.signature)
            .map_err(|_| Refused::BadSignature)
    }
}

/// Splits off a byte string of definite length, whose length has its shortest spelling.
fn byte_string(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match *input {
        [short @ 0x40..=0x57, ref rest @ ..] => (usize::from(short & 0x1f), rest),
        [0x58, length @ 0x18..=0xff, ref rest @ ..] => (usize::from(length), rest),
        [0x59, high @ 1..=0xff, low, ref rest @ ..] => (usize::from(u16::from_be_bytes([high, low])), rest),
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::byte_string;

    #[test]
    fn a_length_has_one_spelling() {
        for length in [0, 1, 23, 24, 255, 256, 1000] {
            let mut accepted = 0;
            let [.., high, low] = u32::try_from(length).unwrap().to_be_bytes();
            let heads: [&[u8]; 4] = [
                if length < 24 { &[0x40 | low] } else { &[] },
                if length < 256 { &[0x58, low] } else { &[] },
                &[0x59, high, low],
                &[0x5a, 0, 0, high, low],
            ];
            for head in heads.into_iter().filter(|head| !head.is_empty()) {
                let input = [head, &vec![7; length], b"rest"].concat();
                if let Some((content, rest)) = byte_string(&input) {
                    accepted += 1;
                    assert_eq!((content.len(), rest), (length, b"rest".as_slice()));
                    assert_eq!(
                        byte_string(&input[..head.len() + length - usize::from(length > 0)]).is_some(),
                        length == 0
                    );
                }
            }
            assert_eq!(accepted, 1, "{length}");
        }
        assert!(byte_string(b"\x5f\x41a\xff").is_none(), "of indefinite length");
        assert!(byte_string(b"\x61a").is_none(), "a text");
        assert!(byte_string(b"").is_none());
    }
}
