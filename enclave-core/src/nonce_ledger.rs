//! The nonces of tickets that were used, each until its ticket expires.
//!
//! A nonce is kept as a 128-bit keyed fingerprint. Two nonces with one fingerprint would make the second a false
//! replay, never a missed one, and without the seed nobody can look for such a pair.
//!
//! Expiry is a wheel with a bucket for each second that a live ticket can expire in; a bucket's nonces stand in line
//! in the order they came. Each record lets at most [`FORGOTTEN_PER_RECORD`] due nonces go, so no call pays for many
//! that came before it, and a ledger that is full of live nonces refuses. A nonce whose ticket has expired may wait
//! for its turn, and until then another ticket with the same nonce is a replay too.

use core::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher24};

use crate::hash_seed::HashSeed;
use crate::slot_table::{Entry, NOWHERE, Position, Slot, SlotTable};

/// How many due nonces a record lets go at most: more than the one it adds, so that the ledger catches up after a
/// burst.
pub const FORGOTTEN_PER_RECORD: u32 = 4;

/// The content of a [`NonceSlot`].
pub struct RecordedNonce {
    fingerprint: [u8; 16],
    exp_unix_s: u64,
    /// Behind this one in its bucket's line.
    behind: Position,
}

/// Storage for one nonce.
pub type NonceSlot = Slot<RecordedNonce>;

impl NonceSlot {
    /// A slot with nothing in it.
    pub const VACANT: Self =
        Slot::holding(RecordedNonce { fingerprint: [0; 16], exp_unix_s: 0, behind: NOWHERE });
}

impl Entry for RecordedNonce {
    fn key(&self) -> &[u8; 16] {
        &self.fingerprint
    }

    fn vacate(&mut self) {
        *self = Self { fingerprint: [0; 16], exp_unix_s: 0, behind: NOWHERE };
    }
}

/// Storage for one second of the expiry wheel.
#[derive(Clone, Copy)]
pub struct ExpirySecond {
    first: Position,
    last: Position,
}

impl ExpirySecond {
    /// A second in which nothing expires.
    pub const VACANT: Self = Self { first: NOWHERE, last: NOWHERE };
}

/// How many [`ExpirySecond`]s a ledger needs for tickets that live up to `max_ticket_ttl_s`: one for each second they
/// can expire in, the current one and the one that a fraction rounds up to.
#[must_use]
pub const fn wheel_seconds(max_ticket_ttl_s: u32) -> usize {
    max_ticket_ttl_s as usize + 2
}

/// Proof that a nonce was unseen and is now recorded. Only [`NonceLedger::record`] makes one.
#[must_use]
pub struct Recorded(());

/// Why a nonce was not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotRecorded {
    /// The ledger has it.
    Seen,
    /// Nonces of tickets that expire no earlier were forgotten: the clock was ahead of `now` before. Whether this
    /// one was among them cannot be told any more.
    Forgotten,
    /// Every slot holds a live nonce.
    Full,
}

/// At most as many nonces as it was lent slots.
pub struct NonceLedger<'s> {
    nonces: SlotTable<'s, RecordedNonce>,
    wheel: &'s mut [ExpirySecond],
    /// Every bucket up to this second has been visited.
    visited_unix_s: u64,
    forgotten_until_unix_s: u64,
    fingerprint_seed: HashSeed,
}

/// Without its seeds.
impl core::fmt::Debug for NonceLedger<'_> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("NonceLedger").finish_non_exhaustive()
    }
}

impl<'s> NonceLedger<'s> {
    /// An empty ledger in the storage lent, whatever it held; `wheel` as long as [`wheel_seconds`] says.
    #[must_use]
    pub fn new(
        slots: &'s mut [NonceSlot],
        wheel: &'s mut [ExpirySecond],
        table_seed: HashSeed,
        fingerprint_seed: HashSeed,
    ) -> Self {
        wheel.fill(ExpirySecond::VACANT);
        Self {
            nonces: SlotTable::new(slots, table_seed),
            wheel,
            visited_unix_s: 0,
            forgotten_until_unix_s: 0,
            fingerprint_seed,
        }
    }

