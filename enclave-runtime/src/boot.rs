//! From a measured configuration to a signer that can sign.
//!
//! ```text
//! nitro.toml (measured) ─┐
//! boot file (parent's) ──┴▶ BootFile::parse ─▶ KMS opens what it has to ─▶ secrets ─▶ Service::open
//! ```
//!
//! Wrong input of the parent ends the boot, in one line. So does a certificate out of its time. The boot waits without
//! end for what is missing so far: the boot file, IMDS, KMS, or a key policy that names this image. Meanwhile `/health`
//! is 503.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use subtle::ConstantTimeEq as _;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::acme::{Keeper, RESTORE_PATIENCE};
use crate::api_key::{ApiKey, ApiKeys, SameApiKey};
use crate::aws::backoff::Backoff;
use crate::data_key_cache::DataKeyCache;
use crate::kms::{Kms, KmsError, Purpose};
use crate::kms_sealer::KmsSealer;
use crate::locked_memory::MemoryNotLocked;
use crate::relay::Relay;
use crate::service::Service;
use crate::signer_memory::{NoSigner, seed, signer};
use crate::tls::{TlsFront, TlsIdentity, UnusableIdentity};
use configuration::tls_pair::{InvalidPair, check_pair};
use configuration::{
    ApiKeyRole, BootFile, BootSecret, Configuration, Generation, InvalidBootFile, MAX_BOOT_FILE_BYTES,
    PREVIOUS_TICKET_SIGNING_SECRET, PlainSecret, SecretCiphertext, TICKET_SIGNING_SECRET, TlsVariables,
    context_of,
};

/// From dialing the relay to the end of the file.
const FETCH_DEADLINE: Duration = Duration::from_secs(5);

/// For whatever the start waits for.
const BETWEEN_TRIES: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(30) };

/// Why the start is given up: trying again would not help.
#[derive(Debug)]
pub(crate) enum BootRefused {
    /// The boot file is wrong, or a secret that KMS decrypted is no secret.
    BootFile(InvalidBootFile),
    /// KMS says that the ciphertext of this variable is none of its own, or none for this variable and generation.
    NotACiphertext(String, Option<Generation>),
    /// The ciphertext of this variable is under a key that boot secrets may not be under.
    ForeignKey(String),
    /// The API key of this variable cannot stand in a header.
    ApiKeyNoHeader(String),
    /// These two variables have the same value.
    SameSecret(String, String),
    /// The certificate, or the key that KMS decrypted, is not to be presented.
    Tls(InvalidPair),
    /// TLS cannot be served with them.
    Identity(UnusableIdentity),
    /// There is no memory or no randomness for the signer.
    NoSigner(NoSigner),
    /// There is no locked memory for data keys.
    Memory(MemoryNotLocked),
}

