//! Signatures and public keys, against BIP-340's own vectors and libsecp256k1.

use enclave_core::{InvalidSecretKey, KeyPair, SecretKey, Signer};
use proptest::prelude::*;
use secp256k1::{XOnlyPublicKey, schnorr};
use sha2::{Digest as _, Sha256};

use super::small_signer::{Claims, authorize, identity, pair, signer, unhex};

/// The rows with 32-byte messages of
/// <https://github.com/bitcoin/bips/blob/master/bip-0340/test-vectors.csv>, as libsecp256k1 carries them.
const VECTORS: &str = include_str!("../data/bip340.csv");

fn vectors() -> impl Iterator<Item = Vec<&'static str>> {
    VECTORS.lines().skip(1).map(|line| line.split(',').collect())
}

fn array<const N: usize>(hex: &str) -> [u8; N] {
    unhex(hex).try_into().unwrap()
}

fn sign(secret: [u8; 32], message: [u8; 32], aux: [u8; 32]) -> [u8; 64] {
    sign_with(&mut signer(1, 1), "n", &pair(secret), message, aux)
}

/// A signature by way of a stored key and a ticket. Leaves the nonce used.
fn sign_with(
    signer: &mut Signer<'_>,
    nonce: &str,
    pair: &KeyPair,
    message: [u8; 32],
    aux: [u8; 32],
) -> [u8; 64] {
    signer.store_imported(&identity(1), pair).unwrap();
    let permit = authorize(signer, 1, message, &Claims::good(1, message, nonce)).unwrap();
    signer.destroy(&identity(1)).unwrap();
    *permit.sign(&aux).unwrap().as_bytes()
}

fn verifies(public: &[u8; 32], message: &[u8; 32], signature: [u8; 64]) -> bool {
    let signature = schnorr::Signature::from_byte_array(signature);
    XOnlyPublicKey::from_byte_array(*public)
        .is_ok_and(|key| secp256k1::schnorr::verify(&signature, message, &key).is_ok())
}

#[test]
fn makes_the_signatures_of_bip_340() {
    let mut signed = 0;
    for row in vectors() {
        let [index, secret, public, aux, message, signature, ..] = row[..] else { panic!("{row:?}") };
        if secret.is_empty() {
            continue;
        }
        assert_eq!(pair(array(secret)).public_key().as_bytes()[1..], unhex(public), "{index}");
        assert_eq!(sign(array(secret), array(message), array(aux)).to_vec(), unhex(signature), "{index}");
        signed += 1;
    }
    assert_eq!(signed, 4);
}

/// The judge that the other tests rely on knows good from bad.
#[test]
fn the_judge_agrees_with_bip_340() {
    let mut judged = 0;
    for row in vectors() {
        let [index, _, public, _, message, signature, result, ..] = row[..] else { panic!("{row:?}") };
        let verdict = verifies(&array(public), &array(message), array(signature));
        assert_eq!(verdict, result == "TRUE", "{index}");
        judged += 1;
    }
    assert_eq!(judged, 13);
}

#[test]
fn a_key_is_at_least_one_and_below_the_order() {
    const ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    const ORDER_LESS_ONE: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364140";
    for bad in [[0; 32], array(ORDER), [0xFF; 32]] {
        let mut bytes = bad;
        assert!(matches!(SecretKey::take(&mut bytes), Err(InvalidSecretKey)));
        assert_eq!(bytes, [0; 32], "taken, good or bad");
    }
    let mut one = [0; 32];
    one[31] = 1;
    for good in [one, array(ORDER_LESS_ONE)] {
        let mut bytes = good;
        assert_eq!(SecretKey::take(&mut bytes).unwrap().secret_bytes(), &good);
        assert_eq!(bytes, [0; 32]);
    }
}

fn any_secret() -> impl Strategy<Value = [u8; 32]> {
    prop_oneof![
        any::<[u8; 32]>(),
        // Small scalars: of these, 6 and 9 have an odd y, which BIP-340 signing keys are normalised out of.
        (1_u8..=255).prop_map(|number| {
            let mut secret = [0; 32];
            secret[31] = number;
            secret
        }),
    ]
    .prop_filter("a key", |secret| secp256k1::SecretKey::from_secret_bytes(*secret).is_ok())
}

/// Keys, messages and auxiliary values, spread by a hash, give libsecp256k1's public keys and signatures: so many as
/// `COMPARED_SIGNATURES` names.
#[test]
fn signatures_are_those_of_libsecp256k1() {
    /// Below a second without optimisation. `infra/test.sh --thorough` compares a million.
    const COMPARED_SIGNATURES: u32 = 2000;
    let signatures = match std::env::var("COMPARED_SIGNATURES") {
        Ok(number) => number.parse().expect("COMPARED_SIGNATURES is a number"),
        Err(_) => COMPARED_SIGNATURES,
    };
    let threads = std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap());
    let some = |what: &str, number: u32| <[u8; 32]>::from(Sha256::digest(format!("{what} {number}")));
    std::thread::scope(|scope| {
        for first in 0..threads {
            scope.spawn(move || {
                let mut signer = signer(1, signatures as usize);
                for number in (first..signatures).step_by(threads as usize) {
                    let [secret, message, aux] = ["key", "message", "aux"].map(|what| some(what, number));
                    let keypair = secp256k1::Keypair::from_secret_bytes(secret).unwrap();
                    let expected = schnorr::sign_with_aux_rand(&message, &keypair, &aux).to_byte_array();
                    let pair = pair(secret);
                    assert_eq!(pair.public_key().as_bytes(), &keypair.public_key().serialize(), "{number}");
                    let ours = sign_with(&mut signer, &number.to_string(), &pair, message, aux);
                    assert_eq!(ours, expected, "{number}");
                }
            });
        }
    });
}

proptest! {
    #[test]
    fn every_signature_verifies(secret in any_secret(), message: [u8; 32], aux: [u8; 32]) {
        let public = *pair(secret).public_key().as_bytes();
        let signature = sign(secret, message, aux);
        prop_assert!(verifies(public[1..].try_into().unwrap(), &message, signature));
        let mut other = message;
        other[0] ^= 1;
        prop_assert!(!verifies(public[1..].try_into().unwrap(), &other, signature));
    }

    /// Even-y normalisation is BIP-340's affair: neither the public key nor the backup may show it.
    #[test]
    fn the_public_key_and_the_backup_are_the_original_scalars(secret in any_secret()) {
        let mut signer = signer(1, 1);
        signer.store_imported(&identity(1), &pair(secret)).unwrap();
        let key = signer.export(&identity(1)).unwrap();
        prop_assert_eq!(key.secret_bytes(), &secret);
        let theirs = secp256k1::SecretKey::from_secret_bytes(secret).unwrap().public_key();
        prop_assert_eq!(*pair(secret).public_key().as_bytes(), theirs.serialize());
    }

    #[test]
    fn aux_randomness_changes_the_signature(secret in any_secret(), message: [u8; 32], aux: [u8; 32]) {
        let mut other = aux;
        other[31] ^= 1;
        prop_assert_ne!(sign(secret, message, aux), sign(secret, message, other));
        prop_assert_eq!(sign(secret, message, aux), sign(secret, message, aux));
    }
}
