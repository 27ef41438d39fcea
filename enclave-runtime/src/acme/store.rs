//! The store of the ACME state: a file of the parent, sealed. The parent may lose, withhold or roll back the state, but
//! cannot read it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::aead::NONCE_LEN;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::state::AcmeState;
use crate::data_key_cache::DataKeyCache;
use crate::entropy;
use crate::kms::KmsError;
use crate::relay::Relay;
use crate::sealed_certificate::{MAX_SEALED_CERTIFICATE_BYTES, SealedCertificate};

/// From dialing the relay to the last byte. The parent must read a file, or write it to disk.
const EXCHANGE_DEADLINE: Duration = Duration::from_secs(10);

/// The proxy's confirmation that the file is in place.
const REPLACED: u8 = 0x06;

/// Reads and replaces the sealed state.
pub(crate) struct Store {
    read: Relay,
    write: Relay,
    /// `None` until the data keys exist. Nothing can be read or stored before that.
    data_keys: Option<Arc<DataKeyCache>>,
}

/// The result of reading the store.
#[derive(Debug)]
pub(crate) enum Found {
    /// The parent has no state.
    Nothing,
    /// The parent's state is damaged, or another key sealed it.
    Damaged,
    /// A state that this signer sealed, now or earlier.
    State(AcmeState),
}

/// Why the store cannot be used now.
#[derive(Debug)]
pub(crate) enum StoreError {
    /// The relay fails.
    Relay(&'static str),
    /// There is no data key.
    Kms(KmsError),
    /// There is no randomness, or the state cannot be encoded.
    NotSealed,
}

impl fmt::Display for StoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relay(reason) => formatter.write_str(reason),
            Self::Kms(error) => error.fmt(formatter),
            Self::NotSealed => formatter.write_str("it cannot be sealed"),
        }
    }
}

impl std::error::Error for StoreError {}

impl Store {
    /// A store behind two relays, one to read and one to write.
    pub(crate) const fn new(read: Relay, write: Relay) -> Self {
        Self { read, write, data_keys: None }
    }

    /// Sets the data keys that seal and open the state.
    pub(crate) fn unlock(&mut self, data_keys: Arc<DataKeyCache>) {
        self.data_keys = Some(data_keys);
    }

    /// Reads the parent's state.
    pub(crate) async fn load(&self) -> Result<Found, StoreError> {
        let bytes = timeout(EXCHANGE_DEADLINE, self.fetch())
            .await
            .unwrap_or(Err(StoreError::Relay("the parent takes too long to send it")))?;
        if bytes.is_empty() {
            return Ok(Found::Nothing);
        }
        let Some(sealed) = SealedCertificate::parse(&bytes) else { return Ok(Found::Damaged) };
        let data_key = match self.data_keys()?.to_open_certificate(sealed.wrapped()).await {
            Ok(data_key) => data_key,
            // KMS refuses a damaged data key. A data key under another KMS key is not from this signer.
            Err(error) if error.is_of_ciphertext() => return Ok(Found::Damaged),
            Err(error) => return Err(StoreError::Kms(error)),
        };
        Ok(sealed.open(&data_key).map_or(Found::Damaged, Found::State))
    }

    fn data_keys(&self) -> Result<&DataKeyCache, StoreError> {
        self.data_keys.as_deref().ok_or(StoreError::NotSealed)
    }

    async fn fetch(&self) -> Result<Vec<u8>, StoreError> {
        let stream = self
            .read
            .dial()
            .await
            .map_err(|_| StoreError::Relay("the relay that sends it does not answer"))?;
        let mut bytes = Vec::new();
        let limit = MAX_SEALED_CERTIFICATE_BYTES as u64 + 1;
        let read = stream.take(limit).read_to_end(&mut bytes).await;
        read.map(|_| bytes).map_err(|_| StoreError::Relay("the parent does not send it to its end"))
    }

    /// Seals `state` and has the parent replace its copy.
    pub(crate) async fn save(&self, state: &AcmeState) -> Result<(), StoreError> {
        let data_key = self.data_keys()?.to_seal().await.map_err(StoreError::Kms)?;
        let mut nonce = [0; NONCE_LEN];
        entropy::fill(&mut nonce).map_err(|_| StoreError::NotSealed)?;
        let sealed = SealedCertificate::seal(&data_key, nonce, state).ok_or(StoreError::NotSealed)?.bytes();
        timeout(EXCHANGE_DEADLINE, self.put(&sealed))
            .await
            .unwrap_or(Err(StoreError::Relay("the parent takes too long to keep it")))
    }

    /// Sends the length first, so that the parent recognizes a connection that is cut early, and keeps its old copy.
    async fn put(&self, sealed: &[u8]) -> Result<(), StoreError> {
        const CUT: StoreError = StoreError::Relay("the parent does not keep it");
        let mut stream = self
            .write
            .dial()
            .await
            .map_err(|_| StoreError::Relay("the relay that keeps it does not answer"))?;
        let length = u32::try_from(sealed.len()).map_err(|_| StoreError::NotSealed)?;
        stream.write_all(&length.to_be_bytes()).await.map_err(|_| CUT)?;
        stream.write_all(sealed).await.map_err(|_| CUT)?;
        match stream.read_u8().await {
            Ok(REPLACED) => Ok(()),
            _ => Err(CUT),
        }
    }
}