    /// How many nonces it holds, expired ones that are still to be forgotten included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nonces.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Records the nonce of a ticket that expires at `exp_unix_s`, which is after `now_unix_s`.
    ///
    /// # Errors
    /// [`NotRecorded`]; a nonce is then as seen or unseen as it was.
    pub fn record(
        &mut self,
        nonce: &[u8],
        exp_unix_s: u64,
        now_unix_s: u64,
    ) -> Result<Recorded, NotRecorded> {
        self.forget_due(now_unix_s);
        if exp_unix_s <= self.forgotten_until_unix_s {
            return Err(NotRecorded::Forgotten);
        }
        let fingerprint = self.fingerprint(nonce);
        if self.nonces.find(&fingerprint).is_some() {
            return Err(NotRecorded::Seen);
        }
        let bucket = self.bucket(exp_unix_s).ok_or(NotRecorded::Full)?;
        let fill =
            |entry: &mut RecordedNonce| *entry = RecordedNonce { fingerprint, exp_unix_s, behind: NOWHERE };
        let position = self.nonces.insert(&fingerprint, fill).map_err(|_| NotRecorded::Full)?;
        if let Some(second) = self.wheel.get_mut(bucket) {
            let last = core::mem::replace(&mut second.last, position);
            match self.nonces.entry_mut(last) {
                Some(last) => last.behind = position,
                None => second.first = position,
            }
        }
        Ok(Recorded(()))
    }

    /// Whether it holds the nonce, so that [`record`](Self::record) would refuse it as seen.
    pub(crate) fn has_seen(&self, nonce: &[u8]) -> bool {
        self.nonces.find(&self.fingerprint(nonce)).is_some()
    }

    fn fingerprint(&self, nonce: &[u8]) -> [u8; 16] {
        let mut hasher = SipHasher24::new_with_key(self.fingerprint_seed.bytes());
        hasher.write(nonce);
        hasher.finish128().as_bytes()
    }

    /// Lets a few nonces go whose tickets have expired.
    fn forget_due(&mut self, now_unix_s: u64) {
        if self.is_empty() {
            self.visited_unix_s = now_unix_s;
            return;
        }
        let turn = self.wheel.len() as u64;
        // Not before one turn of the wheel ago, which sees every bucket; nor after now, if the clock was set back.
        let one_turn_ago = now_unix_s.saturating_sub(turn);
        self.visited_unix_s = self.visited_unix_s.clamp(one_turn_ago, now_unix_s);
        let mut allowed = FORGOTTEN_PER_RECORD;
        while self.visited_unix_s < now_unix_s {
            while let Some((fingerprint, exp_unix_s)) = self.first_due(self.visited_unix_s + 1, now_unix_s) {
                if allowed == 0 {
                    return;
                }
                allowed -= 1;
                self.forget_first(self.visited_unix_s + 1, &fingerprint);
                self.forgotten_until_unix_s = self.forgotten_until_unix_s.max(exp_unix_s);
            }
            self.visited_unix_s += 1;
        }
    }

    /// The nonce at the head of a second's line, if its ticket has expired.
    fn first_due(&self, second_unix_s: u64, now_unix_s: u64) -> Option<([u8; 16], u64)> {
        let second = self.wheel.get(self.bucket(second_unix_s)?)?;
        let nonce = self.nonces.entry(second.first)?;
        (nonce.exp_unix_s <= now_unix_s).then_some((nonce.fingerprint, nonce.exp_unix_s))
    }

    fn forget_first(&mut self, second_unix_s: u64, fingerprint: &[u8; 16]) {
        let Some(second) = self.bucket(second_unix_s).and_then(|bucket| self.wheel.get_mut(bucket)) else {
            return;
        };
        second.first = self.nonces.entry(second.first).map_or(NOWHERE, |nonce| nonce.behind);
        if second.first == NOWHERE {
            second.last = NOWHERE;
        }
        self.nonces.remove(fingerprint);
    }

    fn bucket(&self, unix_s: u64) -> Option<usize> {
        usize::try_from(unix_s.checked_rem(self.wheel.len() as u64)?).ok()
    }
}

#[cfg(test)]
mod tests;
