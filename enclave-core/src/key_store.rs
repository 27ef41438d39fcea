//! The keys: which identity holds which.
//!
//! A stored key's bytes are in one slot of the storage that the caller lends (locked, and kept out of core dumps, by
//! the runtime) from `insert` until `remove`, or until the store is dropped, which wipes all of it.

use crate::hash_seed::HashSeed;
use crate::identity::IdentityId;
use crate::key_binding::KeyBinding;
use crate::key_origin::KeyOrigin;
use crate::secret_key::{KeyPair, PublicKey, SecretKey};
use crate::slot_table::{Entry, Position, Slot, SlotTable};

/// The content of a [`KeySlot`].
pub struct StoredKey {
    identity: [u8; 16],
    pair: KeyPair,
    /// One byte, which the slot had to spare.
    origin: KeyOrigin,
}

impl core::fmt::Debug for StoredKey {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("StoredKey").finish_non_exhaustive()
    }
}

/// Storage for one key.
pub type KeySlot = Slot<StoredKey>;

impl KeySlot {
    /// A slot with nothing in it.
    pub const VACANT: Self = Slot::holding(StoredKey {
        identity: [0; 16],
        pair: KeyPair { secret: SecretKey::vacant(), public: PublicKey::vacant() },
        origin: KeyOrigin::Imported,
    });
}

impl Entry for StoredKey {
    fn key(&self) -> &[u8; 16] {
        &self.identity
    }

    fn vacate(&mut self) {
        self.identity = [0; 16];
        self.pair.secret.wipe();
        self.pair.public = PublicKey::vacant();
        // The one that claims less.
        self.origin = KeyOrigin::Imported;
    }
}

/// Why a key was not stored. The store is unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotStored {
    /// The identity holds a key.
    Exists,
    /// Every slot holds a key.
    Full,
}

/// At most as many keys as it was lent slots.
pub struct KeyStore<'s>(SlotTable<'s, StoredKey>);

impl core::fmt::Debug for KeyStore<'_> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("KeyStore").finish_non_exhaustive()
    }
}

impl<'s> KeyStore<'s> {
    /// An empty store in `slots`, whatever they held.
    #[must_use]
    pub fn new(slots: &'s mut [KeySlot], seed: HashSeed) -> Self {
        Self(SlotTable::new(slots, seed))
    }

    /// How many keys it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The key of `identity`.
    #[must_use]
    pub fn find(&self, identity: &IdentityId) -> Option<&KeyPair> {
        self.locate(identity).map(|(_, pair)| pair)
    }

    /// The key of `identity`, and the slot that it is in.
    pub(crate) fn locate(&self, identity: &IdentityId) -> Option<(Position, &KeyPair)> {
        let position = self.0.find(identity.as_bytes())?;
        Some((position, &self.0.entry(position)?.pair))
    }

    /// The public facts about the key of `identity`.
    #[must_use]
    pub fn binding(&self, identity: &IdentityId) -> Option<KeyBinding> {
        let position = self.0.find(identity.as_bytes())?;
        let StoredKey { identity: _, pair, origin } = self.0.entry(position)?;
        Some(KeyBinding { identity: *identity, public_key: pair.public, origin: *origin })
    }

    /// Whether a key of `identity` could be stored now.
    ///
    /// # Errors
    /// [`NotStored`]
    pub fn has_room_for(&self, identity: &IdentityId) -> Result<(), NotStored> {
        if self.0.find(identity.as_bytes()).is_some() {
            return Err(NotStored::Exists);
        }
        if self.0.is_full() { Err(NotStored::Full) } else { Ok(()) }
    }

    /// Stores a copy of `pair`, and that it came from `origin`.
    ///
    /// # Errors
    /// [`NotStored`]; a stored key stays, and so does its origin.
    pub fn insert(
        &mut self,
        identity: &IdentityId,
        pair: &KeyPair,
        origin: KeyOrigin,
    ) -> Result<(), NotStored> {
        self.has_room_for(identity)?;
        let fill = |entry: &mut StoredKey| {
            entry.identity = *identity.as_bytes();
            entry.pair.secret.copy_from(&pair.secret);
            entry.pair.public = pair.public;
            entry.origin = origin;
        };
        self.0.insert(identity.as_bytes(), fill).map(drop).map_err(|_| NotStored::Full)
    }

    /// Wipes the key of `identity`; whether there was one.
    pub fn remove(&mut self, identity: &IdentityId) -> bool {
        self.0.remove(identity.as_bytes())
    }
}

