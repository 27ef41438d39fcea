//! The boot file: what the parent's `/etc/nitro-signer/env` tells the enclave when it starts.
//!
//! Root on the parent writes it, so it decides nothing: it repeats what the measured `nitro.toml` says, for mistakes to
//! be seen, and carries the boot secrets in the form that `nitro.toml` asks for.

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

pub use self::assignments::LineFault;
pub use self::secret::{InvalidSecret, PlainSecret, check_secret};

/// Ten secrets and the settings take 4 KiB, their ciphertexts 8 as long as no secret is longer than 256 bytes; the rest
/// is for a chain of TLS certificates.
pub const MAX_BOOT_FILE_BYTES: usize = 64 * 1024;

/// What KMS takes for `Decrypt`.
const MAX_CIPHERTEXT_BYTES: usize = 6144;

/// What the boot file says, checked against the measured configuration.
#[derive(Debug)]
pub struct BootFile {
    /// What clients present: one for each of `nitro.toml`'s API keys, in their order.
    pub api_keys: Vec<BootSecret>,
    /// What tickets are signed with.
    pub ticket_signing_secret: BootSecret,
    /// What tickets were signed with before, while that changes.
    pub previous_ticket_signing_secret: Option<BootSecret>,
    /// The certificate to present, if `nitro.toml` asks for one.
    pub tls: Option<TlsVariables>,
}

/// A certificate that the parent provides, not looked at yet.
#[derive(Debug)]
pub struct TlsVariables {
    /// `TLS_CERT_CHAIN`: the server's certificate and those of its issuers, in PEM.
    pub cert_chain: Vec<u8>,
    /// `TLS_KEY_CIPHERTEXT`: the server's private key, encrypted by KMS.
    pub key_ciphertext: SecretCiphertext,
}

/// A boot secret that KMS encrypted, of a generation that `nitro.toml` allows.
#[derive(Debug, PartialEq, Eq)]
pub struct SecretCiphertext {
    /// The generation that KMS has bound to it. The parent may lie: then KMS does not decrypt it.
    pub generation: Option<Generation>,
    /// 1 to 6144 bytes.
    pub bytes: Vec<u8>,
}

/// As the boot file has it: `BASE64`, or `generation-7:BASE64`.
impl fmt::Display for SecretCiphertext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(generation) = self.generation {
            write!(formatter, "{GENERATION}{generation}:")?;
        }
        formatter.write_str(&Base64::encode_string(&self.bytes))
    }
}

/// A boot secret, in the form that `nitro.toml` asks for.
#[derive(Debug)]
pub enum BootSecret {
    /// Itself.
    Plaintext(PlainSecret),
    /// Encrypted by KMS.
    Ciphertext(SecretCiphertext),
}

/// Why a boot file is refused, in one line that repeats nothing of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidBootFile {
    /// It is longer than [`MAX_BOOT_FILE_BYTES`].
    TooLong,
    /// A line is not what systemd reads one way in all its versions.
    Line {
        /// Counted from 1; of an assignment of several lines, its first.
        line: usize,
        /// What is wrong with it.
        fault: LineFault,
    },
    /// A variable that is read is set twice, so which one counts would be a matter of opinion.
    SetTwice(String),
    /// A variable that is read has no value.
    Empty(String),
    /// `AWS_REGION` is not the measured one.
    OtherRegion,
    /// `KMS_KEY_ARN` is not the measured sealing key.
    OtherSealingKey,
    /// The secret is not there in the form that `nitro.toml` asks for.
    Missing(String),
    /// A secret is there that everyone on the parent can read, where `nitro.toml` asks for KMS.
    PlaintextRefused(String),
    /// An API key is there that `nitro.toml` gives no role.
    NoRole(String),
    /// A ciphertext is there, where `nitro.toml` asks for the secret itself.
    CiphertextRefused(String),
    /// A certificate or its key is there, where `nitro.toml` asks for none.
    TlsRefused(&'static str),
    /// It begins as with a generation, which is none.
    NotAGeneration(String),
    /// It is of a generation that the image does not open.
    Generation(String, WrongGeneration),
    /// Not standard base64 with its padding, in its one spelling.
    NotBase64(String),
    /// Longer than KMS takes.
    CiphertextTooLong(String),
    /// The secret protects nothing.
    Secret(InvalidSecret),
}

