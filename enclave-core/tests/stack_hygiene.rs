//! Operations leave no secret on the stack, in no frame and no spilled register.
//!
//! A stack is painted, an operation run as the runtime runs it, inside `with_burnt_stack`, and the stack read back
//! through `/proc/self/mem`. What is shown is that the overwriting covers whatever the operation left; the wipes on the
//! way are there for a stack that nobody overwrites, and show here only in part.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[allow(dead_code, reason = "not all of it is needed here")]
#[path = "public_api/small_signer.rs"]
mod small_signer;

use std::convert::Infallible;
use std::fs::{File, read_to_string};
use std::hint::black_box;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use enclave_core::{KeyPair, MAX_REPLY_BYTES, Reply, SignRequest, Signer, with_burnt_stack};
use k256::Scalar;
use k256::elliptic_curve::ops::Reduce as _;
use sha2::{Digest as _, Sha256};

use small_signer::{Claims, NOW_S, SECRET, SEED, identity, pair, sign_body, signer};

const KEY: [u8; 32] = *b"\x11 a key that one would recognise";
const DIGEST: [u8; 32] = [0xC3; 32];
const AUX: [u8; 32] = *b"auxiliary randomness, 32 bytes.\x99";

const PAINT: u8 = 0xA5;
/// Deeper than anything here goes, and less than a thread has.
const PAINTED_BYTES: usize = 256 * 1024;

/// A part of what `with_burnt_stack` overwrites that is surely one piece.
const OVERWRITTEN_BYTES: usize = 8 * 1024;

