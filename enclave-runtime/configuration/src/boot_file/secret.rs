//! A boot secret in plaintext, and the check that refuses weak secrets.

use std::fmt;

use zeroize::Zeroizing;

/// 96 bits of random base64. Password generators make longer values.
const MIN_SECRET_BYTES: usize = 16;

/// The longest unit of a repetition, such as `xxxx…`, `abcabc…` or `passwordpassword`.
const MAX_PERIOD_BYTES: usize = 8;

/// Values of examples. A random value of 16 bytes or more matches with a probability below 2^-24.
const PLACEHOLDERS: &[Placeholder] = &[
    // Common environment files and manuals, including `change-me-in-production`.
    Placeholder::Start("change-me"),
    Placeholder::Start("changeme"),
    Placeholder::Start("change-this"),
    Placeholder::Start("replace-me"),
    Placeholder::Start("replaceme"),
    Placeholder::Start("replace-with"),
    Placeholder::Start("your-"),
    Placeholder::Start("example"),
    Placeholder::Start("placeholder"),
    Placeholder::Start("xxxxxxxx"),
    // With digits and signs before, between or after: `password12345678`.
    Placeholder::Word("secret"),
    Placeholder::Word("password"),
    // Unfilled fields of templates. systemd expands no variables.
    Placeholder::Between("<", ">"),
    Placeholder::Between("{{", "}}"),
    Placeholder::Between("${", "}"),
    // The defaults of infra/dev-up.sh.
    Placeholder::Start("development-api-key"),
    Placeholder::Start("development-ticket-signing-secret"),
];

/// A pattern of placeholders. Letters are lower-case, and `-` also matches `_`, `.` and a blank.
enum Placeholder {
    /// The value begins with this text.
    Start(&'static str),
    /// The letters of the value are exactly these, in this order.
    Word(&'static str),
    /// The value begins and ends with these texts.
    Between(&'static str, &'static str),
}

impl Placeholder {
    fn fits(&self, secret: &[u8]) -> bool {
        match self {
            Self::Start(start) => secret.get(..start.len()).is_some_and(|head| is_like(head, start)),
            Self::Word(word) => {
                let letters = secret.iter().filter(|byte| byte.is_ascii_alphabetic());
                secret.is_ascii() && letters.map(u8::to_ascii_lowercase).eq(word.bytes())
            }
            Self::Between(start, end) => {
                secret.starts_with(start.as_bytes()) && secret.ends_with(end.as_bytes())
            }
        }
    }
}

/// Whether `bytes` equal `text`, ignoring case and the kind of separator.
fn is_like(bytes: &[u8], text: &str) -> bool {
    bytes.iter().zip(text.bytes()).all(|(byte, expected)| match byte {
        b'_' | b'.' | b' ' => expected == b'-',
        _ => byte.to_ascii_lowercase() == expected,
    })
}

/// Why a secret is refused. Names the variable, and reveals nothing of the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSecret {
    name: String,
    error: SecretError,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SecretError {
    Empty,
    Placeholder,
    TooShort,
    LineBreak,
}

impl fmt::Display for InvalidSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match self.error {
            SecretError::Empty => write!(formatter, "{name} is empty"),
            SecretError::Placeholder => write!(formatter, "{name} is a placeholder, not a secret"),
            SecretError::TooShort => write!(formatter, "{name} is shorter than {MIN_SECRET_BYTES} bytes"),
            SecretError::LineBreak => write!(formatter, "{name} ends in a line break"),
        }
    }
}

impl std::error::Error for InvalidSecret {}

/// Checks a boot secret from the boot file or from KMS. `name` is the name of its variable.
///
/// # Errors
/// [`InvalidSecret`]
pub fn check_secret(name: &str, secret: &[u8]) -> Result<(), InvalidSecret> {
    let error = if secret.is_empty() {
        SecretError::Empty
    } else if PLACEHOLDERS.iter().any(|placeholder| placeholder.fits(secret)) || is_repetition(secret) {
        SecretError::Placeholder
    } else if secret.ends_with(b"\n") || secret.ends_with(b"\r") {
        // `echo` adds a line break before encryption. The API sends the secret without it, and every request would be
        // refused.
        SecretError::LineBreak
    } else if secret.len() < MIN_SECRET_BYTES {
        SecretError::TooShort
    } else {
        return Ok(());
    };
    Err(InvalidSecret { name: name.to_owned(), error })
}