impl fmt::Display for InvalidBootFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => {
                write!(formatter, "the boot file is longer than {} KiB", MAX_BOOT_FILE_BYTES / 1024)
            }
            Self::Line { line, fault } => write!(formatter, "line {line} of the boot file {fault}"),
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
            Self::Generation(name, fault) => write!(formatter, "{name} is {fault}"),
            Self::NotBase64(name) => write!(formatter, "{name} is not standard base64"),
            Self::CiphertextTooLong(name) => {
                write!(formatter, "{name} is longer than {MAX_CIPHERTEXT_BYTES} bytes")
            }
            Self::Secret(fault) => fault.fmt(formatter),
        }
    }
}

impl std::error::Error for InvalidBootFile {}

/// The variable of the secret that tickets are signed with.
pub const TICKET_SIGNING_SECRET: &str = "TICKET_SIGNING_SECRET";

/// The ticket secret before, while that changes.
pub const PREVIOUS_TICKET_SIGNING_SECRET: &str = "TICKET_SIGNING_SECRET_PREVIOUS";

/// In one form only, encrypted: a reader of the TLS key could pass for this signer.
const TLS_KEY: &str = "TLS_KEY";

/// Stands before the generation of a ciphertext. No base64 begins like this.
const GENERATION: &str = "generation-";

const TLS_CERT_CHAIN: &str = "TLS_CERT_CHAIN";

const TLS_KEY_CIPHERTEXT: &str = "TLS_KEY_CIPHERTEXT";

const REGION: &str = "AWS_REGION";

const KEY_ARN: &str = "KMS_KEY_ARN";

/// Those that are read again while the signer runs.
const TLS_NAMES: [&str; 3] = [TLS_CERT_CHAIN, TLS_KEY, TLS_KEY_CIPHERTEXT];

/// The longest name that is repeated in an error: that of an API key's ciphertext.
const MAX_REPEATED_NAME_BYTES: usize = 60;

impl BootFile {
    /// Reads what came from the parent, in the syntax of systemd's `EnvironmentFile=`.
    ///
    /// `bytes` hold secrets: the caller wipes them, so they are best in a `Zeroizing` of their greatest size, which
    /// never moves. What is read out of them wipes itself.
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
    /// Reads the certificate of a boot file and nothing else of it: what else there is counts when the signer starts.
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

/// The variables that are read, with their values as far as the file has set them. Other variables are the proxy's and
/// the scripts'.
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

    /// Whether the file has set the secret `name` in either form.
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

    /// Refuses what would have no effect, so that nobody relies on it.
    fn no_tls(&mut self) -> Result<Option<TlsVariables>, InvalidBootFile> {
        match TLS_NAMES.into_iter().find(|name| self.remove(name).is_some()) {
            None => Ok(None),
            Some(name) => Err(InvalidBootFile::TlsRefused(name)),
        }
    }
}

/// What the encryption context of a boot secret says of `variable`: its `name`, and the `key` of an API key that has a
/// name of its own. A ticket secret keeps its context when the next one takes its place.
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

/// The start of a name that may be of any length.
fn repeatable(name: &str) -> String {
    name.chars().take(MAX_REPEATED_NAME_BYTES).collect()
}

/// Reads what [`SecretCiphertext`] writes, and checks its generation.
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
    generations.check(generation).map_err(|fault| InvalidBootFile::Generation(name.to_owned(), fault))?;
    let bytes = Base64::decode_vec(base64).map_err(|_| not_base64())?;
    if bytes.len() > MAX_CIPHERTEXT_BYTES {
        return Err(InvalidBootFile::CiphertextTooLong(name.to_owned()));
    }
    // After a generation there may be nothing.
    if bytes.is_empty() {
        return Err(InvalidBootFile::Empty(name.to_owned()));
    }
    Ok(SecretCiphertext { generation, bytes })
}

#[cfg(test)]
mod tests;
