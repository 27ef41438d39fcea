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
use crate::kms::KmsFault;
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
pub(crate) enum StoreFault {
    /// The relay fails.
    Relay(&'static str),
    /// There is no data key.
    Kms(KmsFault),
    /// There is no randomness, or the state cannot be encoded.
    NotSealed,
}

impl fmt::Display for StoreFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relay(reason) => formatter.write_str(reason),
            Self::Kms(fault) => fault.fmt(formatter),
            Self::NotSealed => formatter.write_str("it cannot be sealed"),
        }
    }
}

impl std::error::Error for StoreFault {}

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
    pub(crate) async fn load(&self) -> Result<Found, StoreFault> {
        let bytes = timeout(EXCHANGE_DEADLINE, self.fetch())
            .await
            .unwrap_or(Err(StoreFault::Relay("the parent takes too long to send it")))?;
        if bytes.is_empty() {
            return Ok(Found::Nothing);
        }
        let Some(sealed) = SealedCertificate::parse(&bytes) else { return Ok(Found::Damaged) };
        let data_key = match self.data_keys()?.to_open_certificate(sealed.wrapped()).await {
            Ok(data_key) => data_key,
            // KMS refuses a damaged data key. A data key under another KMS key is not from this signer.
            Err(fault) if fault.is_of_ciphertext() => return Ok(Found::Damaged),
            Err(fault) => return Err(StoreFault::Kms(fault)),
        };
        Ok(sealed.open(&data_key).map_or(Found::Damaged, Found::State))
    }

    fn data_keys(&self) -> Result<&DataKeyCache, StoreFault> {
        self.data_keys.as_deref().ok_or(StoreFault::NotSealed)
    }

    async fn fetch(&self) -> Result<Vec<u8>, StoreFault> {
        let stream = self
            .read
            .dial()
            .await
            .map_err(|_| StoreFault::Relay("the relay that sends it does not answer"))?;
        let mut bytes = Vec::new();
        let limit = MAX_SEALED_CERTIFICATE_BYTES as u64 + 1;
        let read = stream.take(limit).read_to_end(&mut bytes).await;
        read.map(|_| bytes).map_err(|_| StoreFault::Relay("the parent does not send it to its end"))
    }

    /// Seals `state` and has the parent replace its copy.
    pub(crate) async fn save(&self, state: &AcmeState) -> Result<(), StoreFault> {
        let data_key = self.data_keys()?.to_seal().await.map_err(StoreFault::Kms)?;
        let mut nonce = [0; NONCE_LEN];
        entropy::fill(&mut nonce).map_err(|_| StoreFault::NotSealed)?;
        let sealed = SealedCertificate::seal(&data_key, nonce, state).ok_or(StoreFault::NotSealed)?.bytes();
        timeout(EXCHANGE_DEADLINE, self.put(&sealed))
            .await
            .unwrap_or(Err(StoreFault::Relay("the parent takes too long to keep it")))
    }

    /// Sends the length first, so that the parent recognizes a connection that is cut early, and keeps its old copy.
    async fn put(&self, sealed: &[u8]) -> Result<(), StoreFault> {
        const CUT: StoreFault = StoreFault::Relay("the parent does not keep it");
        let mut stream = self
            .write
            .dial()
            .await
            .map_err(|_| StoreFault::Relay("the relay that keeps it does not answer"))?;
        let length = u32::try_from(sealed.len()).map_err(|_| StoreFault::NotSealed)?;
        stream.write_all(&length.to_be_bytes()).await.map_err(|_| CUT)?;
        stream.write_all(sealed).await.map_err(|_| CUT)?;
        match stream.read_u8().await {
            Ok(REPLACED) => Ok(()),
            _ => Err(CUT),
        }
    }
}
