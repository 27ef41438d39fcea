//! A key, a digest and auxiliary randomness give the public key and the signature that libsecp256k1 and k256 give, to
//! the bit.

#![no_main]

use enclave_core::{KeyPair, SecretKey};
use fuzz::core_signer::{CoreSigner, Storage};
use fuzz::identity::to_hex;
use fuzz::ticket::mint;
use libfuzzer_sys::fuzz_target;
use secp256k1::{Keypair, schnorr};
use sha2::{Digest as _, Sha256};

const IDENTITY: &str = "7b1cf0a2-0000-4000-8000-000000000001";
const NOW_UNIX_MS: u64 = 1_800_000_000_000;

fuzz_target!(|data: ([u8; 32], [u8; 32], [u8; 32])| {
    let (secret, digest, aux) = data;
    let theirs = secp256k1::SecretKey::from_secret_bytes(secret);
    let mut taken = secret;
    let ours = SecretKey::take(&mut taken);
    assert_eq!(ours.is_ok(), theirs.is_ok());
    let (Ok(ours), Ok(theirs)) = (ours, theirs) else { return };
    assert_eq!(KeyPair::from(ours).public_key().as_bytes(), &theirs.public_key().serialize());

    let keypair = Keypair::from_secret_key(&theirs);
    let expected = schnorr::sign_with_aux_rand(&digest, &keypair, &aux).to_byte_array();
    let signing_key = k256::schnorr::SigningKey::from_bytes(&secret.into()).expect("a key");
    assert_eq!(signing_key.sign_raw(&digest, &aux).expect("a nonce that is not zero").to_bytes(), expected);
    assert_eq!(sign(&secret, &digest, &aux), format!(r#"{{"signature":"{}"}}"#, to_hex(&expected)));
});

/// By way of an import and a ticket, as there is no other.
fn sign(secret: &[u8; 32], digest: &[u8; 32], aux: &[u8; 32]) -> String {
    let mut storage = Storage::default();
    let mut core = CoreSigner::new(&mut storage);
    let import =
        format!(r#"{{"identity_id":"{IDENTITY}","alg":"secp256k1","sealed_key":"{}"}}"#, to_hex(secret));
    assert_eq!(core.import(import.as_bytes()), r#"{"ok":true}"#);
    let claims = format!(
        r#"{{"scope":"sign","identity_id":"{IDENTITY}","digest_hash":"{}","nonce":"n","exp":1800000005}}"#,
        to_hex(&Sha256::digest(digest))
    );
    let ticket = mint(br#"{"alg":"HS256"}"#, claims.as_bytes(), &[]);
    let body = format!(r#"{{"identity_id":"{IDENTITY}","digest":"{}","ticket":"{ticket}"}}"#, to_hex(digest));
    core.sign(body.as_bytes(), NOW_UNIX_MS, Some(aux))
}
