//! The order of the checks, and the state that a refusal leaves unchanged.

use std::num::NonZeroU32;

use enclave_core::{
    KeyOrigin, Pace, PaceSlot, Refusal, SignRequest, SignatureLimits, Signer, TicketVerifier,
};

use super::small_signer::{
    Claims, MAX_TTL_S, NOW_S, SECRET, SEED, authorize, identity, pair, sign_body, signer, signer_with,
};

const DIGEST: [u8; 32] = [7; 32];

fn with_key() -> Signer<'static> {
    let mut signer = signer(4, 4);
    signer.store_generated(&identity(1), &pair([9; 32])).unwrap();
    signer
}

fn verdict(signer: &mut Signer<'_>, asked: u32, claims: &Claims) -> Option<Refusal> {
    authorize(signer, asked, DIGEST, claims).err()
}

#[test]
fn the_first_error_in_the_apis_order_is_the_answer() {
    let good = Claims::good(1, DIGEST, "n");
    let mut signer = with_key();
    // Each step mends the reason of the refusal before it. A later error never comes first.
    let mut claims = Claims {
        identity: "x".into(),
        digest_hash: "x".into(),
        scope: "x".into(),
        nonce: "n".into(),
        exp_s: NOW_S,
    };
    assert_eq!(verdict(&mut signer, 2, &claims), Some(Refusal::KeyNotFound));
    assert_eq!(verdict(&mut signer, 1, &claims), Some(Refusal::InvalidTicket));
    claims.exp_s = good.exp_s;
    assert_eq!(verdict(&mut signer, 1, &claims), Some(Refusal::WrongScope));
    claims.scope.clone_from(&good.scope);
    assert_eq!(verdict(&mut signer, 1, &claims), Some(Refusal::IdentityMismatch));
    claims.identity.clone_from(&good.identity);
    assert_eq!(verdict(&mut signer, 1, &claims), Some(Refusal::DigestMismatch));
    claims.digest_hash.clone_from(&good.digest_hash);
    assert_eq!(verdict(&mut signer, 1, &claims), None, "and no refusal has used the nonce up");
    assert_eq!(verdict(&mut signer, 1, &claims), Some(Refusal::Replay));
}

#[test]
fn one_ledger_serves_all_identities() {
    let mut signer = with_key();
    signer.store_generated(&identity(2), &pair([8; 32])).unwrap();
    assert_eq!(verdict(&mut signer, 1, &Claims::good(1, DIGEST, "n")), None);
    assert_eq!(verdict(&mut signer, 2, &Claims::good(2, DIGEST, "n")), Some(Refusal::Replay));
}

#[test]
fn one_ledger_serves_both_ticket_secrets() {
    const PREVIOUS: &[u8] = b"the ticket secret before";
    let tickets = TicketVerifier::new(SECRET, MAX_TTL_S).unwrap().accepting_previous(PREVIOUS).unwrap();
    let mut signer = signer_with(tickets, 4, 4);
    signer.store_generated(&identity(1), &pair([9; 32])).unwrap();
    for (nonce, first, second) in [("a", SECRET, PREVIOUS), ("b", PREVIOUS, SECRET)] {
        let claims = Claims::good(1, DIGEST, nonce);
        let mut verdict = |secret| {
            let mut body = sign_body(1, DIGEST, &claims.ticket_under(secret));
            signer.authorize(SignRequest::parse(&mut body, &SEED).unwrap(), NOW_S * 1000).err()
        };
        assert_eq!(verdict(first), None);
        assert_eq!(verdict(second), Some(Refusal::Replay));
        assert_eq!(verdict(first), Some(Refusal::Replay));
    }
}

#[test]
fn a_used_ticket_stays_used_after_destroy_and_import() {
    let mut signer = with_key();
    let claims = Claims::good(1, DIGEST, "n");
    assert_eq!(verdict(&mut signer, 1, &claims), None);
    assert_eq!(signer.destroy(&identity(1)), Ok(()));
    assert_eq!(verdict(&mut signer, 1, &claims), Some(Refusal::KeyNotFound));
    assert_eq!(signer.destroy(&identity(1)), Err(Refusal::KeyNotFound));
    signer.store_imported(&identity(1), &pair([9; 32])).unwrap();
    assert_eq!(verdict(&mut signer, 1, &claims), Some(Refusal::Replay));
}

#[test]
fn a_full_ledger_refuses_and_keeps_the_ticket_good() {
    let mut signer = with_key();
    for nonce in ["a", "b", "c", "d"] {
        assert_eq!(verdict(&mut signer, 1, &Claims::good(1, DIGEST, nonce)), None);
    }
    assert_eq!(verdict(&mut signer, 1, &Claims::good(1, DIGEST, "e")), Some(Refusal::AtCapacity));
    assert_eq!(verdict(&mut signer, 1, &Claims::good(1, DIGEST, "a")), Some(Refusal::Replay));
}