fn is_repetition(secret: &[u8]) -> bool {
    (1..=MAX_PERIOD_BYTES.min(secret.len() / 2))
        .any(|period| secret[period..] == secret[..secret.len() - period])
}

/// A boot secret in plaintext, wiped when dropped.
pub struct PlainSecret(Zeroizing<Vec<u8>>);

impl fmt::Debug for PlainSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PlainSecret").finish_non_exhaustive()
    }
}

impl PlainSecret {
    /// Wraps a secret that passes [`check_secret`].
    ///
    /// # Errors
    /// [`InvalidSecret`]
    pub fn new(name: &str, secret: Zeroizing<Vec<u8>>) -> Result<Self, InvalidSecret> {
        check_secret(name, &secret)?;
        Ok(Self(secret))
    }

    /// The bytes of the secret; keep the borrow short.
    #[must_use]
    pub fn secret_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::check_secret;

    fn line(secret: &[u8]) -> String {
        check_secret("INTERNAL_API_KEY", secret).unwrap_err().to_string()
    }

    #[test]
    fn refuses_placeholders() {
        for placeholder in [
            "change-me-in-production",
            "CHANGE_ME_IN_PRODUCTION",
            "Change me in production",
            "changeme",
            "change.me.0123456789abcdef",
            "changemechangeme1",
            "change-this-before-production",
            "replace-me",
            "REPLACE_ME_PLEASE_0123",
            "replaceme0123456789",
            "replace-with-32-random-bytes",
            "your-secret-here",
            "YOUR_INTERNAL_API_KEY",
            "<same-value-as-ENCLAVE_INTERNAL_API_KEY-in-Cloudflare>",
            "<secret>",
            "{{ internal_api_key }}",
            "${INTERNAL_API_KEY}",
            "example",
            "example-api-key-0123456789",
            "placeholder-placeholder",
            "secret",
            "password",
            "Password12345678!",
            "secret-0123456789",
            "passwordpassword",
            "secretsecretsecret",
            "xxxx",
            "XXXXXXXXXXXXXXXX",
            "xxxxxxxx-xxxx-xxxx-xxxx",
            "xxxx-xxxx-xxxx-xxxx",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "****************",
            "abcabcabcabcabcabcab",
            "1234567812345678",
            "development-api-key",
            "development-ticket-signing-secret",
            "Development_API_key",
        ] {
            assert_eq!(
                line(placeholder.as_bytes()),
                "INTERNAL_API_KEY is a placeholder, not a secret",
                "{placeholder}"
            );
        }
    }

    #[test]
    fn refuses_what_is_too_short_or_ends_in_a_line_break() {
        assert_eq!(line(b""), "INTERNAL_API_KEY is empty");
        assert_eq!(line(b"a"), "INTERNAL_API_KEY is shorter than 16 bytes");
        assert_eq!(line(b"kX2vQ9mT4bW7zL0"), "INTERNAL_API_KEY is shorter than 16 bytes");
        // The limit counts bytes, not characters.
        assert_eq!(check_secret("X", "äöüßéèêëàâîïôûçñ".as_bytes()), Ok(()));
        assert_eq!(line(b"kX2vQ9mT4bW7zL0a\n"), "INTERNAL_API_KEY ends in a line break");
        assert_eq!(line(b"kX2vQ9mT4bW7zL0a\r\n"), "INTERNAL_API_KEY ends in a line break");
    }

    #[test]
    fn takes_secrets_that_resemble_a_placeholder() {
        for secret in [
            "kX2vQ9mT4bW7zL0a",
            "0123456789abcdef",
            "yourselves-and-others-8121",
            "unchangeme-8121-aeb3",
            "my-secret-is-8121-aeb3-97fe",
            "secretary-8121-aeb3-97fe",
            "an-example-8121-aeb3-97fe",
            "xxxxxxx-8121-aeb3-97fe-",
            "<8121-aeb3-97fe-2210",
            "correct horse battery staple",
            "test-internal-api-key-1",
        ] {
            assert_eq!(check_secret("X", secret.as_bytes()), Ok(()), "{secret}");
        }
    }

    proptest! {
        #[test]
        fn takes_random_text(secret in "[0-9a-f]{32}|[A-Za-z0-9+/]{43}=|[A-Za-z0-9_-]{24}") {
            prop_assert_eq!(check_secret("X", secret.as_bytes()), Ok(()));
        }
    }
}
