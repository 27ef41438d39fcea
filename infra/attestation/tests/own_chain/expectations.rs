//! Expectations of an authentic document.

use std::collections::BTreeSet;
use std::time::Duration;

use attestation::{Expectation, Field, Refused, verify};

use crate::cbor;
use crate::chain::{Chain, NOW_UNIX_S};
use crate::draft::{Draft, NONCE, pcrs};
use crate::verdict;

const NOW_UNIX_MS: u64 = NOW_UNIX_S * 1000;

#[test]
fn a_document_is_of_about_now() {
    let chain = Chain::good();
    let expectation = Expectation {
        max_age: Duration::from_secs(30),
        max_ahead: Duration::from_secs(5),
        ..Expectation::at(NOW_UNIX_MS)
    };
    let made = |unix_ms: u64| {
        let draft = Draft::good(&chain).with("timestamp", cbor::uint(unix_ms));
        verify(&chain.document(&draft.payload()), &chain.root(), &expectation).map(|_| ())
    };
    assert_eq!(made(NOW_UNIX_MS), Ok(()));
    assert_eq!(made(NOW_UNIX_MS - 30_000), Ok(()));
    assert_eq!(made(NOW_UNIX_MS - 30_001), Err(Refused::Stale));
    assert_eq!(made(1), Err(Refused::Stale));
    assert_eq!(made(NOW_UNIX_MS + 5000), Ok(()));
    assert_eq!(made(NOW_UNIX_MS + 5001), Err(Refused::FromTheFuture));
    assert_eq!(made(u64::MAX), Err(Refused::FromTheFuture));
}

#[test]
fn debug_mode_is_refused() {
    let chain = Chain::good();
    let zeros = |register: u64, rest: &[u8]| {
        let value = [&[0; 47], rest].concat();
        let other = 1 - register;
        let map = cbor::map(&[
            (cbor::uint(register), cbor::bytes(&value)),
            (cbor::uint(other), cbor::bytes(&[1; 48])),
        ]);
        verdict(&chain, &Draft::good(&chain).with("pcrs", map)).map(|_| ())
    };
    assert_eq!(zeros(0, &[0]), Err(Refused::DebugMode));
    assert_eq!(zeros(0, &[1]), Ok(()));
    assert_eq!(zeros(1, &[0]), Ok(()));
    let without = Draft::good(&chain).with("pcrs", pcrs(&[(1, 48), (2, 48)]));
    assert_eq!(verdict(&chain, &without), Err(Refused::PcrMissing(0)));
    // Also for one who expects it.
    let draft = Draft::good(&chain).with("pcrs", cbor::map(&[(cbor::uint(0), cbor::bytes(&[0; 48]))]));
    let expectation = Expectation { pcrs: vec![(0, vec![0; 48])], ..Expectation::at(NOW_UNIX_MS) };
    let verdict = verify(&chain.document(&draft.payload()), &chain.root(), &expectation);
    assert_eq!(verdict, Err(Refused::DebugMode));
}

#[test]
fn the_nonce_is_the_expected_one() {
    let chain = Chain::good();
    let good = Draft::good(&chain);
    let verdict = |draft: &Draft, nonce| {
        let expectation = Expectation { nonce, ..Expectation::at(NOW_UNIX_MS) };
        verify(&chain.document(&draft.payload()), &chain.root(), &expectation).map(|_| ())
    };
    assert_eq!(verdict(&good, Some(NONCE)), Ok(()));
    assert_eq!(verdict(&good, None), Ok(()));
    for other in [&b"other"[..], b"", b"challeng", b"challenge\0"] {
        assert_eq!(verdict(&good, Some(other)), Err(Refused::WrongNonce));
    }
    for absent in [good.clone().without("nonce"), good.with("nonce", cbor::NULL)] {
        assert_eq!(verdict(&absent, Some(NONCE)), Err(Refused::WrongNonce));
        // An empty nonce is one.
        assert_eq!(verdict(&absent, Some(b"")), Err(Refused::WrongNonce));
        assert_eq!(verdict(&absent, None), Ok(()));
    }
}

#[test]
fn registers_are_the_expected_ones() {
    let chain = Chain::good();
    let verdict = |pcrs| {
        let expectation = Expectation { pcrs, ..Expectation::at(NOW_UNIX_MS) };
        let document = chain.document(&Draft::good(&chain).payload());
        verify(&document, &chain.root(), &expectation).map(|_| ())
    };
    let right = |index: u8| (index, vec![index + 1; 48]);
    assert_eq!(verdict(vec![right(0), right(1), right(2), right(16)]), Ok(()));
    for index in [0, 1, 2, 16] {
        let mut last_byte = vec![index + 1; 48];
        last_byte[47] ^= 1;
        for wrong in [last_byte, vec![0; 48], vec![index + 1; 47], vec![index + 1; 49], vec![]] {
            assert_eq!(verdict(vec![right(0), (index, wrong)]), Err(Refused::PcrMismatch(index)));
        }
    }
    for index in [3, 31, 32, 255] {
        assert_eq!(verdict(vec![right(0), (index, vec![1; 48])]), Err(Refused::PcrMissing(index)));
    }
}

/// Nothing that a document says is looked at before it is authentic.
#[test]
fn authenticity_comes_first() {
    let chain = Chain::good();
    let draft = Draft::good(&chain).with("timestamp", cbor::uint(1)).with("pcrs", pcrs(&[(1, 48)]));
    let forged = Chain::good().document(&draft.payload());
    let expectation = Expectation { nonce: Some(b"other"), ..Expectation::at(NOW_UNIX_MS) };
    assert_eq!(verify(&forged, &chain.root(), &expectation), Err(Refused::BadSignature));
}

#[test]
fn each_reason_has_its_own_words() {
    let reasons = [
        Refused::TooLarge,
        Refused::MalformedEnvelope,
        Refused::WrongAlgorithm,
        Refused::MalformedPayload,
        Refused::UnknownField,
        Refused::DuplicateField(Field::Nonce),
        Refused::MissingField(Field::Nonce),
        Refused::InvalidField(Field::Nonce),
        Refused::InvalidField(Field::Pcrs),
        Refused::MalformedCertificate,
        Refused::OtherRoot,
        Refused::PathIncomplete,
        Refused::CertificateForged,
        Refused::CertificateAlgorithm,
        Refused::CertificateExpired,
        Refused::CertificateJustExpired,
        Refused::CertificateNotYetValid,
        Refused::RootNotValid,
        Refused::CaAsLeaf,
        Refused::IssuerNotCa,
        Refused::PathTooLong,
        Refused::LeafKeyUsage,
        Refused::LeafNotP384,
        Refused::BadSignature,
        Refused::Stale,
        Refused::FromTheFuture,
        Refused::DebugMode,
        Refused::WrongNonce,
        Refused::PcrMissing(4),
        Refused::PcrMismatch(4),
    ];
    let words: BTreeSet<_> = reasons.iter().map(ToString::to_string).collect();
    assert_eq!(words.len(), reasons.len());
    for words in words {
        assert_eq!(words, words.to_lowercase());
    }
    assert_eq!(Refused::PcrMismatch(4).to_string(), "pcr4 is not the expected one");
}