impl Drop for KeyStore<'_> {
    fn drop(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{KeySlot, KeyStore, NotStored};
    use crate::hash_seed::HashSeed;
    use crate::identity::IdentityId;
    use crate::key_origin::KeyOrigin;
    use crate::secret_key::{KeyPair, SecretKey};

    const GENERATED: KeyOrigin = KeyOrigin::Generated;

    fn identity(number: u32) -> IdentityId {
        IdentityId::from_text(format!("00000000-0000-4000-8000-{number:012x}").as_bytes()).unwrap()
    }

    fn pair(number: u8) -> KeyPair {
        KeyPair::from(SecretKey::take(&mut [number; 32]).unwrap())
    }

    fn slots(count: usize) -> Vec<KeySlot> {
        (0..count).map(|_| KeySlot::VACANT).collect()
    }

    #[test]
    fn holds_as_many_as_it_was_lent_and_evicts_none() {
        let mut slots = slots(5);
        let mut store = KeyStore::new(&mut slots, HashSeed::new([7; 16]));
        for number in 0..5 {
            assert_eq!(store.insert(&identity(number), &pair(1), GENERATED), Ok(()));
        }
        assert_eq!(store.insert(&identity(5), &pair(2), GENERATED), Err(NotStored::Full));
        assert_eq!(store.insert(&identity(0), &pair(2), GENERATED), Err(NotStored::Exists));
        assert!((0..5).all(|number| store.find(&identity(number)).is_some()));
        assert!(store.remove(&identity(3)));
        assert!(!store.remove(&identity(3)));
        assert_eq!(store.insert(&identity(5), &pair(2), GENERATED), Ok(()));
        assert_eq!(store.len(), 5);
        assert!(store.find(&identity(3)).is_none());
    }

    /// The size that the documentation tells operators.
    #[test]
    fn a_slot_takes_92_bytes() {
        assert_eq!(size_of::<KeySlot>(), 92);
    }

    #[test]
    fn each_key_keeps_its_own_origin_until_it_is_removed() {
        let mut slots = slots(2);
        let mut store = KeyStore::new(&mut slots, HashSeed::new([7; 16]));
        store.insert(&identity(0), &pair(1), GENERATED).unwrap();
        store.insert(&identity(1), &pair(2), KeyOrigin::Imported).unwrap();
        assert_eq!(store.insert(&identity(0), &pair(1), KeyOrigin::Imported), Err(NotStored::Exists));
        for (number, scalar, origin) in [(0, 1, GENERATED), (1, 2, KeyOrigin::Imported)] {
            let binding = store.binding(&identity(number)).unwrap();
            assert_eq!(binding.identity, identity(number));
            assert_eq!(binding.public_key, *pair(scalar).public_key());
            assert_eq!(binding.origin, origin);
        }
        store.remove(&identity(0));
        assert!(store.binding(&identity(0)).is_none());
        // The very slot that held a generated key.
        store.insert(&identity(0), &pair(1), KeyOrigin::Imported).unwrap();
        assert_eq!(store.binding(&identity(0)).unwrap().origin, KeyOrigin::Imported);
    }

    #[test]
    fn no_storage_holds_no_key() {
        let mut store = KeyStore::new(&mut [], HashSeed::new([0; 16]));
        assert_eq!(store.insert(&identity(0), &pair(1), GENERATED), Err(NotStored::Full));
        assert!(store.find(&identity(0)).is_none());
        assert!(!store.remove(&identity(0)));
    }

    #[test]
    fn a_removed_key_and_a_dropped_store_leave_no_bytes() {
        let mut slots = slots(3);
        let holds = |slots: &[KeySlot], number| {
            slots.iter().any(|slot| slot.entry().pair.secret.secret_bytes() == &[number; 32])
        };
        let mut store = KeyStore::new(&mut slots, HashSeed::new([1; 16]));
        store.insert(&identity(1), &pair(0x41), GENERATED).unwrap();
        store.insert(&identity(2), &pair(0x42), GENERATED).unwrap();
        store.remove(&identity(1));
        core::mem::forget(store);
        assert!(!holds(&slots, 0x41));
        assert!(holds(&slots, 0x42));

        let mut store = KeyStore::new(&mut slots, HashSeed::new([1; 16]));
        store.insert(&identity(2), &pair(0x43), GENERATED).unwrap();
        drop(store);
        assert!(!holds(&slots, 0x42) && !holds(&slots, 0x43));
    }
}
