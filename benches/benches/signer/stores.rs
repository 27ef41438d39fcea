//! Stores of three sizes, each full except for the slot that is used: the cost must not depend on the size.

use std::cell::RefCell;
use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion};
use enclave_core::{
    ExpirySecond, HashSeed, KeyOrigin, KeySlot, KeyStore, NonceLedger, NonceSlot, NotRecorded, wheel_seconds,
};

use crate::small_signer::{NOW_S, identity, pair};

const SIZES: [u32; 3] = [1000, 100_000, 1_000_000];

fn storage<T>(count: usize, vacant: impl FnMut() -> T) -> &'static mut [T] {
    std::iter::repeat_with(vacant).take(count).collect::<Vec<T>>().leak()
}

pub(crate) fn key_store(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("key_store");
    let pair = pair([1; 32]);
    for size in SIZES {
        let mut store = KeyStore::new(storage(size as usize, || KeySlot::VACANT), HashSeed::new([1; 16]));
        for number in 1..size {
            store.insert(&identity(number), &pair, KeyOrigin::Generated).unwrap();
        }
        let mut number = 0;
        group.bench_function(BenchmarkId::new("look_up", size), |bencher| {
            bencher.iter_batched(
                || {
                    number = (number + 7919) % (size - 1);
                    identity(number + 1)
                },
                |id| store.find(black_box(&id)).is_some(),
                BatchSize::SmallInput,
            );
        });
        let store = RefCell::new(store);
        let newcomer = identity(size);
        group.bench_function(BenchmarkId::new("insert", size), |bencher| {
            bencher.iter_batched(
                || store.borrow_mut().remove(&newcomer),
                |_| store.borrow_mut().insert(&newcomer, &pair, KeyOrigin::Generated),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

pub(crate) fn nonce_ledger(criterion: &mut Criterion) {
    const TTL_S: u32 = 3600;
    let mut group = criterion.benchmark_group("nonce_ledger");
    for size in SIZES {
        // As many live nonces as `size` all the time: they come evenly, and live for an hour each.
        let second_of = |nonce: u64| NOW_S + nonce * u64::from(TTL_S) / u64::from(size);
        let exp_of = |nonce: u64| second_of(nonce) + u64::from(TTL_S);
        // Room for those that wait to be forgotten.
        let capacity = size as usize + size as usize / 50 + 16;
        let mut ledger = NonceLedger::new(
            storage(capacity, || NonceSlot::VACANT),
            storage(wheel_seconds(TTL_S), || ExpirySecond::VACANT),
            HashSeed::new([1; 16]),
            HashSeed::new([2; 16]),
        );
        let mut next = 0_u64;
        let mut record_next = |ledger: &mut NonceLedger<'static>| {
            next += 1;
            let recorded = ledger.record(&next.to_be_bytes(), exp_of(next), second_of(next));
            assert!(recorded.is_ok(), "there is room");
            next
        };
        for _ in 0..2 * size {
            record_next(&mut ledger);
        }
        group.bench_function(BenchmarkId::new("insert_and_expire", size), |bencher| {
            bencher.iter(|| record_next(&mut ledger));
        });
        let last = record_next(&mut ledger);
        let mut back = 0;
        group.bench_function(BenchmarkId::new("look_up", size), |bencher| {
            bencher.iter(|| {
                back = (back + 7919) % u64::from(size / 2);
                let nonce = black_box(last - back);
                let found = ledger.record(&nonce.to_be_bytes(), exp_of(nonce), second_of(last)).err();
                assert_eq!(found, Some(NotRecorded::Seen));
            });
        });
    }
    group.finish();
}
