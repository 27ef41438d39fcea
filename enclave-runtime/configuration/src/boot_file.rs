//! The boot file: `/etc/nitro-signer/env` of the parent, which the enclave reads when it starts.
//!
//! Root on the parent writes the file, so it decides nothing. It repeats settings of the measured `nitro.toml`, which
//! shows mistakes. It carries the boot secrets in the form that `nitro.toml` demands.

mod assignments;
mod secret;

use std::fmt;

use base64ct::{Base64, Encoding as _};
use zeroize::Zeroizing;

use self::assignments::for_each_assignment;
use crate::{
    ApiKeyRole, Configuration, Generation, Generations, INTERNAL_API_KEY, InvalidGeneration, SecretSource,
    Secrets, TlsMode, WrongGeneration,
};

pub use self::assignments::LineError;
pub use self::secret::{InvalidSecret, PlainSecret, check_secret};

/// Ten secrets and the settings take 4 KiB. Their ciphertexts take 8 KiB while no secret exceeds 256 bytes. The rest is
/// for a chain of TLS certificates.
pub const MAX_BOOT_FILE_BYTES: usize = 64 * 1024;

/// The limit of KMS for `Decrypt`.
const MAX_CIPHERTEXT_BYTES: usize = 6144;

/// The content of the boot file, checked against the measured configuration.
#[derive(Debug)]
pub struct BootFile {
    /// The API keys: one for each key of `nitro.toml`, in the order of `nitro.toml`.
    pub api_keys: Vec<BootSecret>,
    /// The ticket secret.
    pub ticket_signing_secret: BootSecret,
    /// The previous ticket secret, while the secret is being replaced.
    pub previous_ticket_signing_secret: Option<BootSecret>,
    /// The TLS certificate, if `nitro.toml` has `tls.mode = "provided"`.
    pub tls: Option<TlsVariables>,
}

/// A certificate that the parent provides, not yet checked.
#[derive(Debug)]
pub struct TlsVariables {
    /// `TLS_CERT_CHAIN`: the certificates of the server and of its issuers, in PEM.
    pub cert_chain: Vec<u8>,
    /// `TLS_KEY_CIPHERTEXT`: the server's private key, encrypted by KMS.
    pub key_ciphertext: SecretCiphertext,
}

/// A boot secret that KMS encrypted, of a generation that `nitro.toml` allows.
#[derive(Debug, PartialEq, Eq)]
pub struct SecretCiphertext {
    /// The generation in the encryption context. If the parent states another, KMS does not decrypt.
    pub generation: Option<Generation>,
    /// 1 to 6144 bytes.
    pub bytes: Vec<u8>,
}

/// Writes the form of the boot file: `BASE64`, or `generation-7:BASE64`.
impl fmt::Display for SecretCiphertext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(generation) = self.generation {
            write!(formatter, "{GENERATION}{generation}:")?;
        }
        formatter.write_str(&Base64::encode_string(&self.bytes))
    }
}

/// A boot secret, in the form that `nitro.toml` demands.
#[derive(Debug)]
pub enum BootSecret {
    /// The secret itself.
    Plaintext(PlainSecret),
    /// The secret, encrypted by KMS.
    Ciphertext(SecretCiphertext),
}

/// Why a boot file is refused, in one line that repeats no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidBootFile {
    /// The file is longer than [`MAX_BOOT_FILE_BYTES`].
    TooLong,
    /// Versions of systemd read this line differently, or refuse it.
    Line {
        /// Counted from 1; the first line of an assignment of several lines.
        line: usize,
        /// The error of the line.
        error: LineError,
    },
    /// A variable that the signer reads is set twice, so its value is ambiguous.
    SetTwice(String),
    /// A variable that the signer reads has no value.
    Empty(String),
    /// `AWS_REGION` differs from the measured region.
    OtherRegion,
    /// `KMS_KEY_ARN` differs from the measured sealing key.
    OtherSealingKey,
    /// The secret is missing in the form that `nitro.toml` demands.
    Missing(String),
    /// The file has a secret in plaintext, which the parent can read. `nitro.toml` demands a ciphertext.
    PlaintextRefused(String),
    /// `nitro.toml` gives this API key no role.
    NoRole(String),
    /// The file has a ciphertext. `nitro.toml` demands the secret itself.
    CiphertextRefused(String),
    /// The file has a certificate or its key. `nitro.toml` demands none.
    TlsRefused(&'static str),
    /// The value begins like a generation, and is not a valid one.
    NotAGeneration(String),
    /// The image does not open secrets of this generation.
    Generation(String, WrongGeneration),
    /// The value is not canonical standard base64 with padding.
    NotBase64(String),
    /// The ciphertext exceeds the limit of KMS.
    CiphertextTooLong(String),
    /// The secret is too weak.
    Secret(InvalidSecret),
}

