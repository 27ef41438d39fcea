//! A ticket's MAC and claims.

use std::hint::black_box;

use criterion::{BatchSize, Criterion};
use enclave_core::TicketVerifier;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};

use crate::small_signer::{Claims, MAX_TTL_S, SECRET, authorize, identity, pair, sign_body, signer_with};

pub(crate) fn ticket_verify(criterion: &mut Criterion) {
    const MESSAGE: [u8; 32] = [0xC3; 32];
    let mut group = criterion.benchmark_group("ticket_verify");
    // A used ticket: verified in full, and refused after by its nonce.
    let tickets = || TicketVerifier::new(SECRET, MAX_TTL_S).unwrap();
    let both = tickets().accepting_previous(b"the ticket secret before").unwrap();
    for (name, tickets) in [("enclave-core", tickets()), ("two_secrets", both)] {
        let mut signer = signer_with(tickets, 1, 1);
        signer.store_imported(&identity(1), &pair([1; 32])).unwrap();
        let claims = Claims::good(1, MESSAGE, "nonce");
        drop(authorize(&mut signer, 1, MESSAGE, &claims).unwrap());
        let body = sign_body(1, MESSAGE, &claims.ticket());
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || body.clone(),
                |body| {
                    let request = enclave_core::SignRequest::parse(body, &crate::small_signer::SEED).unwrap();
                    signer.authorize(request, crate::small_signer::NOW_S * 1000).err()
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.bench_function("jsonwebtoken", |bencher| {
        let ticket = Claims::good(1, MESSAGE, "nonce").ticket();
        let key = DecodingKey::from_secret(SECRET);
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        bencher.iter(|| decode::<serde_json::Value>(black_box(&ticket), &key, &validation).unwrap());
    });
    group.finish();
}
