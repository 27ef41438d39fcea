//! The digest that is signed.

use sha2::{Digest as _, Sha256};

/// The 32 bytes that BIP-340 signs as its message. Public.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Reads 64 hex digits in either case, or the same after `0x`.
    #[must_use]
    pub fn from_text(text: &[u8]) -> Option<Self> {
        let digits = match text.len() {
            64 => text,
            66 => text.strip_prefix(b"0x")?,
            _ => return None,
        };
        let mut bytes = [0; 32];
        base16ct::mixed::decode(digits, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// The bytes themselves.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The value that a ticket's `digest_hash` must have: the SHA-256 of the bytes, in lower-case hex.
    pub(crate) fn hash_hex(&self) -> [u8; 64] {
        let mut hex = [0; 64];
        // Cannot fail: 32 bytes give 64 digits.
        let _ = base16ct::lower::encode(&Sha256::digest(self.0), &mut hex);
        hex
    }
}

#[cfg(test)]
mod tests {
    use super::Digest;

    #[test]
    fn reads_both_written_forms() {
        let plain = Digest::from_text(&[b'a'; 64]).unwrap();
        assert_eq!(plain.as_bytes(), &[0xAA; 32]);
        let mut prefixed = [b'A'; 66];
        prefixed[..2].copy_from_slice(b"0x");
        assert_eq!(Digest::from_text(&prefixed), Some(plain));
        prefixed[1] = b'X';
        assert_eq!(Digest::from_text(&prefixed), None);
    }

    #[test]
    fn refuses_every_byte_outside_the_alphabet() {
        for byte in 0..=u8::MAX {
            let mut text = [b'0'; 64];
            text[17] = byte;
            assert_eq!(Digest::from_text(&text).is_some(), byte.is_ascii_hexdigit(), "{byte}");
        }
        for length in [0, 63, 65, 66, 128] {
            assert_eq!(Digest::from_text(&vec![b'0'; length]), None, "{length}");
        }
    }

    /// SHA-256 of 32 zero bytes, from `head -c 32 /dev/zero | sha256sum`.
    #[test]
    fn hashes_the_bytes_and_not_the_text() {
        let digest = Digest::from_text(&[b'0'; 64]).unwrap();
        assert_eq!(&digest.hash_hex(), b"66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925");
    }
}
