//! What a signature leaves on the stack: no secret, in no frame and no spilled register.
//!
//! The stack is painted, a signature made, and the whole stack of the thread read back through `/proc/self/mem`.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[allow(dead_code, reason = "not all of it is needed here")]
#[path = "public_api/workbench.rs"]
mod workbench;

use std::convert::Infallible;
use std::fs::{File, read_to_string};
use std::hint::black_box;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::thread;

use enclave_core::{KeyPair, MAX_REPLY_BYTES, Reply, SignRequest, Signer, with_burnt_stack};
use k256::Scalar;
use k256::elliptic_curve::PrimeField as _;
use k256::elliptic_curve::ops::Reduce as _;
use sha2::{Digest as _, Sha256};

use workbench::{Claims, NOW_S, SEED, identity, pair, sign_body, signer};

const KEY: [u8; 32] = *b"\x11 a key that one would recognise";
const DIGEST: [u8; 32] = [0xC3; 32];
const AUX: [u8; 32] = *b"auxiliary randomness, 32 bytes.\x99";

const PAINT: u8 = 0xA5;
/// Deeper than anything here goes, and less than a thread has.
const PAINTED_BYTES: usize = 256 * 1024;

/// A part of what `with_burnt_stack` overwrites that is surely one piece.
const OVERWRITTEN_BYTES: usize = 8 * 1024;

/// A secret and the word of it by which it is recognised.
struct Needle(&'static str, [u8; 8]);

/// Each secret of a signature, in the byte orders and as the words that arithmetic keeps it in.
fn needles() -> Vec<Needle> {
    let hash = |tag: &str, parts: &[&[u8]]| -> [u8; 32] {
        let tag = Sha256::digest(tag);
        parts
            .iter()
            .fold(Sha256::new_with_prefix(tag).chain_update(tag), |hash, part| hash.chain_update(part))
            .finalize()
            .into()
    };
    let bytes = |scalar: Scalar| <[u8; 32]>::from(scalar.to_bytes());
    let stored = Scalar::from_repr(KEY.into()).unwrap();
    let public = *pair(KEY).public_key().as_bytes();
    // BIP-340's variables.
    let d = if public[0] == 2 { stored } else { -stored };
    let mask = hash("BIP0340/aux", &[&AUX]);
    let t: [u8; 32] = std::array::from_fn(|index| bytes(d)[index] ^ mask[index]);
    let rand = hash("BIP0340/nonce", &[&t, &public[1..], &DIGEST]);
    let k = Scalar::reduce(&k256::FieldBytes::from(rand));

    let mut needles = Vec::new();
    for (name, secret) in [
        ("d", bytes(d)),
        ("-d", bytes(-d)),
        ("t", t),
        ("rand", rand),
        ("k", bytes(k)),
        ("-k", bytes(-k)),
        ("aux", AUX),
        ("half of k", half(&bytes(k))),
        ("half of -k", half(&bytes(-k))),
    ] {
        for word in secret.as_chunks::<8>().0 {
            needles.push(Needle(name, *word));
            let mut reversed = *word;
            reversed.reverse();
            needles.push(Needle(name, reversed));
        }
    }
    needles
}

/// A big-endian number shifted by one bit, as the generator's digits are read off.
fn half(number: &[u8; 32]) -> [u8; 32] {
    std::array::from_fn(|index| {
        number[index] >> 1 | index.checked_sub(1).map_or(0, |before| number[before] << 7)
    })
}

/// The mapping that an address of this thread's stack lies in.
fn mapping_of(address: usize) -> Range<usize> {
    let maps = read_to_string("/proc/self/maps").unwrap();
    let mapping = maps.lines().find_map(|line| {
        let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        let number = |hex| usize::from_str_radix(hex, 16).unwrap();
        let mapping = number(start)..number(end);
        mapping.contains(&address).then_some(mapping)
    });
    mapping.unwrap()
}

#[inline(never)]
fn paint() {
    black_box([PAINT; PAINTED_BYTES]);
}

fn read(range: Range<usize>) -> Vec<u8> {
    let mut bytes = vec![0; range.len()];
    File::open("/proc/self/mem").unwrap().read_exact_at(&mut bytes, range.start as u64).unwrap();
    bytes
}

/// Runs `work` on a painted stack. Which needles lie on the stack afterwards.
#[inline(never)]
fn leavings(needles: &[Needle], work: impl FnOnce()) -> Vec<&'static str> {
    paint();
    work();
    let local = PAINT;
    let here = std::ptr::from_ref(black_box(&local)).addr();
    let mapping = mapping_of(here);
    let stack = read(mapping.clone());

    let below = &stack[here - mapping.start - PAINTED_BYTES / 2..here - mapping.start];
    let touched: Vec<u8> = below.iter().copied().skip_while(|byte| *byte == PAINT).collect();
    assert!(touched.len() < below.len(), "it went deeper than can be seen");
    // Had anything gone deeper than what is overwritten with zeros, its leavings would be the deepest. A few bytes are the
    // return addresses of the overwriting itself.
    let deepest = touched.iter().take(OVERWRITTEN_BYTES);
    assert!(deepest.filter(|byte| **byte != 0).count() < 64, "it went deeper than is overwritten");

    let is_there = |word: &[u8; 8]| stack.windows(8).any(|window| window == word);
    needles.iter().filter(|Needle(_, word)| is_there(word)).map(|Needle(name, _)| *name).collect()
}

