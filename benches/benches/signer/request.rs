//! Whole requests: body bytes in, reply bytes out. And the bodies that a hostile client would pick to make it slow.

use std::cell::RefCell;

use criterion::{BatchSize, Criterion};
use enclave_core::{
    GenerateRequest, IdentityRequest, KeyPair, MAX_REPLY_BYTES, Refusal, Reply, SignRequest, Signer,
};

use crate::workbench::{Claims, NOW_S, SEED, identity, identity_text, pair, sign_body, signer};

const DIGEST: [u8; 32] = [0xC3; 32];

/// What the runtime does for a signature, without its lock.
fn sign(signer: &mut Signer<'_>, body: &mut [u8], out: &mut [u8]) -> usize {
    let signed = SignRequest::parse(body, &SEED)
        .and_then(|request| signer.authorize(request, NOW_S * 1000))
        .map(|permit| permit.sign(&[7; 32]).unwrap());
    write(&signed.as_ref().map_or_else(Reply::Refused, Reply::Signature), out)
}

fn generate(signer: &mut Signer<'_>, body: &mut [u8], out: &mut [u8]) -> usize {
    let outcome = GenerateRequest::parse(body, &SEED).and_then(|request| {
        let Ok(pair) = KeyPair::generate(|bytes| {
            *bytes = [7; 32];
            Ok::<(), ()>(())
        }) else {
            unreachable!("the source gives a key")
        };
        signer.store_generated(&request.identity, &pair).map(|()| *pair.public_key())
    });
    write(&outcome.as_ref().map_or_else(Reply::Refused, Reply::PublicKey), out)
}

fn destroy(signer: &mut Signer<'_>, body: &mut [u8], out: &mut [u8]) -> usize {
    let outcome = IdentityRequest::parse(body, &SEED).and_then(|request| signer.destroy(&request.identity));
    write(&outcome.as_ref().map_or_else(Reply::Refused, |()| Reply::Done), out)
}

fn write(reply: &Reply<'_>, out: &mut [u8]) -> usize {
    reply.write(out).unwrap().len()
}

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
    let bad_ticket = sign_body(1, DIGEST, &(Claims::good(1, DIGEST, "n").ticket() + "A"));
    bench(&mut group, "bad_ticket", |_| bad_ticket.clone(), sign);
    let unknown = sign_body(3, DIGEST, &Claims::good(3, DIGEST, "n").ticket());
    bench(&mut group, "not_found", |_| unknown.clone(), sign);

    let bomb = [b"{\"a\":".repeat(6_000), b"[".repeat(2_000)].concat();
    bench(&mut group, "nesting_bomb", |_| bomb.clone(), sign);
    let longest =
        sign_body(1, DIGEST, &format!("{}.{}.{}", "A".repeat(2_000), "B".repeat(2_000), "C".repeat(94)));
    bench(&mut group, "longest_ticket", |_| longest.clone(), sign);
    let digits = b"7".repeat(32_768);
    bench(&mut group, "digits", |_| digits.clone(), sign);
    let names =
        format!("{{{}}}", (0..3_600).map(|name| format!("\"{name}\":0")).collect::<Vec<_>>().join(","));
    assert!(names.len() <= 32_768 && Refusal::InvalidJson.text() == "Invalid JSON body");
    bench(&mut group, "many_names", |_| names.clone().into_bytes(), sign);
    group.finish();
}
