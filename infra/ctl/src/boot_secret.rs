//! The secrets that an enclave gets from KMS when it starts, and the values that it accepts.

use std::fmt;
use std::str::FromStr;

use configuration::tls_pair::{InvalidPair, check_pair};
use configuration::{
    Configuration, INTERNAL_API_KEY, InvalidSecret, PREVIOUS_TICKET_SIGNING_SECRET, SecretSource, TlsMode,
    check_secret,
};
use rustls::pki_types::UnixTime;
use zeroize::Zeroizing;

use crate::api_key::{ApiKey, InvalidApiKey};

/// The longest plaintext that KMS encrypts (AWS KMS, `Encrypt`, `Plaintext`).
pub const MAX_SECRET_BYTES: usize = 4096;

/// A variable of the boot file, less `_CIPHERTEXT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretName {
    /// A key that clients present: `INTERNAL_API_KEY`, or the variable of another key.
    ApiKey(String),
    /// The secret that signs tickets.
    TicketSigningSecret,
    /// The private key of a TLS certificate, in PEM or DER.
    TlsKey,
}

/// Why a name is not that of a boot secret that is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidSecretName {
    /// It is the variable of no boot secret.
    Unknown,
    /// It is that of the previous ticket secret, which was sealed as the ticket secret.
    Previous,
}

impl fmt::Display for InvalidSecretName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Unknown => {
                "neither INTERNAL_API_KEY nor another variable of api_keys in nitro.toml, TICKET_SIGNING_SECRET nor TLS_KEY"
            }
            Self::Previous => {
                "the ciphertext of TICKET_SIGNING_SECRET under another name: copy the old ciphertext in the boot file, \
                 and seal nothing"
            }
        })
    }
}

impl std::error::Error for InvalidSecretName {}

impl FromStr for SecretName {
    type Err = InvalidSecretName;

    fn from_str(variable: &str) -> Result<Self, InvalidSecretName> {
        match variable {
            "TICKET_SIGNING_SECRET" => Ok(Self::TicketSigningSecret),
            "TLS_KEY" => Ok(Self::TlsKey),
            PREVIOUS_TICKET_SIGNING_SECRET => Err(InvalidSecretName::Previous),
            _ => match variable.strip_prefix(INTERNAL_API_KEY) {
                Some(rest) if rest.is_empty() || rest.starts_with('_') => {
                    Ok(Self::ApiKey(variable.to_owned()))
                }
                _ => Err(InvalidSecretName::Unknown),
            },
        }
    }
}