/// On a thread of its own, whose stack nothing else has used.
fn on_a_new_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(work).join().unwrap())
}

fn with_key() -> Signer<'static> {
    on_a_new_stack(|| {
        let mut signer = signer(1, 1);
        signer.store_imported(&identity(1), &pair(KEY)).unwrap();
        signer
    })
}

/// Body bytes in, reply bytes out, on this stack.
#[inline(never)]
fn sign(signer: &mut Signer<'_>, body: &mut [u8], aux: &[u8; 32], out: &mut [u8]) {
    let signed = SignRequest::parse(body, &SEED)
        .and_then(|request| signer.authorize(request, NOW_S * 1000))
        .map(|permit| permit.sign(aux).unwrap());
    Reply::Signature(signed.as_ref().unwrap()).write(out).unwrap();
}

#[test]
fn a_signature_leaves_no_secret_on_the_stack() {
    let needles = on_a_new_stack(needles);
    let mut signer = with_key();
    let mut body = sign_body(1, DIGEST, &Claims::good(1, DIGEST, "n").ticket());
    let mut out = vec![0; MAX_REPLY_BYTES];
    let aux = Box::new(AUX);
    let found = on_a_new_stack(|| leavings(&needles, || sign(&mut signer, &mut body, &aux, &mut out)));
    assert!(out.starts_with(b"{\"signature\":\""));
    assert_eq!(found, [""; 0]);
}

/// Inside `with_burnt_stack` as a whole, as the runtime does it: a key that is moved leaves its bytes where it was.
#[test]
fn a_new_key_leaves_no_secret_on_the_stack() {
    let needles = on_a_new_stack(needles);
    let key = Box::new(KEY);
    let mut signer = on_a_new_stack(|| signer(1, 1));
    let mut out = vec![0; MAX_REPLY_BYTES];
    let generate = || {
        let Ok(pair) = KeyPair::generate(|bytes| {
            bytes.copy_from_slice(&*key);
            Ok::<(), Infallible>(())
        });
        signer.store_generated(&identity(1), &pair).unwrap();
        Reply::PublicKey(pair.public_key()).write(&mut out).unwrap();
    };
    let found = on_a_new_stack(|| leavings(&needles, || with_burnt_stack(generate)));
    assert!(out.starts_with(b"{\"public_key\":\""));
    assert_eq!(found, [""; 0]);
}

/// The control: what is left there is found, and so is what goes too deep.
#[test]
fn leavings_are_found() {
    let needles = on_a_new_stack(needles);
    let key = Box::new(KEY);
    let copy = || _ = black_box(*key);
    let found = on_a_new_stack(|| {
        leavings(&needles, || {
            copy();
            with_burnt_stack(|| ());
        })
    });
    assert!(found.contains(&"d") || found.contains(&"-d"), "{found:?}");
    let too_deep = || with_burnt_stack(|| _ = black_box([1_u8; 24 * 1024]));
    let outcome = thread::spawn(move || leavings(&[], too_deep)).join();
    assert!(outcome.is_err());
}
