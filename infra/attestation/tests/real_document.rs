//! A document that AWS's hardware made in 2022, under AWS's root: `tests/data/attestation-doc-2022.cose`, from the
//! tests of tkhq/qos.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use attestation::{Document, Expectation, Field, MAX_DOCUMENT_BYTES, Refused, Root, verify};
use sha2::{Digest as _, Sha256, Sha384};

const DOCUMENT: &[u8] = include_bytes!("data/attestation-doc-2022.cose");
const ROOT_PEM: &str = include_str!("../roots/aws-nitro-root-g1.pem");

/// The instance, as the document's module ID and AWS's rule for PCR4 have it.
const INSTANCE: &str = "i-07e25f3bada361dec";

fn at_its_time() -> Expectation<'static> {
    Expectation::at(Document::parse(DOCUMENT).unwrap().timestamp_unix_ms)
}

#[test]
fn the_pinned_root_has_the_known_fingerprint() {
    // As openssl tells it of the copy in tkhq/qos.
    let fingerprint = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b";
    let document = Document::parse(DOCUMENT).unwrap();
    assert_eq!(hex(&Sha256::digest(&document.cabundle[0])), fingerprint);
    assert_eq!(Root::from_der(&document.cabundle[0]), Ok(Root::aws_g1()));
    assert_eq!(Root::from_pem(ROOT_PEM), Ok(Root::aws_g1()));
}

#[test]
fn it_is_accepted_at_its_time() {
    let document = verify(DOCUMENT, &Root::aws_g1(), &at_its_time()).unwrap();
    assert_eq!(document.module_id, format!("{INSTANCE}-enc0181d3dff86da785"));
    assert_eq!(document.pcrs.iter().map(|(index, _)| index).collect::<Vec<_>>(), (0..16).collect::<Vec<_>>());
    let pcr4 = Sha384::new_with_prefix([0; 48]).chain_update(INSTANCE).finalize();
    assert_eq!(document.pcrs.get(4), Some(pcr4.as_slice()));
    assert_eq!(document.pcrs.get(3), Some([0; 48].as_slice()), "no role");
    assert_eq!(document.pcrs.get(16), None);
    assert_eq!((document.cabundle.len(), document.nonce.as_deref()), (4, None));

    // AWS's text allows a tag, which is not signed.
    let tagged = [&[0xd2], DOCUMENT].concat();
    assert_eq!(verify(&tagged, &Root::aws_g1(), &at_its_time()), Ok(document.clone()));

    let expectation = Expectation { pcrs: vec![(4, pcr4.to_vec())], ..at_its_time() };
    assert_eq!(verify(DOCUMENT, &Root::aws_g1(), &expectation), Ok(document));
}

#[test]
fn it_is_refused_for_what_it_does_not_say() {
    let root = Root::aws_g1();
    let refused = |expectation| verify(DOCUMENT, &root, &expectation).unwrap_err();
    assert_eq!(
        refused(Expectation { pcrs: vec![(3, vec![1; 48])], ..at_its_time() }),
        Refused::PcrMismatch(3)
    );
    assert_eq!(
        refused(Expectation { pcrs: vec![(16, vec![0; 48])], ..at_its_time() }),
        Refused::PcrMissing(16)
    );
    assert_eq!(refused(Expectation { nonce: Some(b"challenge"), ..at_its_time() }), Refused::WrongNonce);
}

