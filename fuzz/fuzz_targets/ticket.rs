//! The signer takes a ticket, or refuses it with the same error, exactly as the contract read with other libraries.

#![no_main]

use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use enclave_core::{
    ExpirySecond, HashSeed, IdentityId, KeyPair, KeySlot, KeyStore, NonceLedger, NonceSlot, Refusal,
    SecretKey, SignRequest, Signer, TicketVerifier, wheel_seconds,
};
use fuzz::identity::to_hex;
use fuzz::ticket::{Bend, Pieces, Question, SECRET, TicketError, judge, mint, uuid};
use libfuzzer_sys::fuzz_target;

const QUESTION: Question = Question {
    identity: *b"\x7b\x1c\xf0\xa2\x00\x00\x40\x00\x80\x00\x00\x00\x00\x00\x00\x01",
    digest: [7; 32],
    now_unix_ms: 1_800_000_000_000,
    max_ttl_s: 60,
};

#[derive(Arbitrary, Debug)]
struct Draft<'a> {
    bends: Vec<Bend>,
    late_ms: u16,
    header: Pieces<'a>,
    claims: Pieces<'a>,
}

fuzz_target!(|data: &[u8]| {
    // Two forms: `ticket BENDS LF HEADER LF CLAIMS` for seeds that can be read, and pieces for the fuzzer to shuffle.
    if let Some(seed) = data.strip_prefix(b"ticket ") {
        let mut lines = seed.splitn(3, |byte| *byte == b'\n');
        let [Some(bends), Some(header), Some(claims)] = [lines.next(), lines.next(), lines.next()] else {
            return;
        };
        let bends: Vec<Bend> = bends.iter().copied().filter_map(Bend::from_letter).collect();
        compare(&mint(header, claims, &bends), &QUESTION);
    } else if let Ok(draft) = Draft::arbitrary_take_rest(Unstructured::new(data)) {
        let question = Question { now_unix_ms: QUESTION.now_unix_ms + u64::from(draft.late_ms), ..QUESTION };
        let (header, claims) = (draft.header.header(&QUESTION), draft.claims.claims(&QUESTION));
        compare(&mint(&header, &claims, &draft.bends), &question);
    }
});

fn compare(ticket: &str, question: &Question) {
    if !(32..=4096).contains(&ticket.encode_utf16().count()) {
        return;
    }
    let ours = authorize(ticket, question);
    let theirs = judge(ticket, question).map_err(|error| match error {
        TicketError::Invalid => Refusal::InvalidTicket,
        TicketError::Scope => Refusal::WrongScope,
        TicketError::Identity => Refusal::IdentityMismatch,
        TicketError::Digest => Refusal::DigestMismatch,
    });
    assert_eq!(ours, theirs, "{ticket:?} {question:?}");
}

fn authorize(ticket: &str, question: &Question) -> Result<(), Refusal> {
    static PAIR: LazyLock<KeyPair> =
        LazyLock::new(|| KeyPair::from(SecretKey::take(&mut [9; 32]).expect("a key")));
    let mut keys = [KeySlot::VACANT];
    let mut nonces = [NonceSlot::VACANT];
    let mut wheel = vec![ExpirySecond::VACANT; wheel_seconds(question.max_ttl_s)];
    let seed = || HashSeed::new([5; 16]);
    let mut signer = Signer::new(
        KeyStore::new(&mut keys, seed()),
        NonceLedger::new(&mut nonces, &mut wheel, seed(), seed()),
        TicketVerifier::new(SECRET, question.max_ttl_s).expect("a secret"),
        seed(),
    );
    let identity = uuid(&question.identity);
    let id = IdentityId::from_text(identity.as_bytes()).expect("an identity");
    signer.store_generated(&id, &PAIR).expect("room for one");
    let ticket = serde_json::to_string(ticket).expect("text is JSON");
    let body = format!(
        r#"{{"identity_id":"{identity}","digest":"{}","ticket":{ticket}}}"#,
        to_hex(&question.digest)
    );
    let mut authorize = |now_unix_ms| {
        let mut body = body.clone().into_bytes();
        let request = SignRequest::parse(&mut body, &seed()).expect("a good body");
        signer.authorize(request, now_unix_ms).map(drop)
    };
    let first = authorize(question.now_unix_ms);
    let replay = authorize(question.now_unix_ms);
    assert_eq!(
        replay.err(),
        first.err().or(Some(Refusal::Replay)),
        "a ticket is good once, and a refusal stays"
    );
    first
}
