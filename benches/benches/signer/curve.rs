//! Signatures and public keys, with everything ready that can be ready before.

use std::hint::black_box;

use criterion::{BatchSize, Criterion};
use enclave_core::{KeyPair, SecretKey};
use secp256k1::{Keypair, Secp256k1};

use crate::libsecp256k1;
use crate::small_signer::{Claims, authorize, identity, pair, signer};

const SECRET: [u8; 32] = [0x5A; 32];
const MESSAGE: [u8; 32] = [0xC3; 32];
const AUX: [u8; 32] = [0x99; 32];

pub(crate) fn schnorr_sign(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("schnorr_sign");
    group.bench_function("enclave-core", |bencher| {
        let mut signer = signer(1, 1 << 22);
        signer.store_imported(&identity(1), &pair(SECRET)).unwrap();
        let mut nonce = 0_u64;
        bencher.iter_batched(
            || {
                nonce += 1;
                authorize(&mut signer, 1, MESSAGE, &Claims::good(1, MESSAGE, &nonce.to_string())).unwrap()
            },
            |permit| permit.sign(black_box(&AUX)),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("k256", |bencher| {
        let key = k256::schnorr::SigningKey::from_bytes(&SECRET.into()).unwrap();
        bencher.iter(|| key.sign_raw(black_box(&MESSAGE), black_box(&AUX)).unwrap().to_bytes());
    });
    group.bench_function("libsecp256k1", |bencher| {
        let context = Secp256k1::new();
        let secret = secp256k1::SecretKey::from_secret_bytes(SECRET).unwrap();
        let keypair = Keypair::from_secret_key(&secret);
        let wrapped = secp256k1::schnorr::sign_with_aux_rand(&MESSAGE, &keypair, &AUX).to_byte_array();
        assert_eq!(libsecp256k1::sign(&context, &keypair, &MESSAGE, &AUX), wrapped);
        bencher.iter(|| libsecp256k1::sign(&context, &keypair, black_box(&MESSAGE), black_box(&AUX)));
    });
    group.finish();
}

pub(crate) fn keygen(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("keygen");
    group.bench_function("enclave-core", |bencher| {
        bencher.iter(|| {
            let mut bytes = black_box(SECRET);
            *KeyPair::from(SecretKey::take(&mut bytes).unwrap()).public_key()
        });
    });
    group.bench_function("k256", |bencher| {
        bencher.iter(|| {
            let secret = k256::SecretKey::from_bytes(&black_box(SECRET).into()).unwrap();
            secret.public_key().to_sec1_bytes()
        });
    });
    group.bench_function("libsecp256k1", |bencher| {
        let context = Secp256k1::new();
        bencher.iter(|| {
            let secret = secp256k1::SecretKey::from_secret_bytes(black_box(SECRET)).unwrap();
            libsecp256k1::public_key(&context, &secret)
        });
    });
    group.finish();
}