impl fmt::Display for InvalidBootFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => {
                write!(formatter, "the boot file is longer than {} KiB", MAX_BOOT_FILE_BYTES / 1024)
            }
            Self::Line { line, error } => write!(formatter, "line {line} of the boot file {error}"),
            Self::SetTwice(name) => write!(formatter, "{name} is set twice"),
            Self::Empty(name) => write!(formatter, "{name} is empty"),
            Self::OtherRegion => formatter.write_str("AWS_REGION is not the region of nitro.toml"),
            Self::OtherSealingKey => formatter.write_str(
                "KMS_KEY_ARN is not kms.sealing_key_arn of nitro.toml: if it names the newer key, put that key into \
                 kms.sealing_key_arn and build again; otherwise remove the line",
            ),
            Self::Missing(name) => write!(formatter, "{name} is missing"),
            Self::PlaintextRefused(name) => {
                write!(formatter, "{name} is refused in plaintext: nitro.toml asks for it from KMS")
            }
            Self::NoRole(name) => write!(
                formatter,
                "{name} has no role: list the key under [api_keys] in nitro.toml and build again, or remove the line"
            ),
            Self::CiphertextRefused(name) => {
                write!(formatter, "{name} is refused: nitro.toml asks for the secret itself")
            }
            Self::TlsRefused(name) => {
                write!(formatter, "{name} is refused: it takes tls.mode = \"provided\" in nitro.toml")
            }
            Self::NotAGeneration(name) => {
                write!(formatter, "{name} has a generation that is {InvalidGeneration}")
            }
            Self::Generation(name, error) => write!(formatter, "{name} is {error}"),
            Self::NotBase64(name) => write!(formatter, "{name} is not standard base64"),
            Self::CiphertextTooLong(name) => {
                write!(formatter, "{name} is longer than {MAX_CIPHERTEXT_BYTES} bytes")
            }
            Self::Secret(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for InvalidBootFile {}

/// The variable of the ticket secret.
pub const TICKET_SIGNING_SECRET: &str = "TICKET_SIGNING_SECRET";

/// The variable of the previous ticket secret, while the secret is being replaced.
pub const PREVIOUS_TICKET_SIGNING_SECRET: &str = "TICKET_SIGNING_SECRET_PREVIOUS";

/// Only accepted encrypted: a reader of the TLS key could impersonate this signer.
const TLS_KEY: &str = "TLS_KEY";

/// The prefix of a generation. No base64 begins like this.
const GENERATION: &str = "generation-";

const TLS_CERT_CHAIN: &str = "TLS_CERT_CHAIN";

const TLS_KEY_CIPHERTEXT: &str = "TLS_KEY_CIPHERTEXT";

const REGION: &str = "AWS_REGION";

const KEY_ARN: &str = "KMS_KEY_ARN";

/// The variables that are read again while the signer runs.
const TLS_NAMES: [&str; 3] = [TLS_CERT_CHAIN, TLS_KEY, TLS_KEY_CIPHERTEXT];

/// The longest name that an error repeats: the variable of an API key's ciphertext.
const MAX_REPEATED_NAME_BYTES: usize = 60;

impl BootFile {
    /// Parses the bytes of the boot file, in the syntax of systemd's `EnvironmentFile=`.
    ///
    /// `bytes` hold secrets, and the caller wipes them. A `Zeroizing` with its full capacity from the start is best,
    /// because it never moves. The values in the result wipe themselves.
    ///
    /// # Errors
    /// [`InvalidBootFile`]
    pub fn parse(bytes: &[u8], configuration: &Configuration) -> Result<Self, InvalidBootFile> {
        if bytes.len() > MAX_BOOT_FILE_BYTES {
            return Err(InvalidBootFile::TooLong);
        }
        let mut values = Values::of(configuration);
        for_each_assignment(bytes, |name, value| values.take(name, value))?;

        let region = configuration.kms.region.as_str();
        if values.remove(REGION).is_some_and(|value| value.as_slice() != region.as_bytes()) {
            return Err(InvalidBootFile::OtherRegion);
        }
        let sealing_key = configuration.kms.sealing_key_arn.as_str();
        if values.remove(KEY_ARN).is_some_and(|value| value.as_slice() != sealing_key.as_bytes()) {
            return Err(InvalidBootFile::OtherSealingKey);
        }
        let Secrets { internal_api_key, ticket_signing_secret, generations } = configuration.secrets;
        let mut api_keys = Vec::new();
        for ApiKeyRole { variable, .. } in &configuration.api_keys {
            api_keys.push(values.secret(variable, internal_api_key, generations)?);
        }
        let ticket = |values: &mut Values, name| values.secret(name, ticket_signing_secret, generations);
        Ok(Self {
            api_keys,
            ticket_signing_secret: ticket(&mut values, TICKET_SIGNING_SECRET)?,
            previous_ticket_signing_secret: values
                .has(PREVIOUS_TICKET_SIGNING_SECRET)
                .then(|| ticket(&mut values, PREVIOUS_TICKET_SIGNING_SECRET))
                .transpose()?,
            tls: match configuration.tls {
                TlsMode::Provided => Some(values.tls(generations)?),
                TlsMode::Off | TlsMode::SelfSigned { .. } | TlsMode::Acme(_) => values.no_tls()?,
            },
        })
    }
}

impl TlsVariables {
    /// Parses only the certificate of a boot file. The other variables take effect when the signer starts.
    ///
    /// # Errors
    /// [`InvalidBootFile`]
    pub fn parse(bytes: &[u8], generations: Generations) -> Result<Self, InvalidBootFile> {
        if bytes.len() > MAX_BOOT_FILE_BYTES {
            return Err(InvalidBootFile::TooLong);
        }
        let mut values = Values::named(TLS_NAMES);
        for_each_assignment(bytes, |name, value| match name {
            name if TLS_NAMES.contains(&name) => values.take(name, value),
            _ => Ok(()),
        })?;
        values.tls(generations)
    }
}

/// The variables that the signer reads, with the values that the file has set so far. The proxy and the scripts read
/// the other variables.
struct Values(Vec<(String, Option<Zeroizing<Vec<u8>>>)>);

impl Values {
    fn of(configuration: &Configuration) -> Self {
        let api_keys = configuration.api_keys.iter().map(|key| key.variable.as_str());
        let secrets = api_keys.chain([TICKET_SIGNING_SECRET, PREVIOUS_TICKET_SIGNING_SECRET]);
        let mut values = Self::named([REGION, KEY_ARN].into_iter().chain(TLS_NAMES));
        for secret in secrets {
            values.0.extend([secret.to_owned(), ciphertext_of(secret)].map(|name| (name, None)));
        }
        values
    }

    fn named<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        Self(names.into_iter().map(|name| (name.to_owned(), None)).collect())
    }

    fn take(&mut self, name: &str, value: &[u8]) -> Result<(), InvalidBootFile> {
        let Some((_, known)) = self.0.iter_mut().find(|(known, _)| known == name) else {
            return match name.strip_prefix(INTERNAL_API_KEY) {
                Some(rest) if rest.starts_with('_') => Err(InvalidBootFile::NoRole(repeatable(name))),
                _ => Ok(()),
            };
        };
        if known.is_some() {
            return Err(InvalidBootFile::SetTwice(name.to_owned()));
        }
        if value.is_empty() {
            return Err(InvalidBootFile::Empty(name.to_owned()));
        }
        *known = Some(Zeroizing::new(value.to_vec()));
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        self.0.iter_mut().find(|(known, _)| known == name)?.1.take()
    }

    /// Whether the file sets the secret `name` in either form.
    fn has(&self, name: &str) -> bool {
        let ciphertext = ciphertext_of(name);
        self.0.iter().any(|(known, value)| (known == name || *known == ciphertext) && value.is_some())
    }

    fn secret(
        &mut self,
        name: &str,
        source: SecretSource,
        generations: Generations,
    ) -> Result<BootSecret, InvalidBootFile> {
        let in_ciphertext = ciphertext_of(name);
        match (source, self.remove(name), self.remove(&in_ciphertext)) {
            (SecretSource::Kms, Some(_), _) => Err(InvalidBootFile::PlaintextRefused(name.to_owned())),
            (SecretSource::Kms, None, Some(value)) => {
                ciphertext(&in_ciphertext, &value, generations).map(BootSecret::Ciphertext)
            }
            (SecretSource::Kms, None, None) => Err(InvalidBootFile::Missing(in_ciphertext)),
            (SecretSource::Env, _, Some(_)) => Err(InvalidBootFile::CiphertextRefused(in_ciphertext)),
            (SecretSource::Env, Some(value), None) => {
                PlainSecret::new(name, value).map(BootSecret::Plaintext).map_err(InvalidBootFile::Secret)
            }
            (SecretSource::Env, None, None) => Err(InvalidBootFile::Missing(name.to_owned())),
        }
    }

    fn tls(&mut self, generations: Generations) -> Result<TlsVariables, InvalidBootFile> {
        if self.remove(TLS_KEY).is_some() {
            return Err(InvalidBootFile::PlaintextRefused(TLS_KEY.to_owned()));
        }
        let mut required = |name: &str| self.remove(name).ok_or(InvalidBootFile::Missing(name.to_owned()));
        let cert_chain = required(TLS_CERT_CHAIN)?.to_vec();
        let key_ciphertext = required(TLS_KEY_CIPHERTEXT)?;
        let key_ciphertext = ciphertext(TLS_KEY_CIPHERTEXT, &key_ciphertext, generations)?;
        Ok(TlsVariables { cert_chain, key_ciphertext })
    }

    /// Refuses variables without effect, so that no operator relies on them.
    fn no_tls(&mut self) -> Result<Option<TlsVariables>, InvalidBootFile> {
        match TLS_NAMES.into_iter().find(|name| self.remove(name).is_some()) {
            None => Ok(None),
            Some(name) => Err(InvalidBootFile::TlsRefused(name)),
        }
    }
}

