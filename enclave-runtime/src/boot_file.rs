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
use crate::configuration::{
    Configuration, Generation, Generations, InvalidGeneration, SecretSource, Secrets, TlsMode,
    WrongGeneration,
};

pub use self::assignments::LineFault;
pub use self::secret::{InvalidSecret, PlainSecret, check_secret};

/// Secrets and settings take 2 KiB, and their ciphertexts 16 at most; the rest is for a chain of TLS certificates.
pub const MAX_BOOT_FILE_BYTES: usize = 64 * 1024;

/// What KMS takes for `Decrypt`.
const MAX_CIPHERTEXT_BYTES: usize = 6144;

/// What the boot file says, checked against the measured configuration.
#[derive(Debug)]
pub struct BootFile {
    /// What clients present.
    pub internal_api_key: BootSecret,
    /// What tickets are signed with.
    pub ticket_signing_secret: BootSecret,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    SetTwice(&'static str),
    /// A variable that is read has no value.
    Empty(&'static str),
    /// `AWS_REGION` is not the measured one.
    OtherRegion,
    /// `KMS_KEY_ARN` is not the measured sealing key.
    OtherSealingKey,
    /// The secret is not there in the form that `nitro.toml` asks for.
    Missing(&'static str),
    /// A secret is there that everyone on the parent can read, where `nitro.toml` asks for KMS.
    PlaintextRefused(&'static str),
    /// A ciphertext is there, where `nitro.toml` asks for the secret itself.
    CiphertextRefused(&'static str),
    /// A certificate or its key is there, where `nitro.toml` asks for none.
    TlsRefused(&'static str),
    /// It begins as with a generation, which is none.
    NotAGeneration(&'static str),
    /// It is of a generation that the image does not open.
    Generation(&'static str, WrongGeneration),
    /// Not standard base64 with its padding, in its one spelling.
    NotBase64(&'static str),
    /// Longer than KMS takes.
    CiphertextTooLong(&'static str),
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

/// A boot secret's two variables.
struct Variables {
    plaintext: &'static str,
    ciphertext: &'static str,
}

const INTERNAL_API_KEY: Variables =
    Variables { plaintext: "INTERNAL_API_KEY", ciphertext: "INTERNAL_API_KEY_CIPHERTEXT" };

const TICKET_SIGNING_SECRET: Variables =
    Variables { plaintext: "TICKET_SIGNING_SECRET", ciphertext: "TICKET_SIGNING_SECRET_CIPHERTEXT" };

/// A key has one form only: whoever could read it could be us.
const TLS_KEY: Variables = Variables { plaintext: "TLS_KEY", ciphertext: "TLS_KEY_CIPHERTEXT" };

/// Stands before the generation of a ciphertext. No base64 begins like this.
const GENERATION: &str = "generation-";

const TLS_CERT_CHAIN: &str = "TLS_CERT_CHAIN";

const REGION: &str = "AWS_REGION";

const KEY_ARN: &str = "KMS_KEY_ARN";

/// The variables that are read. The others are the proxy's and the scripts'.
const NAMES: [&str; 9] = [
    REGION,
    KEY_ARN,
    INTERNAL_API_KEY.plaintext,
    INTERNAL_API_KEY.ciphertext,
    TICKET_SIGNING_SECRET.plaintext,
    TICKET_SIGNING_SECRET.ciphertext,
    TLS_CERT_CHAIN,
    TLS_KEY.plaintext,
    TLS_KEY.ciphertext,
];

/// Those that are read again while the signer runs.
const TLS_NAMES: [&str; 3] = [TLS_CERT_CHAIN, TLS_KEY.plaintext, TLS_KEY.ciphertext];

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
        let mut values = Values::default();
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
        Ok(Self {
            internal_api_key: values.secret(&INTERNAL_API_KEY, internal_api_key, generations)?,
            ticket_signing_secret: values.secret(
                &TICKET_SIGNING_SECRET,
                ticket_signing_secret,
                generations,
            )?,
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
        let mut values = Values::default();
        for_each_assignment(bytes, |name, value| match name {
            name if TLS_NAMES.contains(&name) => values.take(name, value),
            _ => Ok(()),
        })?;
        values.tls(generations)
    }
}

/// The values of [`NAMES`], as far as the file has set them.
#[derive(Default)]
struct Values([Option<Zeroizing<Vec<u8>>>; NAMES.len()]);

impl Values {
    fn take(&mut self, name: &str, value: &[u8]) -> Result<(), InvalidBootFile> {
        let Some(index) = NAMES.iter().position(|known| *known == name) else { return Ok(()) };
        if self.0[index].is_some() {
            return Err(InvalidBootFile::SetTwice(NAMES[index]));
        }
        if value.is_empty() {
            return Err(InvalidBootFile::Empty(NAMES[index]));
        }
        self.0[index] = Some(Zeroizing::new(value.to_vec()));
        Ok(())
    }

    fn remove(&mut self, name: &'static str) -> Option<Zeroizing<Vec<u8>>> {
        let index = NAMES.iter().position(|known| *known == name)?;
        self.0[index].take()
    }

    fn secret(
        &mut self,
        names: &Variables,
        source: SecretSource,
        generations: Generations,
    ) -> Result<BootSecret, InvalidBootFile> {
        match (source, self.remove(names.plaintext), self.remove(names.ciphertext)) {
            (SecretSource::Kms, Some(_), _) => Err(InvalidBootFile::PlaintextRefused(names.plaintext)),
            (SecretSource::Kms, None, Some(value)) => {
                ciphertext(names.ciphertext, &value, generations).map(BootSecret::Ciphertext)
            }
            (SecretSource::Kms, None, None) => Err(InvalidBootFile::Missing(names.ciphertext)),
            (SecretSource::Env, _, Some(_)) => Err(InvalidBootFile::CiphertextRefused(names.ciphertext)),
            (SecretSource::Env, Some(value), None) => PlainSecret::new(names.plaintext, value)
                .map(BootSecret::Plaintext)
                .map_err(InvalidBootFile::Secret),
            (SecretSource::Env, None, None) => Err(InvalidBootFile::Missing(names.plaintext)),
        }
    }

    fn tls(&mut self, generations: Generations) -> Result<TlsVariables, InvalidBootFile> {
        if self.remove(TLS_KEY.plaintext).is_some() {
            return Err(InvalidBootFile::PlaintextRefused(TLS_KEY.plaintext));
        }
        let mut required = |name| self.remove(name).ok_or(InvalidBootFile::Missing(name));
        let cert_chain = required(TLS_CERT_CHAIN)?.to_vec();
        let key_ciphertext = required(TLS_KEY.ciphertext)?;
        let key_ciphertext = ciphertext(TLS_KEY.ciphertext, &key_ciphertext, generations)?;
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

/// Reads what [`SecretCiphertext`] writes, and checks its generation.
fn ciphertext(
    name: &'static str,
    value: &[u8],
    generations: Generations,
) -> Result<SecretCiphertext, InvalidBootFile> {
    let not_base64 = InvalidBootFile::NotBase64(name);
    let value = str::from_utf8(value).map_err(|_| not_base64)?;
    let (generation, base64) = match value.strip_prefix(GENERATION) {
        None => (None, value),
        Some(rest) => {
            let not_a_generation = InvalidBootFile::NotAGeneration(name);
            let (generation, base64) = rest.split_once(':').ok_or(not_a_generation)?;
            (Some(generation.parse::<Generation>().map_err(|InvalidGeneration| not_a_generation)?), base64)
        }
    };
    generations.check(generation).map_err(|fault| InvalidBootFile::Generation(name, fault))?;
    let bytes = Base64::decode_vec(base64).map_err(|_| not_base64)?;
    if bytes.len() > MAX_CIPHERTEXT_BYTES {
        return Err(InvalidBootFile::CiphertextTooLong(name));
    }
    // After a generation there may be nothing.
    if bytes.is_empty() {
        return Err(InvalidBootFile::Empty(name));
    }
    Ok(SecretCiphertext { generation, bytes })
}

#[cfg(test)]
mod tests;
