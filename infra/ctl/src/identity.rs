//! The identity whose key a request uses.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::rand;
use enclave_core::IdentityId;

/// A key's name, read as the signer reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity(IdentityId);

/// A text is no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidIdentity;

impl fmt::Display for InvalidIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not a UUID as the signer takes it, such as 9b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e9f")
    }
}

impl std::error::Error for InvalidIdentity {}

impl Identity {
    /// A new one: a UUID of version 4 (RFC 9562 §5.4).
    ///
    /// # Panics
    /// Never: aws-lc ends the process where there is no randomness, and version and variant are known ones.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        rand::fill(&mut bytes).expect("aws-lc has randomness, or ends the process");
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        text_of(&bytes).parse().expect("version 4 is known")
    }

    /// The sixteen bytes, in the order they are written.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&text_of(self.as_bytes()))
    }
}

impl FromStr for Identity {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        IdentityId::from_text(text.as_bytes()).map(Self).ok_or(InvalidIdentity)
    }
}

fn text_of(bytes: &[u8; 16]) -> String {
    let hex = base16ct::lower::encode_string(bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::{Identity, InvalidIdentity};

    #[test]
    fn an_identity_prints_what_it_is_read_from() {
        let text = "9b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e9f";
        for spelling in [text, &text.to_uppercase()] {
            assert_eq!(spelling.parse::<Identity>().map(|it| it.to_string()).as_deref(), Ok(text));
        }
        for special in ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"] {
            assert_eq!(special.parse::<Identity>().map(|it| it.to_string()).as_deref(), Ok(special));
        }
        for wrong in ["", "9b2f0c1e", "{9b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e9f}", &format!("{text}\n")] {
            assert_eq!(wrong.parse::<Identity>(), Err(InvalidIdentity), "{wrong:?}");
        }
    }

    #[test]
    fn random_ones_are_uuids_of_version_4() {
        let (one, other) = (Identity::random(), Identity::random());
        assert_ne!(one, other);
        let text = one.to_string();
        assert_eq!(text.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&text.as_bytes()[19]), "{text}");
        assert_eq!(text.parse(), Ok(one));
    }
}
