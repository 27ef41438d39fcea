//! Which key a request is about.

/// A key's name: a UUID's sixteen bytes (RFC 9562). Upper and lower case name the same key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdentityId([u8; 16]);

const HYPHENS: [usize; 4] = [8, 13, 18, 23];

impl IdentityId {
    /// Reads `8-4-4-4-12` hex of version 1–8 and variant 8–b in either case, the nil UUID, or the max UUID in lower
    /// case. Nothing else.
    #[must_use]
    pub fn from_text(text: &[u8]) -> Option<Self> {
        let text: &[u8; 36] = text.try_into().ok()?;
        let mut digits = [0; 32];
        let mut filled = digits.iter_mut();
        for (position, byte) in text.iter().enumerate() {
            if HYPHENS.contains(&position) {
                if *byte != b'-' {
                    return None;
                }
            } else {
                *filled.next()? = *byte;
            }
        }
        let mut bytes = [0; 16];
        base16ct::mixed::decode(digits, &mut bytes).ok()?;
        let version_is_known = (1..=8).contains(&(bytes[6] >> 4));
        let variant_is_known = bytes[8] >> 6 == 0b10;
        let special = bytes == [0; 16] || text == b"ffffffff-ffff-ffff-ffff-ffffffffffff";
        (special || version_is_known && variant_is_known).then_some(Self(bytes))
    }

    /// The sixteen bytes, in the order they are written.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::IdentityId;

    #[test]
    fn accepts_what_the_contract_lists() {
        for text in [
            "9b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e9f",
            "9B2F0C1E-58F4-1F0C-9D3E-0A5B6C7D8E9F",
            "9b2f0C1e-58f4-8f0c-Bd3e-0a5b6c7d8e9f",
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
        ] {
            assert!(IdentityId::from_text(text.as_bytes()).is_some(), "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "9b2f0c1e-58f4-0f0c-8d3e-0a5b6c7d8e9f",
            "9b2f0c1e-58f4-9f0c-8d3e-0a5b6c7d8e9f",
            "9b2f0c1e-58f4-4f0c-7d3e-0a5b6c7d8e9f",
            "9b2f0c1e-58f4-4f0c-cd3e-0a5b6c7d8e9f",
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
            "{9b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e9f}",
            "urn:uuid:9b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e9f",
            " 9b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e9f",
            "9b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e9f\n",
            "9b2f0c1e58f44f0c8d3e0a5b6c7d8e9f",
            "9b2f0c1e+58f4-4f0c-8d3e-0a5b6c7d8e9f",
            "+b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e9f",
            "9b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e9g",
        ] {
            assert!(IdentityId::from_text(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn case_names_no_other_key() {
        let lower = IdentityId::from_text(b"9b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e9f");
        assert_eq!(lower, IdentityId::from_text(b"9B2F0C1E-58F4-4F0C-8D3E-0A5B6C7D8E9F"));
    }
}