impl SecretName {
    /// As the boot file has it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::ApiKey(variable) => variable,
            Self::TicketSigningSecret => "TICKET_SIGNING_SECRET",
            Self::TlsKey => "TLS_KEY",
        }
    }

    /// The line of `nitro.toml` by which the signer asks for it from KMS.
    #[must_use]
    pub const fn setting(&self) -> &'static str {
        match self {
            Self::ApiKey(_) => "secrets.internal_api_key = \"kms\"",
            Self::TicketSigningSecret => "secrets.ticket_signing_secret = \"kms\"",
            Self::TlsKey => "tls.mode = \"provided\"",
        }
    }

    /// Whether a signer with this configuration asks for it from KMS. Another refuses its ciphertext.
    #[must_use]
    pub fn is_from_kms(&self, configuration: &Configuration) -> bool {
        let source = match self {
            Self::ApiKey(_) => configuration.secrets.internal_api_key,
            Self::TicketSigningSecret => configuration.secrets.ticket_signing_secret,
            Self::TlsKey => return matches!(configuration.tls, TlsMode::Provided),
        };
        source == SecretSource::Kms
    }

    /// Whether a signer with this configuration accepts the secret. Another refuses it.
    #[must_use]
    pub fn is_listed(&self, configuration: &Configuration) -> bool {
        match self {
            Self::ApiKey(variable) => configuration.api_keys.iter().any(|key| key.variable == *variable),
            Self::TicketSigningSecret | Self::TlsKey => true,
        }
    }

    /// Whether it is a text, and no bytes that may end in a line break.
    #[must_use]
    pub const fn is_text(&self) -> bool {
        !matches!(self, Self::TlsKey)
    }

    /// Checks what the signer will check of it first. `chain_pem` are the certificates of a TLS key: the server's
    /// first.
    ///
    /// # Errors
    /// [`UnsuitableSecret`]
    pub fn check(&self, secret: &[u8], chain_pem: Option<&[u8]>) -> Result<(), UnsuitableSecret> {
        if secret.len() > MAX_SECRET_BYTES {
            return Err(UnsuitableSecret::TooLong);
        }
        if *self == Self::TlsKey {
            let chain_pem = chain_pem.unwrap_or_default();
            let checked = check_pair(chain_pem, secret, UnixTime::now());
            return checked.map(|_| ()).map_err(UnsuitableSecret::Pair);
        }
        check_secret(self.as_str(), secret).map_err(UnsuitableSecret::Secret)?;
        match self {
            Self::ApiKey(_) => {
                ApiKey::new(Zeroizing::new(secret.to_vec())).map(|_| ()).map_err(UnsuitableSecret::ApiKey)
            }
            Self::TicketSigningSecret | Self::TlsKey => Ok(()),
        }
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Why the signer would not start with a secret. Repeats nothing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnsuitableSecret {
    /// Longer than KMS encrypts.
    TooLong,
    /// It protects nothing.
    Secret(InvalidSecret),
    /// No client could present it.
    ApiKey(InvalidApiKey),
    /// TLS is not served with it.
    Pair(InvalidPair),
}

impl fmt::Display for UnsuitableSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(formatter, "longer than the {MAX_SECRET_BYTES} bytes that KMS encrypts"),
            Self::Secret(error) => error.fmt(formatter),
            Self::ApiKey(error) => error.fmt(formatter),
            Self::Pair(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for UnsuitableSecret {}

#[cfg(test)]
mod tests {
    use super::{InvalidSecretName, MAX_SECRET_BYTES, SecretName};

    #[test]
    fn a_name_is_the_variable_of_a_secret_that_is_sealed() {
        let names = ["INTERNAL_API_KEY", "INTERNAL_API_KEY_WORKER", "TICKET_SIGNING_SECRET", "TLS_KEY"];
        for name in names {
            assert_eq!(name.parse::<SecretName>().unwrap().as_str(), name);
        }
        for name in ["", "internal_api_key", "INTERNAL_API_KEYS", "SEALING_KEY"] {
            assert_eq!(name.parse::<SecretName>(), Err(InvalidSecretName::Unknown), "{name}");
        }
        let previous = "TICKET_SIGNING_SECRET_PREVIOUS".parse::<SecretName>();
        assert_eq!(previous, Err(InvalidSecretName::Previous));
    }

    #[test]
    fn what_the_signer_would_refuse_is_refused() {
        let said =
            |name: &SecretName, secret: &[u8]| name.check(secret, None).map_err(|error| error.to_string());
        let long = "0123456789abcdef".repeat(MAX_SECRET_BYTES / 16);
        let api_key = SecretName::ApiKey("INTERNAL_API_KEY_WORKER".to_owned());
        for name in [&api_key, &SecretName::TicketSigningSecret] {
            assert_eq!(said(name, b"0mEyH5c7nPzQ81ka"), Ok(()));
            assert_eq!(said(name, b"0mEyH5c7nPzQ81k"), Err(format!("{name} is shorter than 16 bytes")));
            assert_eq!(
                said(name, b"change-me-in-production"),
                Err(format!("{name} is a placeholder, not a secret"))
            );
            assert_eq!(said(name, long.as_bytes()), Ok(()));
            let too_long = "longer than the 4096 bytes that KMS encrypts";
            assert_eq!(said(name, format!("{long}0").as_bytes()), Err(too_long.to_owned()));
        }
        said(&api_key, b" 0mEyH5c7nPzQ81ka").unwrap_err();
        said(&SecretName::TicketSigningSecret, b" 0mEyH5c7nPzQ81ka").unwrap();
    }
}
