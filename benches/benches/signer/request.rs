//! Whole requests: body bytes in, reply bytes out. And the bodies that a hostile client would pick to make it slow.

use std::cell::RefCell;

use criterion::{BatchSize, Criterion};
use enclave_core::{MAX_REPLY_BYTES, Signer};

use crate::small_signer::{Claims, identity, identity_text, pair, sign_body, signer};
use crate::whole_request::{DIGEST, destroy, forged, generate, hostile_bodies, sign};

/// Every body of a group is answered by `answer` after `prepare`, which is not timed.
fn bench(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    name: &str,
    mut prepare: impl FnMut(&mut Signer<'static>) -> Vec<u8>,
    mut answer: impl FnMut(&mut Signer<'static>, &mut [u8], &mut [u8]) -> usize,
) {
    let signer = RefCell::new(signer(16, 1 << 22));
    signer.borrow_mut().store_imported(&identity(1), &pair([1; 32])).unwrap();
    let mut out = [0; MAX_REPLY_BYTES];
    group.bench_function(name, |bencher| {
        bencher.iter_batched_ref(
            || prepare(&mut signer.borrow_mut()),
            |body| answer(&mut signer.borrow_mut(), body, &mut out),
            // The state before each request is made for that one alone.
            BatchSize::PerIteration,
        );
    });
}

pub(crate) fn request(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request");
    let mut nonce = 0_u64;
    let fresh_ticket = move |_: &mut Signer<'static>| {
        nonce += 1;
        sign_body(1, DIGEST, &Claims::good(1, DIGEST, &nonce.to_string()).ticket())
    };
    bench(&mut group, "sign", fresh_ticket, sign);
    let prepare = |signer: &mut Signer<'static>| {
        let _ = signer.destroy(&identity(2));
        format!(r#"{{"identity_id":"{}","alg":"secp256k1"}}"#, identity_text(2)).into_bytes()
    };
    bench(&mut group, "generate", prepare, generate);
    let stored = pair([2; 32]);
    let prepare = |signer: &mut Signer<'static>| {
        signer.store_imported(&identity(2), &stored).unwrap();
        format!(r#"{{"identity_id":"{}"}}"#, identity_text(2)).into_bytes()
    };
    bench(&mut group, "destroy", prepare, destroy);
    let bad_ticket = sign_body(1, DIGEST, &forged(&Claims::good(1, DIGEST, "n").ticket()));
    bench(&mut group, "bad_ticket", |_| bad_ticket.clone(), sign);
    let unknown = sign_body(3, DIGEST, &Claims::good(3, DIGEST, "n").ticket());
    bench(&mut group, "not_found", |_| unknown.clone(), sign);

    for (name, body) in hostile_bodies() {
        bench(&mut group, name, |_| body.clone(), sign);
    }
    group.finish();
}
