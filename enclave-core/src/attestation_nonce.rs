//! The nonce that a verifier chose, in the two spellings that it may have in a query or a body.

use base64ct::{Base64UrlUnpadded, Encoding as _};

/// A nonce for an attestation document: 1 to [`AttestationNonce::MAX_BYTES`] bytes. Public.
#[derive(Clone, Copy)]
pub struct AttestationNonce {
    bytes: [u8; Self::MAX_BYTES],
    length: usize,
}

impl AttestationNonce {
    /// Longest nonce. AWS's documents say both 512 and 1024: the smaller is safe to send to an NSM.
    pub const MAX_BYTES: usize = 512;

    /// Reads hex or unpadded base64url; `None` for what is neither, empty or too long.
    ///
    /// An even number of hex digits, in either case, is hex, also where it is base64url at the same time: a client that
    /// sends base64url of 16 random bytes meets that once in 2^34 times, and then finds another nonce in its
    /// document; one that must never meet it sends hex. Everything else is base64url.
    #[must_use]
    pub fn from_text(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; Self::MAX_BYTES];
        let is_hex = text.len().is_multiple_of(2) && text.iter().all(u8::is_ascii_hexdigit);
        let length = if is_hex {
            base16ct::mixed::decode(text, &mut bytes).ok()?.len()
        } else {
            Base64UrlUnpadded::decode(text, &mut bytes).ok()?.len()
        };
        (length > 0).then_some(Self { bytes, length })
    }

    /// The bytes that the document is to hold.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl PartialEq for AttestationNonce {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for AttestationNonce {}

/// In hex.
impl core::fmt::Debug for AttestationNonce {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "AttestationNonce({:x})", base16ct::HexDisplay(self.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::AttestationNonce;

    fn read(text: &str) -> Option<Vec<u8>> {
        AttestationNonce::from_text(text.as_bytes()).map(|nonce| nonce.as_bytes().to_vec())
    }

    #[test]
    fn hex_and_base64url_are_read() {
        for (text, nonce) in [
            ("00", &[0][..]),
            ("dEAdbEef", &[0xde, 0xad, 0xbe, 0xef]),
            // The test vectors of RFC 4648 §10.
            ("Zg", b"f"),
            ("Zm8", b"fo"),
            ("Zm9v", b"foo"),
            ("Zm9vYmFy", b"foobar"),
            ("_-8", &[0xff, 0xef]),
            // Hex digits, but an odd number of them.
            ("abc", &[0x69, 0xb7]),
            // No hex digit is `x`.
            ("0x00", &[0xd3, 0x1d, 0x34]),
            // Both: hex.
            ("abcd", &[0xab, 0xcd]),
        ] {
            assert_eq!(read(text).as_deref(), Some(nonce), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "", "0", // Padded.
            "Zg==", "Zm8=", // Bits left over that are not zero.
            "Zh", "Zm9",   // A length that base64 does not have.
            "Zm9vY", // The other base64 alphabet.
            "+/8", "%5F-8", "00%30", " 00", "00 ", "00\n", "Zm9v\n", "Zm9v.", "00,11", "é", "０0", "00=",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn every_byte_outside_both_alphabets_is_refused() {
        for byte in 0..=u8::MAX {
            let known = byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            assert_eq!(AttestationNonce::from_text(&[b'0', byte, b'0', b'x']).is_some(), known, "{byte}");
        }
    }

    #[test]
    fn it_has_512_bytes_at_most() {
        // The fourth byte of each block of base64url is no hex digit.
        for (unit, bytes, most) in [("ab", 1, 512), ("abc_", 3, 170)] {
            assert_eq!(read(&unit.repeat(most)).unwrap().len(), bytes * most);
            assert_eq!(read(&unit.repeat(most + 1)), None, "{unit}");
        }
        // 512 bytes, and 513.
        assert_eq!(read(&format!("{}ab8", "abc_".repeat(170))).unwrap().len(), 512);
        assert_eq!(read(&"abc_".repeat(171)), None);
        assert_eq!(read(&"ab".repeat(16_000)), None);
    }
}
