//! No request makes the core allocate, from body bytes to reply bytes.
//!
//! The bare-metal build shows the same of that build; this shows it of the core as it runs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![deny(unsafe_code)]

#[path = "no_allocation/counting_allocator.rs"]
mod counting_allocator;
#[allow(dead_code, reason = "not all of it is needed here")]
#[path = "public_api/small_signer.rs"]
mod small_signer;
#[path = "no_allocation/whole_request.rs"]
mod whole_request;

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Barrier;

use enclave_core::{
    IdentityRequest, MAX_REPLY_BYTES, MAX_TEXT_BYTES, Pace, PaceSlot, Refusal, SignRequest, SignatureLimits,
    Signer,
};

use counting_allocator::allocator_calls;
use small_signer::{Claims, NOW_S, SEED, identity, identity_text, pair, sign_body, signer};
use whole_request::{
    DIGEST, IMPORTED, attest, destroy, export, forged, generate, hostile_bodies, import, sign,
};

/// Body and room for the reply in, length of the reply out.
struct Operation(&'static str, fn(&mut Signer<'_>, &mut [u8], &mut [u8]) -> usize);

const GENERATE: Operation = Operation("generate", generate);
const IMPORT: Operation = Operation("import", import);
const SIGN: Operation = Operation("sign", sign);
const HOLDS: Operation = Operation("holds", holds);
const HAS_ROOM: Operation = Operation("has room", has_room);
const EXPORT: Operation = Operation("export", export);
const ATTEST: Operation = Operation("attest", attest);
const DESTROY: Operation = Operation("destroy", destroy);

const NOTHING_FIRST: fn(&mut Signer<'_>) = |_| {};

const SIGNED: &str = "{\"signature\":\"";
const DONE: &str = "{\"ok\":true}";

/// The check of the runtime before it seals a key. The reply is the answer alone.
fn holds(signer: &mut Signer<'_>, body: &mut [u8], out: &mut [u8]) -> usize {
    let request = IdentityRequest::parse(body, &SEED);
    out[0] = match request.map(|request| signer.holds(&request.identity)) {
        Ok(true) => b'y',
        Ok(false) => b'n',
        Err(_) => b'?',
    };
    1
}

/// The check of the runtime before it makes a key.
fn has_room(signer: &mut Signer<'_>, body: &mut [u8], out: &mut [u8]) -> usize {
    let request = IdentityRequest::parse(body, &SEED);
    out[0] = match request.and_then(|request| signer.has_room_for(&request.identity)) {
        Ok(()) => b'y',
        Err(_) => b'n',
    };
    1
}

/// A signer with room for two keys and four nonces; the first identity holds a key.
fn with_key() -> Signer<'static> {
    let mut signer = signer(2, 4);
    signer.store_generated(&identity(1), &pair([9; 32])).unwrap();
    signer
}

/// The reply, after checking that nothing was allocated on the way to it.
fn reply(case: &str, operation: &Operation, signer: &mut Signer<'_>, body: &[u8]) -> String {
    let Operation(name, answer) = operation;
    let mut body = body.to_vec();
    let mut out = [0; MAX_REPLY_BYTES];
    let (calls, length) = allocator_calls(|| answer(signer, &mut body, &mut out));
    assert!(calls == 0, "{name}, {case}: {calls} calls of the allocator");
    std::str::from_utf8(&out[..length]).unwrap().to_owned()
}

