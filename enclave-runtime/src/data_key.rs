//! The keys that seal backups. KMS makes them and keeps no copy: each backup carries its data key, wrapped.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest as _, Sha256};
use tokio::time::{Duration, Instant};
use zeroize::Zeroize as _;

use crate::locked_memory::{MemoryNotLocked, leak_locked};

/// Backups sealed under one data key. Nonces are random: after so many, two of them are alike with a chance of 2^-57.
pub(crate) const MAX_SEALS: u32 = 1 << 20;

/// How long a data key seals. What leaks of one opens the backups of a day.
pub(crate) const MAX_SEALING_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// AES-256.
pub(crate) const DATA_KEY_BYTES: usize = 32;

/// The bytes of a tag of AES-GCM.
pub(crate) const TAG_BYTES: usize = 16;

type Place = &'static mut [u8; DATA_KEY_BYTES];

/// Places for data keys in locked memory.
pub(crate) struct DataKeyPlaces(Mutex<Vec<Place>>);

impl DataKeyPlaces {
    /// # Errors
    /// [`MemoryNotLocked`]
    pub(crate) fn new(count: usize) -> Result<Arc<Self>, MemoryNotLocked> {
        let places = leak_locked(count, || [0; DATA_KEY_BYTES])?;
        Ok(Arc::new(Self(Mutex::new(places.iter_mut().collect()))))
    }

    fn take(&self) -> Option<Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give_back(&self, place: Place) {
        place.zeroize();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(place);
    }
}

/// The SHA-256 of a wrapped data key: what it is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DataKeyName([u8; 32]);

impl DataKeyName {
    pub(crate) fn of(wrapped: &[u8]) -> Self {
        Self(Sha256::digest(wrapped).into())
    }
}

/// A data key at hand, in locked memory, wiped on drop.
pub struct DataKey {
    place: Option<Place>,
    places: Arc<DataKeyPlaces>,
    wrapped: Vec<u8>,
    name: DataKeyName,
    made: Instant,
    seals: AtomicU32,
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("DataKey").finish_non_exhaustive()
    }
}

impl DataKey {
    /// A data key without KMS, in locked memory of its own. `None` if there is no such memory.
    #[cfg(feature = "dev")]
    #[must_use]
    pub fn alone(plaintext: &[u8; DATA_KEY_BYTES], wrapped: Vec<u8>) -> Option<Self> {
        Self::new(&DataKeyPlaces::new(1).ok()?, plaintext, wrapped)
    }

    /// Copies `plaintext`, which the caller wipes. `None` if it is not 32 bytes, or if no place is left.
    pub(crate) fn new(places: &Arc<DataKeyPlaces>, plaintext: &[u8], wrapped: Vec<u8>) -> Option<Self> {
        if plaintext.len() != DATA_KEY_BYTES {
            return None;
        }
        let place = places.take()?;
        place.copy_from_slice(plaintext);
        let places = Arc::clone(places);
        let name = DataKeyName::of(&wrapped);
        Some(Self {
            place: Some(place),
            places,
            wrapped,
            name,
            made: Instant::now(),
            seals: AtomicU32::new(0),
        })
    }

    /// As KMS gave it to be kept.
    pub(crate) fn wrapped(&self) -> &[u8] {
        &self.wrapped
    }

    pub(crate) const fn name(&self) -> DataKeyName {
        self.name
    }

    /// Counts one more backup, if it may seal one more.
    pub(crate) fn count_a_seal(&self) -> bool {
        let one_more = |seals: u32| (seals < MAX_SEALS).then_some(seals + 1);
        self.made.elapsed() < MAX_SEALING_AGE
            && self.seals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// AES-256-GCM; `text` becomes ciphertext.
    pub(crate) fn seal(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
    ) -> Option<[u8; TAG_BYTES]> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.key()?.seal_in_place_separate_tag(nonce, Aad::from(aad), text).ok()?;
        tag.as_ref().try_into().ok()
    }

    /// AES-256-GCM; `text` is filled if tag and associated data are right.
    pub(crate) fn open(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_BYTES],
        text: &mut [u8],
    ) -> Option<()> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key()?.open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, text).ok()
    }

    /// Made for each use: a key schedule reveals the key, and would not be in locked memory.
    fn key(&self) -> Option<LessSafeKey> {
        let bytes: &[u8; DATA_KEY_BYTES] = self.place.as_deref()?;
        Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).ok()?))
    }
}

impl Drop for DataKey {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.places.give_back(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Duration;

    use super::{DataKey, DataKeyPlaces, MAX_SEALING_AGE, MAX_SEALS};

    #[test]
    fn a_place_is_wiped_and_used_again() {
        let places = DataKeyPlaces::new(1).unwrap();
        assert!(DataKey::new(&places, &[7; 31], Vec::new()).is_none());
        let first = DataKey::new(&places, &[7; 32], vec![1]).unwrap();
        assert!(DataKey::new(&places, &[8; 32], Vec::new()).is_none(), "there is one place");
        drop(first);
        assert_eq!(**places.0.lock().unwrap().first().unwrap(), [0; 32]);
        assert!(DataKey::new(&places, &[8; 32], Vec::new()).is_some());
    }

    #[test]
    fn seals_so_many_times() {
        let places = DataKeyPlaces::new(1).unwrap();
        let key = DataKey::new(&places, &[7; 32], Vec::new()).unwrap();
        for _ in 0..MAX_SEALS {
            assert!(key.count_a_seal());
        }
        assert!(!key.count_a_seal());
        assert!(!key.count_a_seal());
    }

    #[tokio::test(start_paused = true)]
    async fn seals_for_so_long() {
        let places = DataKeyPlaces::new(1).unwrap();
        let key = DataKey::new(&places, &[7; 32], Vec::new()).unwrap();
        tokio::time::advance(MAX_SEALING_AGE - Duration::from_millis(1)).await;
        assert!(key.count_a_seal());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!key.count_a_seal());
    }
}
