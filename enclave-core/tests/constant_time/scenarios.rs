//! The operations that run under memcheck. Each is an ignored test, so that a caller can select it by name.

use std::convert::Infallible;
use std::hint::black_box;

use enclave_core::{KeyPair, Refusal, Reply, SecretKey, SignRequest, Signer, TicketVerifier};

use crate::memcheck::{is_running, is_secret, mark_public, mark_secret};
use crate::small_signer::{
    Claims, MAX_TTL_S, NOW_S, SECRET, SEED, identity, pair, sign_body, signer, signer_with,
};

const KEY: [u8; 32] = [0x5A; 32];
const DIGEST: [u8; 32] = [0xC3; 32];
const AUX: [u8; 32] = [0x99; 32];

/// A signer whose ticket secrets are marked.
fn secretive_signer() -> Signer<'static> {
    assert!(is_running(), "memcheck runs this");
    let mut ticket_secret = SECRET.to_vec();
    mark_secret(&mut ticket_secret);
    let mut previous = b"the ticket secret before".to_vec();
    mark_secret(&mut previous);
    let tickets = TicketVerifier::new(&ticket_secret, MAX_TTL_S).unwrap();
    signer_with(tickets.accepting_previous(&previous).unwrap(), 2, 4)
}

/// A key that is marked, as it comes out of a backup.
fn secret_key() -> KeyPair {
    let mut bytes = black_box(KEY);
    mark_secret(&mut bytes);
    KeyPair::from(SecretKey::take(&mut bytes).unwrap())
}

/// Body to reply, for as long as the permit lasts.
fn sign(signer: &mut Signer<'_>, ticket: &str, aux: &[u8; 32]) -> Vec<u8> {
    let mut body = sign_body(1, DIGEST, ticket);
    let signed = SignRequest::parse(&mut body, &SEED)
        .and_then(|request| signer.authorize(request, NOW_S * 1000))
        .map(|permit| permit.sign(aux).unwrap());
    reply(&signed.as_ref().map_or_else(Reply::Refused, Reply::Signature))
}

fn reply(reply: &Reply<'_>) -> Vec<u8> {
    reply.write(&mut [0; 512]).unwrap().to_vec()
}

fn good_ticket() -> String {
    Claims::good(1, DIGEST, "n").ticket()
}

/// Checks that a result of secrets is itself marked as secret, or the scenario shows nothing. Then checks its value.
fn assert_computed_of_secrets(mut made: Vec<u8>, expected: &[u8]) {
    assert!(is_secret(&made), "the marks were lost on the way");
    mark_public(&mut made);
    assert_eq!(made, expected);
}

#[test]
#[ignore = "run under memcheck by the test of the same name"]
fn a_signature() {
    let mut plain = signer(2, 4);
    plain.store_imported(&identity(1), &pair(KEY)).unwrap();
    let expected = sign(&mut plain, &good_ticket(), &AUX);
    assert!(expected.starts_with(b"{\"signature\":\""));

    let mut signer = secretive_signer();
    signer.store_imported(&identity(1), &secret_key()).unwrap();
    let mut aux = AUX;
    mark_secret(&mut aux);
    assert_computed_of_secrets(sign(&mut signer, &good_ticket(), &aux), &expected);
}

#[test]
#[ignore = "run under memcheck by the test of the same name"]
fn a_new_key() {
    let expected = reply(&Reply::PublicKey(pair(KEY).public_key()));

    let mut signer = secretive_signer();
    let mut draws = [[0xFF; 32], KEY].into_iter();
    let Ok(made) = KeyPair::generate(|bytes| {
        *bytes = draws.next().unwrap();
        mark_secret(bytes);
        Ok::<(), Infallible>(())
    });
    signer.store_generated(&identity(1), &made).unwrap();
    assert!(is_secret(signer.export(&identity(1)).unwrap().secret_bytes()));
    assert_computed_of_secrets(reply(&Reply::PublicKey(made.public_key())), &expected);
}

#[test]
#[ignore = "run under memcheck by the test of the same name"]
fn an_import() {
    let mut signer = secretive_signer();
    let mut none = [0xFF; 32];
    mark_secret(&mut none);
    assert!(SecretKey::take(&mut none).is_err());
    assert_eq!(signer.store_imported(&identity(1), &secret_key()), Ok(()));
    assert_eq!(signer.store_imported(&identity(1), &secret_key()), Ok(()), "the same again");
    assert_eq!(signer.store_imported(&identity(1), &pair([1; 32])), Err(Refusal::KeyExists));
    assert_eq!(signer.destroy(&identity(1)), Ok(()));
}

#[test]
#[ignore = "run under memcheck by the test of the same name"]
fn a_key_binding() {
    let mut plain = signer(2, 4);
    plain.store_generated(&identity(1), &pair(KEY)).unwrap();
    let expected = plain.binding(&identity(1)).unwrap().hash();

    let mut signer = secretive_signer();
    signer.store_generated(&identity(1), &secret_key()).unwrap();
    let binding = signer.binding(&identity(1)).unwrap();
    assert_computed_of_secrets(binding.hash().to_vec(), &expected);
}

#[test]
#[ignore = "run under memcheck by the test of the same name"]
fn a_forged_ticket() {
    let mut signer = secretive_signer();
    signer.store_imported(&identity(1), &secret_key()).unwrap();
    let good = good_ticket();
    let (start, end) = good.split_at(good.len() - 10);
    for forged in
        [format!("{start}A{}", &end[1..]), format!("{start}{}AAA", &end[3..]), format!("A{}", &good[1..])]
    {
        assert_eq!(sign(&mut signer, &forged, &AUX), reply(&Reply::Refused(&Refusal::InvalidTicket)));
    }
}

/// A copy of the check of a MAC, but one that stops at the first byte that differs.
#[inline(never)]
fn leaky_comparison(expected: &[u8], presented: &[u8]) -> bool {
    expected.iter().zip(presented).all(|(expected, presented)| expected == presented)
}

/// A copy of the generator's look-up, but one that goes straight to the entry.
#[inline(never)]
fn leaky_look_up(row: &[[u64; 8]; 32], digit: u8) -> u64 {
    row[usize::from(digit & 0x1F)][0]
}

/// A copy of the choice between a nonce and its negative, but one that branches.
#[inline(never)]
fn leaky_branch(nonce: &[u8; 32], odd: u8) -> [u8; 32] {
    if odd & 1 == 1 { nonce.map(|byte| black_box(!byte)) } else { *nonce }
}

#[test]
#[ignore = "run under memcheck by leaks_are_caught"]
fn a_leaky_comparison() {
    let mut expected = black_box([7; 32]);
    mark_secret(&mut expected);
    black_box(leaky_comparison(&expected, &black_box([8; 32])));
}

#[test]
#[ignore = "run under memcheck by leaks_are_caught"]
fn a_leaky_look_up() {
    let mut digit = black_box([7]);
    mark_secret(&mut digit);
    black_box(leaky_look_up(&black_box([[1; 8]; 32]), digit[0]));
}

#[test]
#[ignore = "run under memcheck by leaks_are_caught"]
fn a_leaky_branch() {
    let mut odd = black_box([1]);
    mark_secret(&mut odd);
    black_box(leaky_branch(&black_box([7; 32]), odd[0]));
}