impl std::fmt::Display for BootRefused {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BootFile(error) => error.fmt(formatter),
            Self::NotACiphertext(name, generation) => {
                let (context_name, key) = context_of(name);
                write!(
                    formatter,
                    "{name}_CIPHERTEXT is not what KMS encrypts with the context nitro-signer=boot-secret, \
                     name={context_name}"
                )?;
                key.map_or(Ok(()), |key| write!(formatter, ", key={key}"))?;
                generation.map_or(Ok(()), |generation| write!(formatter, ", generation={generation}"))
            }
            Self::ForeignKey(name) => {
                write!(
                    formatter,
                    "{name}_CIPHERTEXT is encrypted under a key that nitro.toml does not allow for boot secrets: \
                     seal it again with signerctl secret seal"
                )
            }
            Self::ApiKeyNoHeader(name) => write!(
                formatter,
                "{name} cannot stand in a header: it has control characters or blanks around it"
            ),
            Self::SameSecret(name, other) => {
                write!(formatter, "{name} has the same value as {other}: make a new one")
            }
            Self::Tls(error) => error.fmt(formatter),
            Self::Identity(error) => error.fmt(formatter),
            Self::NoSigner(error) => error.fmt(formatter),
            Self::Memory(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for BootRefused {}

impl From<InvalidBootFile> for BootRefused {
    fn from(error: InvalidBootFile) -> Self {
        Self::BootFile(error)
    }
}

/// Opens `service` when all its secrets are open. By then a provided certificate, or one that `keeper` restored in
/// time, is in `front`. Returns the source of the provided one.
///
/// # Errors
/// [`BootRefused`]
pub(crate) async fn boot(
    configuration: &Configuration,
    boot_file: &Relay,
    kms: &Arc<Kms>,
    service: &Service<KmsSealer>,
    front: Option<&TlsFront>,
    keeper: Option<&mut Keeper>,
) -> Result<Option<TlsVariables>, BootRefused> {
    let bytes = fetch_patiently(boot_file).await;
    let file = BootFile::parse(&bytes, configuration)?;
    drop(bytes);
    let sealing_key_arn = configuration.kms.sealing_key_arn.as_str();
    tracing::info!(sealing_key_arn, "the boot file is complete");
    let api_keys = api_keys(kms, &configuration.api_keys, file.api_keys).await?;
    let ticket_secret = reveal(kms, TICKET_SIGNING_SECRET, file.ticket_signing_secret).await?;
    let previous_secret = match file.previous_ticket_signing_secret {
        Some(secret) => Some(reveal(kms, PREVIOUS_TICKET_SIGNING_SECRET, secret).await?),
        None => None,
    };
    let previous_secret = previous_secret.as_ref().map(PlainSecret::secret_bytes);
    if previous_secret.is_some_and(|previous| ticket_secret.secret_bytes().ct_eq(previous).into()) {
        let [previous, current] = [PREVIOUS_TICKET_SIGNING_SECRET, TICKET_SIGNING_SECRET].map(str::to_owned);
        return Err(BootRefused::SameSecret(previous, current));
    }
    if let (Some(tls), Some(front)) = (&file.tls, front) {
        let key = decrypt(kms, TLS_KEY, &tls.key_ciphertext).await?;
        front.present(identity(tls, &key, service.clock().unix_time())?);
    }
    let data_keys = DataKeyCache::new(Arc::clone(kms)).map_err(BootRefused::Memory)?;
    let data_keys = Arc::new(data_keys);
    if let Some(keeper) = keeper {
        keeper.unlock(Arc::clone(&data_keys));
        if timeout(RESTORE_PATIENCE, keeper.restore()).await.is_err() {
            tracing::warn!("the start does not wait any longer for the kept certificate");
        }
    }
    let sealer = KmsSealer::new(Arc::clone(kms), data_keys);
    let signer = signer(
        configuration.capacity,
        configuration.rate_limits,
        ticket_secret.secret_bytes(),
        previous_secret,
    )
    .map_err(BootRefused::NoSigner)?;
    match previous_secret {
        None => tracing::info!("tickets verify under {TICKET_SIGNING_SECRET}"),
        Some(_) => tracing::info!(
            "tickets verify under {TICKET_SIGNING_SECRET}, and under {PREVIOUS_TICKET_SIGNING_SECRET} until that is removed"
        ),
    }
    service.open(api_keys, signer, sealer, seed().map_err(BootRefused::NoSigner)?, configuration.rate_limits);
    Ok(file.tls)
}

/// The API keys that callers present, with their roles. `secrets` are in the order of `roles`.
async fn api_keys(kms: &Kms, roles: &[ApiKeyRole], secrets: Vec<BootSecret>) -> Result<ApiKeys, BootRefused> {
    let mut keys = ApiKeys::default();
    for (ApiKeyRole { variable, role }, secret) in roles.iter().zip(secrets) {
        let secret = reveal(kms, variable, secret).await?;
        if !can_stand_in_a_header(secret.secret_bytes()) {
            return Err(BootRefused::ApiKeyNoHeader(variable.clone()));
        }
        let key = ApiKey::new(secret.secret_bytes())
            .map_err(|_| BootRefused::NotACiphertext(variable.clone(), None))?;
        keys.add(key, *role).map_err(|SameApiKey { index }| {
            BootRefused::SameSecret(variable.clone(), roles[index].variable.clone())
        })?;
        tracing::info!(?role, "the API key {variable} is known");
    }
    Ok(keys)
}

/// The name of the TLS key's ciphertext, without its ending.
pub(crate) const TLS_KEY: &str = "TLS_KEY";

/// The TLS identity of the boot file's certificate and its decrypted key, valid from `now` on.
///
/// # Errors
/// [`BootRefused::Tls`], or [`BootRefused::Identity`].
pub(crate) fn identity(tls: &TlsVariables, key: &[u8], now: UnixTime) -> Result<TlsIdentity, BootRefused> {
    let pair = check_pair(&tls.cert_chain, key, now).map_err(BootRefused::Tls)?;
    TlsIdentity::new(pair).map_err(BootRefused::Identity)
}

async fn fetch_patiently(boot_file: &Relay) -> Zeroizing<Vec<u8>> {
    let mut failures = 0;
    loop {
        match fetch_whole(boot_file).await {
            Some(bytes) => return bytes,
            None => failures += 1,
        }
        tracing::warn!(failures, "the parent does not send a boot file whose last line is whole");
        tokio::time::sleep(BETWEEN_TRIES.wait(failures)).await;
    }
}

/// One try. The end of the stream is all there is to tell the end of the file, and a relay that was stopped ends it
/// too: a file is whole if its last line is.
pub(crate) async fn fetch_whole(boot_file: &Relay) -> Option<Zeroizing<Vec<u8>>> {
    let bytes = timeout(FETCH_DEADLINE, fetch(boot_file)).await.ok()?.ok()?;
    (bytes.ends_with(b"\n") || bytes.len() > MAX_BOOT_FILE_BYTES).then_some(bytes)
}

/// Reads up to the end of the file, and one byte more than it may have, for the parser to refuse.
async fn fetch(boot_file: &Relay) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let stream = boot_file.dial().await?;
    // Of its final size at once: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BOOT_FILE_BYTES + 1));
    stream.take(MAX_BOOT_FILE_BYTES as u64 + 1).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// The secret itself, from KMS if that is how it came.
async fn reveal(kms: &Kms, name: &str, secret: BootSecret) -> Result<PlainSecret, BootRefused> {
    let ciphertext = match secret {
        BootSecret::Plaintext(plaintext) => return Ok(plaintext),
        BootSecret::Ciphertext(ciphertext) => ciphertext,
    };
    let plaintext = decrypt(kms, name, &ciphertext).await?;
    PlainSecret::new(name, plaintext).map_err(|error| BootRefused::BootFile(InvalidBootFile::Secret(error)))
}

/// The plaintext of the ciphertext of a boot secret. Waits for KMS without end.
async fn decrypt(
    kms: &Kms,
    name: &str,
    ciphertext: &SecretCiphertext,
) -> Result<Zeroizing<Vec<u8>>, BootRefused> {
    let mut failures = 0;
    loop {
        match decrypt_once(kms, name, ciphertext).await {
            Ok(plaintext) => return Ok(plaintext),
            Err(NotDecrypted::ForGood(refused)) => return Err(refused),
            Err(NotDecrypted::Yet(error)) => {
                failures += 1;
                tracing::warn!(name, %error, failures, "KMS does not give a boot secret yet");
                tokio::time::sleep(BETWEEN_TRIES.wait(failures)).await;
            }
        }
    }
}

/// Whether there is a point in asking again.
pub(crate) enum NotDecrypted {
    Yet(KmsError),
    ForGood(BootRefused),
}

/// One try.
pub(crate) async fn decrypt_once(
    kms: &Kms,
    name: &str,
    SecretCiphertext { generation, bytes }: &SecretCiphertext,
) -> Result<Zeroizing<Vec<u8>>, NotDecrypted> {
    let number = generation.map(|generation| generation.to_string());
    let (context_name, key) = context_of(name);
    let mut context = vec![("nitro-signer", "boot-secret"), ("name", context_name)];
    context.extend(key.map(|key| ("key", key)));
    context.extend(number.as_deref().map(|number| ("generation", number)));
    kms.decrypt(bytes, Purpose::BootSecret, &context).await.map_err(|error| match error {
        KmsError::InvalidCiphertext => {
            NotDecrypted::ForGood(BootRefused::NotACiphertext(name.to_owned(), *generation))
        }
        KmsError::ForeignKey => NotDecrypted::ForGood(BootRefused::ForeignKey(name.to_owned())),
        error => NotDecrypted::Yet(error),
    })
}

/// Whether a client can send it so that it arrives as it is (RFC 9110 §5.5).
fn can_stand_in_a_header(api_key: &[u8]) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    !is_blank(api_key.first())
        && !is_blank(api_key.last())
        && api_key.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control())
}

#[cfg(test)]
mod tests {
    use super::can_stand_in_a_header;

    #[test]
    fn an_api_key_that_no_client_can_send_is_told() {
        for good in [&b"0123456789abcdef"[..], b"with a blank inside", "\u{e4}\u{f6}\u{fc}".as_bytes()] {
            assert!(can_stand_in_a_header(good), "{good:?}");
        }
        for bad in [&b" leading"[..], b"trailing ", b"\ttab", b"two\nlines", b"nul\0", b"del\x7f"] {
            assert!(!can_stand_in_a_header(bad), "{bad:?}");
        }
    }
}