#[test]
fn it_is_refused_at_other_times() {
    let root = Root::aws_g1();
    let refused = |now_unix_ms| verify(DOCUMENT, &root, &Expectation::at(now_unix_ms)).unwrap_err();
    let made = at_its_time().now_unix_ms;
    assert_eq!(refused(made + 300_001), Refused::Stale);
    assert_eq!(refused(made - 60_001), Refused::FromTheFuture);
    // Its leaf is for 2022-07-06T14:18:19Z to 17:18:22Z, as openssl tells it; expired is after that second.
    assert_eq!(refused(1_657_127_902_999), Refused::Stale);
    assert_eq!(refused(1_657_127_903_000), Refused::CertificateJustExpired);
    const WEEK_MS: u64 = 7 * 24 * 3_600_000;
    assert_eq!(refused(1_657_127_902_000 + WEEK_MS - 1), Refused::CertificateJustExpired);
    assert_eq!(refused(1_657_127_902_000 + WEEK_MS), Refused::CertificateExpired);
    assert_eq!(refused(1_657_117_039_000), Refused::FromTheFuture);
    assert_eq!(refused(1_657_117_038_999), Refused::CertificateNotYetValid);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    assert_eq!(refused(u64::try_from(now).unwrap()), Refused::CertificateExpired);
    // 2019-10-28T13:28:05Z and 2049-10-28T14:28:05Z, as openssl tells them.
    assert_eq!(refused(1_572_269_285_000 - 1), Refused::RootNotValid);
    assert_eq!(refused(1_572_269_285_000), Refused::CertificateNotYetValid);
    assert_eq!(refused(2_519_044_085_999), Refused::CertificateExpired);
    assert_eq!(refused(2_519_044_086_000), Refused::RootNotValid);
    assert_eq!(refused(u64::MAX), Refused::RootNotValid);
}

/// A bit of a byte, and all of it. No such change gives the other signature, (r, n − s), that verifies too.
#[test]
fn it_is_refused_with_any_byte_changed() {
    let (root, expectation) = (Root::aws_g1(), at_its_time());
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let refused = thread::scope(|scope| {
        let worker = |first: usize| {
            let (root, expectation) = (&root, &expectation);
            scope.spawn(move || {
                let mut refused = 0;
                for at in (first..DOCUMENT.len()).step_by(workers) {
                    for flip in [0x01, 0x80, 0xff] {
                        let mut document = DOCUMENT.to_vec();
                        document[at] ^= flip;
                        let verdict = verify(&document, root, expectation);
                        assert!(verdict.is_err(), "byte {at} with {flip:#04x}");
                        refused += 1;
                    }
                }
                refused
            })
        };
        let workers: Vec<_> = (0..workers).map(worker).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum::<usize>()
    });
    assert_eq!(refused, 3 * DOCUMENT.len());
}

#[test]
fn it_is_refused_shorter_and_longer() {
    let (root, expectation) = (Root::aws_g1(), at_its_time());
    for length in 0..DOCUMENT.len() {
        let verdict = verify(&DOCUMENT[..length], &root, &expectation);
        assert_eq!(verdict, Err(Refused::MalformedEnvelope), "the first {length} bytes");
    }
    for more in [&[0][..], &[0xf6], &[0xff], DOCUMENT] {
        let longer = [DOCUMENT, more].concat();
        assert_eq!(verify(&longer, &root, &expectation), Err(Refused::MalformedEnvelope));
    }
    let largest = [DOCUMENT, &vec![0; MAX_DOCUMENT_BYTES - DOCUMENT.len()]].concat();
    assert_eq!(verify(&largest, &root, &expectation), Err(Refused::MalformedEnvelope));
    assert_eq!(verify(&[&largest[..], &[0]].concat(), &root, &expectation), Err(Refused::TooLarge));
}

/// The payload's length is in the envelope; here it fits, so that the payload's own end is what is missing.
#[test]
fn its_payload_is_refused_shorter_and_longer() {
    let (head, rest) = DOCUMENT.split_at(7);
    assert_eq!(head, b"\x84\x44\xa1\x01\x38\x22\xa0");
    let (payload, signature) = rest[3..].split_at(rest.len() - 3 - 98);
    let document = |payload: &[u8]| {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [head, &[0x59], &length, payload, signature].concat()
    };
    assert_eq!(document(payload), DOCUMENT);
    for length in 256..payload.len() {
        let error = Document::parse(&document(&payload[..length])).unwrap_err();
        assert_eq!(error, Refused::MalformedPayload, "the first {length} bytes");
    }
    for more in [&[0][..], &[0xf6], &[0xff]] {
        let error = Document::parse(&document(&[payload, more].concat())).unwrap_err();
        assert_eq!(error, Refused::MalformedPayload);
    }
    let other_digest = String::from_utf8_lossy(payload).find("SHA384").unwrap();
    let mut changed = payload.to_vec();
    changed[other_digest + 3] = b'5';
    assert_eq!(Document::parse(&document(&changed)), Err(Refused::InvalidField(Field::Digest)));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
