//! Multiples of the generator are those of k256's double-and-add and of libsecp256k1.
//!
//! A scalar is put together from few powers of two, so that sparse ones, runs of ones and those near the order come up.

#![no_main]

use enclave_core::{KeyPair, SecretKey};
use k256::elliptic_curve::Field as _;
use k256::elliptic_curve::ops::Reduce as _;
use k256::elliptic_curve::sec1::ToSec1Point as _;
use k256::{ProjectivePoint, Scalar};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: ([u8; 32], Vec<(u8, i8)>)| {
    let (start, terms) = input;
    let scalar =
        terms.into_iter().fold(Scalar::reduce(&k256::FieldBytes::from(start)), |sum, (exponent, factor)| {
            let term = Scalar::from(2_u64).pow_vartime([u64::from(exponent)])
                * Scalar::from(u64::from(factor.unsigned_abs()));
            if factor < 0 { sum - term } else { sum + term }
        });
    if bool::from(scalar.is_zero()) {
        return;
    }
    let bytes: [u8; 32] = scalar.to_bytes().into();
    let ours =
        *KeyPair::from(SecretKey::take(&mut bytes.clone()).expect("a scalar that is not zero")).public_key();
    let theirs = (ProjectivePoint::GENERATOR * scalar).to_affine().to_sec1_point(true);
    assert_eq!(ours.as_bytes(), theirs.as_bytes());
    let theirs =
        secp256k1::SecretKey::from_secret_bytes(bytes).expect("a scalar that is not zero").public_key();
    assert_eq!(ours.as_bytes(), &theirs.serialize());
});
