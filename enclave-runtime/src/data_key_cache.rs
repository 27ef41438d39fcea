//! The data keys at hand: the one that seals, and those that opened backups. Each costs one call to KMS.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::data_key::{DATA_KEY_BYTES, DataKey, DataKeyName, DataKeyPlaces};
use crate::flight::Flight;
use crate::kms::{EncryptionContext, Kms, KmsError, Purpose};
use crate::locked_memory::MemoryNotLocked;
use crate::restore::Lane;

/// Data keys at hand that open backups. One a day and one each boot are made: these are years of them, in 128 KiB.
const MAX_DATA_KEYS: usize = 4096;

/// Places for keys that were pushed out of the cache and are in use for a moment more, and for the one that seals.
const SPARE_PLACES: usize = 64;

/// The encryption context that KMS binds to the wrapped data key, and that the key policy requires.
const CONTEXT: EncryptionContext<'static> = &[("nitro-signer", "sealed-key")];

type DataKeyFlight = Flight<DataKey, KmsError>;

/// Data keys by their wrapped form.
pub(crate) struct DataKeyCache {
    kms: Arc<Kms>,
    places: Arc<DataKeyPlaces>,
    sealing: DataKeyFlight,
    opening: Mutex<Opening>,
}

#[derive(Default)]
struct Opening {
    /// Each with when it was last asked for.
    flights: HashMap<DataKeyName, (Arc<DataKeyFlight>, u64)>,
    uses: u64,
}

impl DataKeyCache {
    /// A cache that holds nothing yet.
    ///
    /// # Errors
    /// [`MemoryNotLocked`]
    pub(crate) fn new(kms: Arc<Kms>) -> Result<Self, MemoryNotLocked> {
        let places = DataKeyPlaces::new(MAX_DATA_KEYS + SPARE_PLACES)?;
        Ok(Self { kms, places, sealing: Flight::default(), opening: Mutex::default() })
    }

    /// The data key to seal the next backup with; its seal is counted.
    ///
    /// # Errors
    /// [`KmsError`]
    pub(crate) async fn to_seal(&self) -> Result<Arc<DataKey>, KmsError> {
        let (kms, places) = (Arc::clone(&self.kms), Arc::clone(&self.places));
        let fetch = async move {
            let made = kms.generate_data_key(CONTEXT).await?;
            let key = data_key(&places, &made.plaintext, made.wrapped)?;
            tracing::info!("new data key for sealing backups");
            Ok(key)
        };
        let key = self.sealing.get(DataKey::count_a_seal, fetch, KmsError::Lost).await?;
        // A backup that it sealed then opens without a call to KMS.
        self.remember(&key);
        Ok(key)
    }

    /// The data key of a backup, which `wrapped` holds, if KMS need not be asked.
    pub(crate) fn at_hand(&self, wrapped: &[u8]) -> Option<Arc<DataKey>> {
        self.opening().at_hand(DataKeyName::of(wrapped))
    }

    /// The data key of a backup, which `wrapped` holds. KMS is asked in the `lane` of the first client that needs it.
    ///
    /// # Errors
    /// [`KmsError`]
    pub(crate) async fn to_open(&self, wrapped: &[u8], lane: Lane) -> Result<Arc<DataKey>, KmsError> {
        let name = DataKeyName::of(wrapped);
        let flight = self.opening().flight(name);
        let (kms, places, wrapped) = (Arc::clone(&self.kms), Arc::clone(&self.places), wrapped.to_vec());
        let fetch = async move {
            let plaintext = kms.decrypt_backup(&wrapped, CONTEXT, lane).await?;
            data_key(&places, &plaintext, wrapped)
        };
        let outcome = flight.get(|_| true, fetch, KmsError::Lost).await;
        if outcome.is_err() {
            // A wrapped key that does not open keeps no place.
            self.opening().forget(name, &flight);
        }
        outcome
    }

    /// The data key of the kept certificate, which `wrapped` holds. Those at hand may be under keys that only open
    /// backups, so KMS is asked.
    ///
    /// # Errors
    /// [`KmsError`]
    pub(crate) async fn to_open_certificate(&self, wrapped: &[u8]) -> Result<DataKey, KmsError> {
        let plaintext = self.kms.decrypt(wrapped, Purpose::Certificate, CONTEXT).await?;
        data_key(&self.places, &plaintext, wrapped.to_vec())
    }

    fn remember(&self, key: &Arc<DataKey>) {
        let mut opening = self.opening();
        if !opening.flights.contains_key(&key.name()) {
            opening.make_room();
            let uses = opening.uses;
            opening.flights.insert(key.name(), (Arc::new(Flight::landed(Arc::clone(key))), uses));
        }
    }

    fn opening(&self) -> MutexGuard<'_, Opening> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Opening {
    fn at_hand(&mut self, name: DataKeyName) -> Option<Arc<DataKey>> {
        let (flight, last_use) = self.flights.get_mut(&name)?;
        let key = flight.at_hand()?;
        self.uses += 1;
        *last_use = self.uses;
        Some(key)
    }

    fn flight(&mut self, name: DataKeyName) -> Arc<DataKeyFlight> {
        if !self.flights.contains_key(&name) {
            self.make_room();
        }
        self.uses += 1;
        let (flight, last_use) = self.flights.entry(name).or_default();
        *last_use = self.uses;
        Arc::clone(flight)
    }

    /// Unless another flight has taken its place.
    fn forget(&mut self, name: DataKeyName, failed: &Arc<DataKeyFlight>) {
        if self.flights.get(&name).is_some_and(|(flight, _)| Arc::ptr_eq(flight, failed)) {
            self.flights.remove(&name);
        }
    }

    /// Pushes out what was not asked for the longest.
    fn make_room(&mut self) {
        let oldest = self.flights.iter().min_by_key(|(_, (_, last_use))| *last_use).map(|(name, _)| *name);
        if let Some(oldest) = oldest
            && self.flights.len() >= MAX_DATA_KEYS
        {
            self.flights.remove(&oldest);
        }
    }
}

fn data_key(places: &Arc<DataKeyPlaces>, plaintext: &[u8], wrapped: Vec<u8>) -> Result<DataKey, KmsError> {
    if plaintext.len() != DATA_KEY_BYTES {
        return Err(KmsError::Unintelligible);
    }
    let key = DataKey::new(places, plaintext, wrapped).ok_or(KmsError::NoPlace);
    key.inspect_err(|error| tracing::error!(%error, "a data key is lost"))
}