#[test]
fn a_limit_counts_what_may_be_signed_and_keeps_tickets_good() {
    let mut slots = [PaceSlot::UNUSED; 4];
    let pace = |times| Pace::per_second(NonZeroU32::new(times).unwrap());
    let limits = SignatureLimits::default().in_all(pace(3)).per_key(pace(2), &mut slots);
    let mut signer = signer(4, 8).limited(limits);
    signer.store_generated(&identity(1), &pair([9; 32])).unwrap();
    signer.store_generated(&identity(2), &pair([8; 32])).unwrap();
    let too_many = Some(Refusal::TooManyRequests { retry_after_s: 1 });
    let good = |nonce| Claims::good(1, DIGEST, nonce);
    let late = Claims { exp_s: NOW_S, ..good("late") };
    for _ in 0..10 {
        assert_eq!(verdict(&mut signer, 1, &late), Some(Refusal::InvalidTicket));
        assert_eq!(verdict(&mut signer, 2, &good("a")), Some(Refusal::IdentityMismatch));
    }
    assert_eq!(verdict(&mut signer, 1, &good("a")), None, "refusals cost nothing of the limits");
    assert_eq!(verdict(&mut signer, 1, &good("a")), Some(Refusal::Replay));
    assert_eq!(verdict(&mut signer, 1, &good("b")), None);
    assert_eq!(verdict(&mut signer, 1, &good("c")), too_many);
    assert_eq!(verdict(&mut signer, 1, &good("a")), Some(Refusal::Replay), "a 409 stays a 409");
    assert_eq!(verdict(&mut signer, 1, &late), Some(Refusal::InvalidTicket));
    assert_eq!(verdict(&mut signer, 2, &Claims::good(2, DIGEST, "d")), None);
    assert_eq!(verdict(&mut signer, 2, &Claims::good(2, DIGEST, "e")), too_many, "three in all");
    for (identity, nonce, now_unix_ms) in [(1, "c", NOW_S * 1000 + 501), (2, "e", NOW_S * 1000 + 1001)] {
        let mut body = sign_body(identity, DIGEST, &Claims::good(identity, DIGEST, nonce).ticket());
        let request = SignRequest::parse(&mut body, &SEED).unwrap();
        assert_eq!(signer.authorize(request, now_unix_ms).err(), None, "its ticket was not used up");
    }
}

#[test]
fn a_key_is_never_replaced() {
    let mut signer = with_key();
    let id = identity(1);
    assert_eq!(signer.store_generated(&id, &pair([8; 32])), Err(Refusal::KeyExists));
    assert_eq!(signer.store_imported(&id, &pair([8; 32])), Err(Refusal::KeyExists));
    assert_eq!(signer.store_imported(&id, &pair([9; 32])), Ok(()));
    assert_eq!(signer.export(&id).map(|key| *key.secret_bytes()), Ok([9; 32]));
    for number in 2..=4 {
        assert_eq!(signer.store_generated(&identity(number), &pair([8; 32])), Ok(()));
    }
    assert_eq!(signer.store_imported(&identity(5), &pair([8; 32])), Err(Refusal::AtCapacity));
    assert_eq!(signer.store_imported(&id, &pair([9; 32])), Ok(()), "what is there needs no room");
}

#[test]
fn a_key_is_generated_only_if_this_signer_made_it() {
    let mut signer = signer(2, 1);
    let (id, key) = (identity(1), pair([9; 32]));
    let origin = |signer: &Signer<'_>| signer.binding(&id).map(|binding| binding.origin);
    assert_eq!(origin(&signer), Err(Refusal::KeyNotFound));

    signer.store_generated(&id, &key).unwrap();
    assert_eq!(origin(&signer), Ok(KeyOrigin::Generated));
    assert_eq!(signer.store_imported(&id, &key), Ok(()));
    assert_eq!(origin(&signer), Ok(KeyOrigin::Generated), "its backup came back to where it was born");
    assert_eq!(signer.store_imported(&id, &pair([8; 32])), Err(Refusal::KeyExists));
    assert_eq!(origin(&signer), Ok(KeyOrigin::Generated));

    signer.destroy(&id).unwrap();
    assert_eq!(origin(&signer), Err(Refusal::KeyNotFound));
    signer.store_imported(&id, &key).unwrap();
    assert_eq!(origin(&signer), Ok(KeyOrigin::Imported), "who held the backup is not known");
    assert_eq!(signer.store_generated(&id, &key), Err(Refusal::KeyExists));
    assert_eq!(origin(&signer), Ok(KeyOrigin::Imported));
    signer.destroy(&id).unwrap();
    signer.store_generated(&id, &key).unwrap();
    assert_eq!(origin(&signer), Ok(KeyOrigin::Generated));
}

/// No part of a binding changes without its hash. BIP-340 signs with the negative of key 6.
#[test]
fn a_binding_is_of_one_identity_one_key_and_one_origin() {
    let mut signer = signer(4, 1);
    let mut six = [0; 32];
    six[31] = 6;
    signer.store_generated(&identity(1), &pair(six)).unwrap();
    signer.store_generated(&identity(2), &pair(six)).unwrap();
    signer.store_generated(&identity(3), &pair([9; 32])).unwrap();
    signer.store_imported(&identity(4), &pair(six)).unwrap();
    let bindings = [1, 2, 3, 4].map(|number| signer.binding(&identity(number)).unwrap());
    let original = secp256k1::SecretKey::from_secret_bytes(six).unwrap().public_key().serialize();
    assert_eq!(original[0], 3);
    assert_eq!(bindings[0].public_key.as_bytes(), &original);
    let as_imported = enclave_core::KeyBinding { origin: KeyOrigin::Imported, ..bindings[0] };
    let hashes =
        [bindings[0], bindings[1], bindings[2], bindings[3], as_imported].map(|binding| binding.hash());
    for (index, hash) in hashes.iter().enumerate() {
        assert!(!hashes[..index].contains(hash), "{index}");
    }
}