fn body(number: u32) -> Vec<u8> {
    let identity = identity_text(number);
    format!(r#"{{"identity_id":"{identity}","alg":"secp256k1","sealed_key":"aa:bb:cc","nonce":"00fF"}}"#)
        .into_bytes()
}

fn ticketed(number: u32, claims: &Claims) -> Vec<u8> {
    sign_body(number, DIGEST, &claims.ticket())
}

fn good() -> Claims {
    Claims::good(1, DIGEST, "n")
}

fn fill_keys(signer: &mut Signer<'_>) {
    signer.store_generated(&identity(2), &pair([8; 32])).unwrap();
}

fn use_up(signer: &mut Signer<'_>, nonce: &str, exp_s: u64, now_s: u64) {
    let mut body = ticketed(1, &Claims { exp_s, ..Claims::good(1, DIGEST, nonce) });
    let request = SignRequest::parse(&mut body, &SEED).unwrap();
    assert!(signer.authorize(request, now_s * 1000).is_ok(), "{nonce}");
}

#[test]
fn keys_come_and_go() {
    for (case, first, operation, number, expected) in [
        ("a new key", NOTHING_FIRST, GENERATE, 2, "{\"public_key\":\"0"),
        ("a key that is there", NOTHING_FIRST, GENERATE, 1, Refusal::KeyExists.text()),
        ("at capacity", fill_keys, GENERATE, 3, Refusal::AtCapacity.text()),
        ("a new key", NOTHING_FIRST, IMPORT, 2, DONE),
        (
            "the same key",
            |signer| signer.store_imported(&identity(2), &pair(IMPORTED)).unwrap(),
            IMPORT,
            2,
            DONE,
        ),
        ("another key", NOTHING_FIRST, IMPORT, 1, Refusal::KeyExists.text()),
        ("at capacity", fill_keys, IMPORT, 3, Refusal::AtCapacity.text()),
        ("a key", NOTHING_FIRST, HOLDS, 1, "y"),
        ("no key", NOTHING_FIRST, HOLDS, 2, "n"),
        ("no room for another key", NOTHING_FIRST, HAS_ROOM, 1, "n"),
        ("room for a key", NOTHING_FIRST, HAS_ROOM, 2, "y"),
        ("a key", NOTHING_FIRST, EXPORT, 1, "{\"alg\":\"secp256k1\",\"sealed_key\":\"aa:bb:cc\"}"),
        ("no key", NOTHING_FIRST, EXPORT, 2, Refusal::KeyNotFound.text()),
        ("a key", NOTHING_FIRST, ATTEST, 1, "{\"public_key\":\"0"),
        ("no key", NOTHING_FIRST, ATTEST, 2, Refusal::KeyNotFound.text()),
        ("a key", NOTHING_FIRST, DESTROY, 1, DONE),
        ("no key", NOTHING_FIRST, DESTROY, 2, Refusal::KeyNotFound.text()),
    ] {
        let mut signer = with_key();
        first(&mut signer);
        let reply = reply(case, &operation, &mut signer, &body(number));
        assert!(reply.contains(expected), "{}, {case}: {reply}", operation.0);
    }
}

#[test]
fn tickets_are_judged() {
    let escaped =
        String::from_utf8(ticketed(1, &good())).unwrap().replace("identity_id", r"\u0069dentity_id");
    // More names than the reader compares one by one.
    let many_claims = ('a'..='z').map(|name| format!("n\",\"{name}\":\"")).collect::<String>();
    let forged = sign_body(1, DIGEST, &forged(&good().ticket()));
    for (case, first, body, expected) in [
        ("good", NOTHING_FIRST, ticketed(1, &good()), SIGNED),
        ("good, in escapes", NOTHING_FIRST, escaped.into_bytes(), SIGNED),
        ("many claims", NOTHING_FIRST, ticketed(1, &Claims { nonce: many_claims, ..good() }), SIGNED),
        (
            "nonces to forget first",
            |signer| (0..4).for_each(|at| use_up(signer, &at.to_string(), NOW_S - 10 + at, NOW_S - 20)),
            ticketed(1, &good()),
            SIGNED,
        ),
        ("no key", NOTHING_FIRST, ticketed(2, &good()), Refusal::KeyNotFound.text()),
        ("forged", NOTHING_FIRST, forged, Refusal::InvalidTicket.text()),
        (
            "expired",
            NOTHING_FIRST,
            ticketed(1, &Claims { exp_s: NOW_S, ..good() }),
            Refusal::InvalidTicket.text(),
        ),
        (
            "too long-lived",
            NOTHING_FIRST,
            ticketed(1, &Claims { exp_s: u64::MAX, ..good() }),
            Refusal::InvalidTicket.text(),
        ),
        (
            "forgotten",
            |signer| {
                use_up(signer, "early", NOW_S + 10, NOW_S);
                use_up(signer, "late", NOW_S + 90, NOW_S + 60);
            },
            ticketed(1, &Claims { exp_s: NOW_S + 5, ..good() }),
            Refusal::InvalidTicket.text(),
        ),
        (
            "wrong scope",
            NOTHING_FIRST,
            ticketed(1, &Claims { scope: "read".into(), ..good() }),
            Refusal::WrongScope.text(),
        ),
        (
            "another identity",
            NOTHING_FIRST,
            ticketed(1, &Claims::good(2, DIGEST, "n")),
            Refusal::IdentityMismatch.text(),
        ),
        (
            "another digest",
            NOTHING_FIRST,
            ticketed(1, &Claims::good(1, [1; 32], "n")),
            Refusal::DigestMismatch.text(),
        ),
        (
            "replayed",
            |signer| use_up(signer, "n", NOW_S + 90, NOW_S),
            ticketed(1, &good()),
            Refusal::Replay.text(),
        ),
        (
            "at capacity",
            |signer| (0..4).for_each(|nonce| use_up(signer, &nonce.to_string(), NOW_S + 90, NOW_S)),
            ticketed(1, &good()),
            Refusal::AtCapacity.text(),
        ),
    ] {
        let mut signer = with_key();
        first(&mut signer);
        let reply = reply(case, &SIGN, &mut signer, &body);
        assert!(reply.contains(expected), "{case}: {reply}");
    }
}

#[test]
fn limits_are_kept_without_memory_of_their_own() {
    let pace = Pace::per_second(NonZeroU32::MIN);
    let slots = vec![PaceSlot::UNUSED; 2].leak();
    let mut signer = with_key().limited(SignatureLimits::default().in_all(pace).per_key(pace, slots));
    for (nonce, expected) in [("a", SIGNED), ("b", "Too many requests"), ("a", Refusal::Replay.text())] {
        let ticket = Claims::good(1, DIGEST, nonce).ticket();
        let reply = reply(nonce, &SIGN, &mut signer, &sign_body(1, DIGEST, &ticket));
        assert!(reply.contains(expected), "{nonce}: {reply}");
    }
}

#[test]
fn what_is_not_json_is_refused() {
    let too_long = [b" ".repeat(MAX_TEXT_BYTES), b"{}".to_vec()].concat();
    for operation in [GENERATE, IMPORT, SIGN, EXPORT, ATTEST, DESTROY] {
        for body in [
            &b""[..],
            b"{",
            b"{\"identity_id\":}",
            b"{\"identity_id\":\"\\x\"}",
            b"{\"a\":1,\"a\":1}",
            b"{} {}",
            b"\xff",
            b"1e",
            &too_long,
        ] {
            let case = String::from_utf8_lossy(&body[..body.len().min(40)]);
            let reply = reply(&case, &operation, &mut with_key(), body);
            assert_eq!(reply, r#"{"error":"Invalid JSON body"}"#, "{}, {case}", operation.0);
        }
    }
}

#[test]
fn every_error_is_listed() {
    for (operation, body, errors) in [
        (SIGN, r#"{"ticket":"","digest":"0X","identity_id":"x"}"#, 3),
        (SIGN, r#"{"ticket":{},"digest":null}"#, 3),
        (IMPORT, r#"{"sealed_key":"","alg":1,"identity_id":[]}"#, 3),
        (GENERATE, r#"{"alg":"rsa","identity_id":true}"#, 2),
        (EXPORT, "{}", 1),
        (ATTEST, r#"{"nonce":"x","identity_id":"x"}"#, 2),
        (DESTROY, r#"{"identity_id":"x"}"#, 1),
        (SIGN, "[]", 0),
    ] {
        let reply = reply(body, &operation, &mut with_key(), body.as_bytes());
        assert_eq!(reply.matches("\":[\"").count(), errors.max(1), "{}, {body}: {reply}", operation.0);
    }
    let too_long = sign_body(1, DIGEST, &"\u{20ac}".repeat(4097));
    let reply = reply("a ticket too long", &SIGN, &mut with_key(), &too_long);
    assert!(reply.contains("Too big: "), "{reply}");
}

#[test]
fn hostile_bodies_get_nothing() {
    for (case, body) in hostile_bodies() {
        for operation in [GENERATE, IMPORT, SIGN, HOLDS, HAS_ROOM, EXPORT, ATTEST, DESTROY] {
            assert!(!reply(case, &operation, &mut with_key(), &body).is_empty());
        }
    }
}

#[test]
fn a_signer_is_wiped() {
    let signer = with_key();
    let (calls, ()) = allocator_calls(|| drop(signer));
    assert_eq!(calls, 0);
}

/// Without this, every other test here would pass beside an allocator that counts nothing.
#[test]
fn the_allocator_counts() {
    let calls = |work: fn()| allocator_calls(work).0;
    assert_eq!(calls(|| drop(black_box(Box::new(7)))), 2, "alloc, dealloc");
    assert_eq!(calls(|| drop(black_box(vec![0_u8; 64]))), 2, "alloc_zeroed, dealloc");
    assert_eq!(calls(|| black_box(Vec::<u8>::with_capacity(64)).reserve_exact(128)), 3, "with a realloc");
    assert!(calls(|| drop(black_box(format!("{NOW_S}")))) > 0);
}

#[test]
fn it_counts_neither_other_times_nor_other_threads() {
    drop(black_box(Box::new(7)));
    assert_eq!(allocator_calls(|| ()).0, 0);

    let (begin, end) = (Barrier::new(2), Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            begin.wait();
            let (calls, ()) = allocator_calls(|| drop(black_box(Box::new(7))));
            end.wait();
            assert_eq!(calls, 2);
        });
        let (calls, _) = allocator_calls(|| {
            begin.wait();
            end.wait()
        });
        assert_eq!(calls, 0);
    });
}