/// A secret, and one word that identifies it.
struct Needle(&'static str, [u8; 8]);

/// Each word of a secret, as bytes, as a 64-bit number and as two of 32 bits.
fn needles(secrets: &[(&'static str, [u8; 32])]) -> Vec<Needle> {
    let forms = |word: [u8; 8]| {
        let number = u64::from_be_bytes(word);
        [word, number.to_le_bytes(), number.rotate_left(32).to_le_bytes()]
    };
    let words = secrets
        .iter()
        .flat_map(|(name, secret)| secret.as_chunks::<8>().0.iter().map(move |word| (name, word)));
    words.flat_map(|(name, word)| forms(*word).map(|form| Needle(name, form))).collect()
}

/// BIP-340's secret variables of the one signature that is made here.
fn secrets_of_the_signature() -> Vec<Needle> {
    let hash = |tag: &str, parts: &[&[u8]]| -> [u8; 32] {
        let tag = Sha256::digest(tag);
        let start = Sha256::new_with_prefix(tag).chain_update(tag);
        parts.iter().fold(start, |hash, part| hash.chain_update(part)).finalize().into()
    };
    let bytes = |scalar: Scalar| <[u8; 32]>::from(scalar.to_bytes());
    let reduce = |bytes: [u8; 32]| Scalar::reduce(&k256::FieldBytes::from(bytes));
    let public = *pair(KEY).public_key().as_bytes();
    let stored = reduce(KEY);
    let d = if public[0] == 2 { stored } else { -stored };
    let mask = hash("BIP0340/aux", &[&AUX]);
    let t: [u8; 32] = std::array::from_fn(|index| bytes(d)[index] ^ mask[index]);
    let rand = hash("BIP0340/nonce", &[&t, &public[1..], &DIGEST]);
    let k = reduce(rand);
    let r = pair(bytes(k)).public_key().as_bytes()[1..].to_vec();
    let e = reduce(hash("BIP0340/challenge", &[&r, &public[1..], &DIGEST]));
    needles(&[
        ("d", bytes(d)),
        ("-d", bytes(-d)),
        ("t", t),
        ("rand", rand),
        ("k", bytes(k)),
        ("-k", bytes(-k)),
        ("half of k", half(&bytes(k))),
        ("half of -k", half(&bytes(-k))),
        ("e times d", bytes(e * d)),
        ("aux", AUX),
    ])
}

/// A big-endian number shifted by one bit, as the generator's digits are read off.
fn half(number: &[u8; 32]) -> [u8; 32] {
    std::array::from_fn(|index| {
        number[index] >> 1 | index.checked_sub(1).map_or(0, |before| number[before] << 7)
    })
}

/// SHA-256's states after the padded ticket secret, with which anybody can make MACs (RFC 2104 §4).
fn hmac_states() -> [(&'static str, [u8; 32]); 2] {
    let state = |pad: u8| -> [u8; 32] {
        let mut block = [pad; 64];
        block.iter_mut().zip(SECRET).for_each(|(place, byte)| *place ^= byte);
        // That of FIPS 180-4 §5.3.3, to begin with.
        let mut state = [
            0x6a09_e667,
            0xbb67_ae85,
            0x3c6e_f372,
            0xa54f_f53a,
            0x510e_527f,
            0x9b05_688c,
            0x1f83_d9ab,
            0x5be0_cd19,
        ];
        sha2::block_api::compress256(&mut state, &[block]);
        state.map(u32::to_be_bytes).concat().try_into().unwrap()
    };
    [("inner state", state(0x36)), ("outer state", state(0x5c))]
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

/// Runs `work` on a stack that was painted and is read back before anything else runs on it. Which needles lie there.
#[inline(never)]
fn leavings(needles: &[Needle], work: impl FnOnce()) -> Vec<&'static str> {
    let local = PAINT;
    let here = std::ptr::from_ref(black_box(&local)).addr();
    let Range { start, end } = mapping_of(here);
    let start = start.max(here - PAINTED_BYTES / 2);
    let mut stack = vec![0; end - start];
    let memory = File::open("/proc/self/mem").unwrap();
    paint();
    work();
    memory.read_exact_at(&mut stack, start as u64).unwrap();

    let below = &stack[..here - start];
    let touched: Vec<u8> = below.iter().copied().skip_while(|byte| *byte == PAINT).collect();
    assert!(touched.len() < below.len(), "it went deeper than can be seen");
    // Had anything gone deeper than what is overwritten with zeros, its leavings would be the deepest. A few bytes are
    // the return addresses of the overwriting itself.
    let deepest = touched.iter().take(OVERWRITTEN_BYTES);
    assert!(deepest.filter(|byte| **byte != 0).count() < 64, "it went deeper than is overwritten");

    let is_there = |word: &[u8; 8]| stack.windows(8).any(|window| window == word);
    needles.iter().filter(|Needle(_, word)| is_there(word)).map(|Needle(name, _)| *name).collect()
}

/// On a stack that no thread had before: one that has ended leaves its own only to those that ask for no more.
fn on_a_new_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    static MEBIBYTES: AtomicUsize = AtomicUsize::new(16);
    let stack_size = MEBIBYTES.fetch_add(1, Ordering::Relaxed) << 20;
    let builder = thread::Builder::new().stack_size(stack_size);
    thread::scope(|scope| builder.spawn_scoped(scope, work).unwrap().join())
        .unwrap_or_else(|panic| resume_unwind(panic))
}

fn with_key() -> Signer<'static> {
    let mut signer = signer(1, 1);
    signer.store_imported(&identity(1), &pair(KEY)).unwrap();
    signer
}

/// Body bytes in, reply bytes out.
fn sign(signer: &mut Signer<'_>, body: &mut [u8], out: &mut [u8]) {
    let signed = SignRequest::parse(body, &SEED)
        .and_then(|request| signer.authorize(request, NOW_S * 1000))
        .map(|permit| permit.sign(&AUX).unwrap());
    signed.as_ref().map_or_else(Reply::Refused, Reply::Signature).write(out).unwrap();
}

#[test]
fn a_signature_leaves_no_secret_on_the_stack() {
    let mut needles = secrets_of_the_signature();
    needles.extend(self::needles(&hmac_states()));
    let mut signer = with_key();
    let mut body = sign_body(1, DIGEST, &Claims::good(1, DIGEST, "n").ticket());
    let mut out = vec![0; MAX_REPLY_BYTES];
    let found =
        on_a_new_stack(|| leavings(&needles, || with_burnt_stack(|| sign(&mut signer, &mut body, &mut out))));
    assert!(out.starts_with(b"{\"signature\":\""));
    assert_eq!(found, [""; 0]);
}

#[test]
fn a_new_key_leaves_no_secret_on_the_stack() {
    let needles = secrets_of_the_signature();
    let key = Box::new(KEY);
    let mut signer = signer(1, 1);
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

/// A forger wants to learn the right MAC. Here the core alone overwrites the stack.
#[test]
fn a_forged_ticket_leaves_no_mac_on_the_stack() {
    let ticket = Claims::good(1, DIGEST, "n").ticket();
    let (signed, tag) = ticket.rsplit_once('.').unwrap();
    let expected = Base64UrlUnpadded::decode(tag, &mut [0; 32]).unwrap().try_into().unwrap();
    let mut secrets = hmac_states().to_vec();
    secrets.push(("expected MAC", expected));
    let needles = needles(&secrets);

    let mut other = [0; 43];
    let other = Base64UrlUnpadded::encode(&[0x77; 32], &mut other).unwrap();
    let mut body = sign_body(1, DIGEST, &format!("{signed}.{other}"));
    let mut signer = with_key();
    let mut out = vec![0; MAX_REPLY_BYTES];
    let found = on_a_new_stack(|| leavings(&needles, || sign(&mut signer, &mut body, &mut out)));
    assert!(out.starts_with(b"{\"error\":\"Invalid ticket signature"));
    assert_eq!(found, [""; 0]);
}

/// The control: what is left there is found, near and deep, and so is what went too deep.
#[test]
fn leavings_are_found() {
    #[inline(never)]
    fn copy<const DEPTH_BYTES: usize>(key: &[u8; 32]) {
        // The array of zeros lies above or below; one of the copies is under it.
        let above = black_box(*key);
        black_box([0_u8; DEPTH_BYTES]);
        black_box(above);
    }
    let needles = secrets_of_the_signature();
    let key = Box::new(KEY);
    for work in [copy::<256>, copy::<4096>] {
        let found = on_a_new_stack(|| {
            leavings(&needles, || {
                with_burnt_stack(|| ());
                work(&key);
            })
        });
        assert!(found.len() >= 4, "{found:?}");
    }
    let too_deep = || with_burnt_stack(|| _ = black_box([1_u8; 24 * 1024]));
    let outcome = thread::spawn(move || leavings(&[], too_deep)).join();
    assert!(outcome.is_err());
}