/// The encryption context of the boot secret in `variable`: the `name`, and the `key` if an API key has its own name. A
/// ticket secret keeps its context when it becomes the previous one.
#[must_use]
pub fn context_of(variable: &str) -> (&str, Option<&str>) {
    let api_key = variable.strip_prefix(INTERNAL_API_KEY).and_then(|rest| rest.strip_prefix('_'));
    match (variable, api_key) {
        (PREVIOUS_TICKET_SIGNING_SECRET, _) => (TICKET_SIGNING_SECRET, None),
        (_, Some(key)) => (INTERNAL_API_KEY, Some(key)),
        _ => (variable, None),
    }
}

/// The variable of a secret that KMS encrypted.
fn ciphertext_of(name: &str) -> String {
    format!("{name}_CIPHERTEXT")
}

/// The start of a name, which may have any length.
fn repeatable(name: &str) -> String {
    name.chars().take(MAX_REPEATED_NAME_BYTES).collect()
}

/// Parses the text of a [`SecretCiphertext`], and checks its generation.
fn ciphertext(
    name: &str,
    value: &[u8],
    generations: Generations,
) -> Result<SecretCiphertext, InvalidBootFile> {
    let not_base64 = || InvalidBootFile::NotBase64(name.to_owned());
    let value = str::from_utf8(value).map_err(|_| not_base64())?;
    let (generation, base64) = match value.strip_prefix(GENERATION) {
        None => (None, value),
        Some(rest) => {
            let not_a_generation = || InvalidBootFile::NotAGeneration(name.to_owned());
            let (generation, base64) = rest.split_once(':').ok_or_else(not_a_generation)?;
            (Some(generation.parse::<Generation>().map_err(|InvalidGeneration| not_a_generation())?), base64)
        }
    };
    generations.check(generation).map_err(|error| InvalidBootFile::Generation(name.to_owned(), error))?;
    let bytes = Base64::decode_vec(base64).map_err(|_| not_base64())?;
    if bytes.len() > MAX_CIPHERTEXT_BYTES {
        return Err(InvalidBootFile::CiphertextTooLong(name.to_owned()));
    }
    // The ciphertext may be missing after a generation.
    if bytes.is_empty() {
        return Err(InvalidBootFile::Empty(name.to_owned()));
    }
    Ok(SecretCiphertext { generation, bytes })
}

#[cfg(test)]
mod tests;
