//! Whole requests, body bytes in and reply bytes out: what the runtime does, without its lock, randomness and sealer.
//! And the bodies that a hostile client would pick to make it slow. The benchmarks run the same ones.

use std::convert::Infallible;

use enclave_core::{
    AttestRequest, GenerateRequest, IdentityRequest, ImportRequest, KeyPair, Refusal, Reply, SignRequest,
    Signer,
};

use crate::small_signer::{NOW_S, SEED, pair, sign_body};

pub(crate) const DIGEST: [u8; 32] = [0xC3; 32];

/// The key that every backup here holds.
pub(crate) const IMPORTED: [u8; 32] = [2; 32];

pub(crate) fn sign(signer: &mut Signer<'_>, body: &mut [u8], out: &mut [u8]) -> usize {
    let signed = SignRequest::parse(body, &SEED)
        .and_then(|request| signer.authorize(request, NOW_S * 1000))
        .map(|permit| permit.sign(&[7; 32]).unwrap());
    write(&signed.as_ref().map_or_else(Reply::Refused, Reply::Signature), out)
}

pub(crate) fn generate(signer: &mut Signer<'_>, body: &mut [u8], out: &mut [u8]) -> usize {
    let outcome = GenerateRequest::parse(body, &SEED).and_then(|request| {
        let Ok(pair) = KeyPair::generate(|bytes| {
            *bytes = [7; 32];
            Ok::<(), Infallible>(())
        });
        signer.store_generated(&request.identity, &pair).map(|()| *pair.public_key())
    });
    write(&outcome.as_ref().map_or_else(Reply::Refused, Reply::PublicKey), out)
}

pub(crate) fn destroy(signer: &mut Signer<'_>, body: &mut [u8], out: &mut [u8]) -> usize {
    let outcome = IdentityRequest::parse(body, &SEED).and_then(|request| signer.destroy(&request.identity));
    done(outcome, out)
}

pub(crate) fn export(signer: &mut Signer<'_>, body: &mut [u8], out: &mut [u8]) -> usize {
    let outcome = IdentityRequest::parse(body, &SEED).and_then(|request| signer.export(&request.identity));
    write(&outcome.as_ref().map_or_else(Reply::Refused, |_| Reply::SealedKey("aa:bb:cc")), out)
}

pub(crate) fn import(signer: &mut Signer<'_>, body: &mut [u8], out: &mut [u8]) -> usize {
    let outcome = ImportRequest::parse(body, &SEED)
        .and_then(|request| signer.store_imported(&request.identity, &pair(IMPORTED)));
    done(outcome, out)
}

/// Up to what a document is asked for: the public key goes out, once the hash is made.
pub(crate) fn attest(signer: &mut Signer<'_>, body: &mut [u8], out: &mut [u8]) -> usize {
    let outcome = AttestRequest::parse(body, &SEED).and_then(|request| {
        let binding = signer.binding(&request.identity)?;
        std::hint::black_box((binding.hash(), request.nonce));
        Ok(binding.public_key)
    });
    write(&outcome.as_ref().map_or_else(Reply::Refused, Reply::PublicKey), out)
}

fn done(outcome: Result<(), Refusal>, out: &mut [u8]) -> usize {
    write(&outcome.as_ref().map_or_else(Reply::Refused, |()| Reply::Done), out)
}

fn write(reply: &Reply<'_>, out: &mut [u8]) -> usize {
    reply.write(out).unwrap().len()
}

/// The ticket with another MAC of the right form.
pub(crate) fn forged(ticket: &str) -> String {
    let (signed, tag) = ticket.rsplit_once('.').unwrap();
    let other = if tag.starts_with('A') { 'B' } else { 'A' };
    format!("{signed}.{other}{}", &tag[1..])
}

/// No longer than the 32 KiB that the runtime lets through.
pub(crate) fn hostile_bodies() -> [(&'static str, Vec<u8>); 4] {
    let members: Vec<_> = (0..3_600).map(|name| format!("\"{name}\":0")).collect();
    let longest = format!("{}.{}.{}", "A".repeat(2000), "B".repeat(2000), "C".repeat(94));
    let bodies = [
        ("nesting_bomb", [b"{\"a\":".repeat(6000), b"[".repeat(2000)].concat()),
        ("longest_ticket", sign_body(1, DIGEST, &longest)),
        ("digits", b"7".repeat(32_768)),
        ("many_names", format!("{{{}}}", members.join(",")).into_bytes()),
    ];
    assert!(bodies.iter().all(|(_, body)| body.len() <= 32_768));
    bodies
}
