use std::collections::HashMap;

use proptest::prelude::*;

use super::{ExpirySecond, NonceLedger, NonceSlot, NotRecorded, wheel_seconds};
use crate::hash_seed::HashSeed;

const TTL_S: u32 = 90;
const NOW: u64 = 1_800_000_000;

struct Storage {
    slots: Vec<NonceSlot>,
    wheel: Vec<ExpirySecond>,
}

impl Storage {
    fn of(capacity: usize) -> Self {
        Self {
            slots: (0..capacity).map(|_| NonceSlot::VACANT).collect(),
            wheel: vec![ExpirySecond::VACANT; wheel_seconds(TTL_S)],
        }
    }

    fn ledger(&mut self) -> NonceLedger<'_> {
        NonceLedger::new(&mut self.slots, &mut self.wheel, HashSeed::new([1; 16]), HashSeed::new([2; 16]))
    }
}

fn record(ledger: &mut NonceLedger<'_>, nonce: u64, exp: u64, now: u64) -> Result<(), NotRecorded> {
    ledger.record(&nonce.to_be_bytes(), exp, now).map(|_| ())
}

#[test]
fn a_nonce_is_seen_until_its_ticket_expires() {
    let mut storage = Storage::of(4);
    let mut ledger = storage.ledger();
    assert_eq!(record(&mut ledger, 1, NOW + 90, NOW), Ok(()));
    for later in 0..90 {
        assert_eq!(record(&mut ledger, 1, NOW + 90, NOW + later), Err(NotRecorded::Seen), "{later}");
    }
    assert_eq!(record(&mut ledger, 1, NOW + 91, NOW + 90), Ok(()), "another ticket may use the nonce again");
    assert_eq!(ledger.len(), 1);
}

#[test]
fn full_of_live_nonces_it_refuses_and_evicts_none() {
    let mut storage = Storage::of(3);
    let mut ledger = storage.ledger();
    for nonce in 0..3 {
        assert_eq!(record(&mut ledger, nonce, NOW + 10, NOW), Ok(()));
    }
    assert_eq!(record(&mut ledger, 3, NOW + 10, NOW + 9), Err(NotRecorded::Full));
    for nonce in 0..3 {
        assert_eq!(record(&mut ledger, nonce, NOW + 10, NOW + 9), Err(NotRecorded::Seen));
    }
    assert_eq!(record(&mut ledger, 3, NOW + 20, NOW + 10), Ok(()), "room as soon as one expires");
}

#[test]
fn a_full_ledger_has_room_again_after_any_pause() {
    for pause in [10, 91, 92, 93, 1000, 1_000_000] {
        let mut storage = Storage::of(50);
        let mut ledger = storage.ledger();
        for nonce in 0..50 {
            assert_eq!(record(&mut ledger, nonce, NOW + 1 + nonce % 10, NOW), Ok(()));
        }
        for nonce in 50..100 {
            let now = NOW + pause;
            assert_eq!(record(&mut ledger, nonce, now + 1 + nonce % 90, now), Ok(()), "{pause} {nonce}");
        }
    }
}

#[test]
fn a_clock_set_back_brings_no_used_ticket_back() {
    let mut storage = Storage::of(8);
    let mut ledger = storage.ledger();
    assert_eq!(record(&mut ledger, 1, NOW + 60, NOW), Ok(()));
    assert_eq!(record(&mut ledger, 2, NOW + 1_000_090, NOW + 1_000_000), Ok(()), "the clock jumps ahead");
    assert_eq!(ledger.len(), 1, "which forgets the first");
    assert_eq!(record(&mut ledger, 1, NOW + 60, NOW + 1), Err(NotRecorded::Forgotten), "and back");
    assert_eq!(record(&mut ledger, 3, NOW + 61, NOW + 2), Ok(()), "tickets that expire later are told apart");
    assert_eq!(record(&mut ledger, 3, NOW + 61, NOW + 3), Err(NotRecorded::Seen));
    for nonce in 100..200 {
        let now = NOW + nonce;
        assert_eq!(record(&mut ledger, nonce, now + 1, now), Ok(()), "and it goes on forgetting: {nonce}");
    }
}

/// The size that the documentation tells operators.
#[test]
fn a_slot_takes_40_bytes() {
    assert_eq!(size_of::<NonceSlot>(), 40);
}

#[test]
fn without_storage_it_refuses() {
    let mut ledger = NonceLedger::new(&mut [], &mut [], HashSeed::new([0; 16]), HashSeed::new([0; 16]));
    assert_eq!(record(&mut ledger, 1, NOW + 1, NOW), Err(NotRecorded::Full));
}

proptest! {
    /// Against the obvious, a map from nonce to expiry. One liberty: a nonce whose ticket has expired may still be
    /// seen until its turn to be forgotten comes; that must never make the ledger full.
    #[test]
    fn agrees_with_a_map(steps in prop::collection::vec((0_u64..40, 1_u64..=90, 0_u64..30), 1..400)) {
        const CAPACITY: usize = 16;
        let mut storage = Storage::of(CAPACITY);
        let mut ledger = storage.ledger();
        let mut model: HashMap<u64, u64> = HashMap::new();
        let mut now = NOW;
        for (nonce, lifetime, pause) in steps {
            now += if pause > 27 { pause * 7 } else { pause / 10 };
            let live = model.values().filter(|exp| **exp > now).count();
            let exp = now + lifetime;
            let actual = record(&mut ledger, nonce, exp, now);
            match model.get(&nonce) {
                Some(until) if *until > now => prop_assert_eq!(actual, Err(NotRecorded::Seen)),
                Some(_) if actual == Err(NotRecorded::Seen) => {}
                _ if live == CAPACITY => prop_assert_eq!(actual, Err(NotRecorded::Full)),
                _ => {
                    prop_assert_eq!(actual, Ok(()));
                    model.insert(nonce, exp);
                }
            }
        }
    }
}
