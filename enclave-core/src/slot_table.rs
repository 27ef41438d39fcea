//! A hash table of fixed capacity in storage that its owner lends: chained, keyed, never growing.
//!
//! Slot `b` plays two parts: its `chain` heads bucket `b`, and its entry belongs to whichever chain `next` continues.
//! There are as many buckets as slots, so a chain holds one entry on average however full the table is, and a keyed
//! hash keeps clients from choosing the bucket. Free slots form a list of their own. No operation looks at more than
//! one chain.

use core::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use crate::hash_seed::HashSeed;

/// An entry of a table, with a sixteen-byte key.
pub(crate) trait Entry {
    fn key(&self) -> &[u8; 16];

    /// Overwrites the entry, leaving no trace of what it was.
    fn vacate(&mut self);
}

/// The position of a slot.
pub(crate) type Position = u32;

/// No slot.
pub(crate) const NOWHERE: Position = Position::MAX;

/// One place in a table.
pub struct Slot<E> {
    chain: Position,
    next: Position,
    entry: E,
}

/// Its entry, which knows its secret parts. Not its place in the table, which reveals the seed.
impl<E: core::fmt::Debug> core::fmt::Debug for Slot<E> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("Slot").field("entry", &self.entry).finish_non_exhaustive()
    }
}

impl<E> Slot<E> {
    pub(crate) const fn holding(entry: E) -> Self {
        Self { chain: NOWHERE, next: NOWHERE, entry }
    }

    #[cfg(test)]
    pub(crate) const fn entry(&self) -> &E {
        &self.entry
    }
}

pub(crate) struct SlotTable<'s, E> {
    slots: &'s mut [Slot<E>],
    free: Position,
    len: usize,
    seed: HashSeed,
}

/// Every slot is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl<'s, E: Entry> SlotTable<'s, E> {
    /// Takes storage over, whatever it held. Slots beyond 2^32 − 1 stay unused.
    pub(crate) fn new(slots: &'s mut [Slot<E>], seed: HashSeed) -> Self {
        let usable = slots.len().min(NOWHERE as usize);
        let (slots, _) = slots.split_at_mut(usable);
        let mut free = NOWHERE;
        for (position, slot) in (0..NOWHERE).zip(slots.iter_mut()).rev() {
            slot.chain = NOWHERE;
            slot.next = free;
            slot.entry.vacate();
            free = position;
        }
        Self { slots, free, len: 0, seed }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_full(&self) -> bool {
        self.slots.get(self.free as usize).is_none()
    }

    pub(crate) fn find(&self, key: &[u8; 16]) -> Option<Position> {
        let mut position = self.slots.get(self.bucket(key) as usize)?.chain;
        while let Some(slot) = self.slots.get(position as usize) {
            if slot.entry.key() == key {
                return Some(position);
            }
            position = slot.next;
        }
        None
    }

    pub(crate) fn entry(&self, position: Position) -> Option<&E> {
        self.slots.get(position as usize).map(|slot| &slot.entry)
    }

    pub(crate) fn entry_mut(&mut self, position: Position) -> Option<&mut E> {
        self.slots.get_mut(position as usize).map(|slot| &mut slot.entry)
    }

    /// Puts `fill` to work on a free slot's entry. The caller has looked for `key` before and not found it.
    pub(crate) fn insert(&mut self, key: &[u8; 16], fill: impl FnOnce(&mut E)) -> Result<Position, Full> {
        let bucket = self.bucket(key) as usize;
        let chain = self.slots.get(bucket).ok_or(Full)?.chain;
        let position = self.free;
        let slot = self.slots.get_mut(position as usize).ok_or(Full)?;
        self.free = slot.next;
        slot.next = chain;
        fill(&mut slot.entry);
        if let Some(head) = self.slots.get_mut(bucket) {
            head.chain = position;
        }
        self.len += 1;
        Ok(position)
    }

    /// Vacates the slot that holds `key`; whether there was one.
    pub(crate) fn remove(&mut self, key: &[u8; 16]) -> bool {
        let bucket = self.bucket(key) as usize;
        let Some(position) = self.find(key) else { return false };
        let Some(slot) = self.slots.get_mut(position as usize) else { return false };
        slot.entry.vacate();
        let after = core::mem::replace(&mut slot.next, self.free);
        self.free = position;
        self.len -= 1;
        // The link that led to it, at the bucket's head or in the entry before it, now skips it.
        let Some(head) = self.slots.get_mut(bucket) else { return true };
        if head.chain == position {
            head.chain = after;
            return true;
        }
        let mut before = head.chain;
        while let Some(slot) = self.slots.get_mut(before as usize) {
            if slot.next == position {
                slot.next = after;
                break;
            }
            before = slot.next;
        }
        true
    }

    /// Vacates every slot.
    pub(crate) fn clear(&mut self) {
        let slots = core::mem::take(&mut self.slots);
        let seed = HashSeed::new(*self.seed.bytes());
        *self = Self::new(slots, seed);
    }

    fn bucket(&self, key: &[u8; 16]) -> Position {
        let mut hasher = SipHasher13::new_with_key(self.seed.bytes());
        hasher.write(key);
        // The high half of hash × length: a range reduction without the bias or the cost of a remainder.
        let spread = u128::from(hasher.finish()) * self.slots.len() as u128;
        Position::try_from(spread >> 64).unwrap_or(NOWHERE)
    }
}
