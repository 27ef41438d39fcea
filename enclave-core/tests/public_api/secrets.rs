//! Secret types: what they print, and that they are neither copied nor compared by accident.

use enclave_core::{
    Digest, ExpirySecond, HashSeed, ImportRequest, KeyOrigin, KeyPair, KeySlot, KeyStore, NonceLedger,
    SecretKey, SignPermit, SignRequest, Signer, StoredKey, TicketVerifier,
};

use super::secret_type::{SECRET, assert_neither_clone_nor_eq, assert_prints, implements, shows_secret};
use super::small_signer::{Claims, SEED, authorize, identity, identity_text, pair, sign_body, signer};

const DIGEST: [u8; 32] = [7; 32];

fn seed() -> HashSeed {
    HashSeed::new([SECRET[0]; 16])
}

#[test]
fn what_is_printed_shows_no_secret() {
    let secret_key = SecretKey::take(&mut SECRET.clone()).unwrap();
    assert_prints(&secret_key, "SecretKey { .. }");
    // libsecp256k1's word for it: the public half is printed and is the public half.
    let public = secp256k1::SecretKey::from_secret_bytes(SECRET).unwrap().public_key();
    let public = format!("PublicKey({public})");
    assert_prints(pair(SECRET).public_key(), &public);
    assert_prints(&pair(SECRET), &format!("KeyPair {{ public: {public}, .. }}"));

    let mut slots = [KeySlot::VACANT];
    let mut store = KeyStore::new(&mut slots, seed());
    store.insert(&identity(1), &pair(SECRET), KeyOrigin::Generated).unwrap();
    assert_prints(&store, "KeyStore { .. }");
    // Its drop would wipe the slot.
    std::mem::forget(store);
    assert_prints(&slots, "[Slot { entry: StoredKey { .. }, .. }]");

    assert_prints(&seed(), "HashSeed { .. }");
    assert_prints(
        &NonceLedger::new(&mut [], &mut [ExpirySecond::VACANT], seed(), seed()),
        "NonceLedger { .. }",
    );
    assert_prints(&TicketVerifier::new(&SECRET, 1).unwrap(), "TicketVerifier { .. }");
    let mut signer = signer(1, 1);
    signer.store_imported(&identity(1), &pair(SECRET)).unwrap();
    assert_prints(&signer, "Signer { .. }");
    let permit = authorize(&mut signer, 1, DIGEST, &Claims::good(1, DIGEST, "n")).unwrap();
    assert_prints(&permit, "SignPermit { .. }");
}

#[test]
fn a_request_prints_neither_ticket_nor_sealed_key() {
    let secret = "\u{a7}".repeat(32);
    let (named, digest) = (identity(1), Digest::from_text(&[b'0'; 64]).unwrap());
    assert_prints(
        &SignRequest::parse(&mut sign_body(1, [0; 32], &secret), &SEED).unwrap(),
        &format!("SignRequest {{ identity: {named:?}, digest: {digest:?}, .. }}"),
    );
    let body =
        format!(r#"{{"identity_id":"{}","alg":"secp256k1","sealed_key":"{secret}"}}"#, identity_text(1));
    assert_prints(
        &ImportRequest::parse(&mut body.into_bytes(), &SEED).unwrap(),
        &format!("ImportRequest {{ identity: {named:?}, .. }}"),
    );
}

#[test]
fn no_secret_is_copied_unseen_or_compared_byte_by_byte() {
    assert_neither_clone_nor_eq!(
        SecretKey,
        KeyPair,
        StoredKey,
        KeySlot,
        KeyStore<'static>,
        HashSeed,
        NonceLedger<'static>,
        TicketVerifier,
        Signer<'static>,
        SignPermit,
        SignRequest<'static>,
        ImportRequest<'static>,
    );
}

/// The tests above, and the runtime's, would see what they look for.
#[test]
fn what_these_tests_look_for_is_found() {
    #[derive(Debug)]
    struct Derived<T>(#[allow(dead_code, reason = "printed")] T);
    assert!(shows_secret(&Derived(SECRET)));
    assert!(shows_secret(&Derived("a7")));
    assert!(shows_secret(&Derived("\u{a7}")));
    assert!(shows_secret(&Derived(String::from_utf8_lossy(&SECRET))));
    assert!(!shows_secret(&Derived("nothing")));

    assert!(implements!([u8; 32]: Clone));
    assert!(implements!([u8; 32]: PartialEq));
    assert!(!implements!(Derived<u8>: Clone));
    assert!(!implements!(Derived<u8>: PartialEq));
}
