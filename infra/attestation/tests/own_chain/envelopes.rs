//! `COSE_Sign1` around a good payload.

use attestation::{Document, Expectation, Refused, verify};

use crate::cbor;
use crate::chain::{Chain, NOW_UNIX_S};
use crate::draft::Draft;

const PROTECTED: [u8; 4] = [0xa1, 0x01, 0x38, 0x22];

#[test]
fn a_tag_may_be_there_and_nothing_else() {
    let chain = Chain::good();
    let document = chain.document(&Draft::good(&chain).payload());
    let verdict = |document: &[u8]| verify(document, &chain.root(), &Expectation::at(NOW_UNIX_S * 1000));
    assert!(verdict(&document).is_ok());
    assert_eq!(verdict(&[&[0xd2], &*document].concat()), verdict(&document));

    let malformed: [(&str, Vec<u8>); 7] = [
        ("the tag twice", [&[0xd2, 0xd2], &*document].concat()),
        ("the tag, spelled longer", [&[0xd8, 18], &*document].concat()),
        ("another tag", [&[0xd1], &*document].concat()),
        ("the tag of a web token before it", [&[0xd8, 61, 0xd2], &*document].concat()),
        ("an array of indefinite length", [&[0x9f], &document[1..], &[0xff]].concat()),
        ("an array of five", [&[0x85], &document[1..], &[0xf6]].concat()),
        ("the array's length, spelled longer", [&[0x98, 4], &document[1..]].concat()),
    ];
    for (what, document) in malformed {
        assert_eq!(verdict(&document), Err(Refused::MalformedEnvelope), "{what}");
    }
}

#[test]
fn headers_are_those_of_es384_to_the_byte() {
    let chain = Chain::good();
    let payload = Draft::good(&chain).payload();
    let good = chain.document(&payload);
    let rest = &good[7..];
    let verdict = |headers: &[u8]| {
        let document = [&[0x84], headers, rest].concat();
        verify(&document, &chain.root(), &Expectation::at(NOW_UNIX_S * 1000))
    };
    assert!(verdict(b"\x44\xa1\x01\x38\x22\xa0").is_ok());
    for (what, headers) in [
        ("QEMU's", &b"\x43\xa1\x01\x20\xa0"[..]),
        ("ES256", b"\x43\xa1\x01\x26\xa0"),
        ("ES512", b"\x44\xa1\x01\x38\x23\xa0"),
        ("none", b"\x40\xa0"),
        ("an empty map", b"\x41\xa0\xa0"),
        ("ES384, spelled longer", b"\x45\xa1\x01\x39\x00\x22\xa0"),
        ("ES384 and a key's name", b"\x46\xa2\x01\x38\x22\x04\x40\xa0"),
    ] {
        assert_eq!(verdict(headers), Err(Refused::WrongAlgorithm), "{what}");
    }
    for (what, headers) in [
        ("the unprotected header has something", &b"\x44\xa1\x01\x38\x22\xa1\x01\x38\x22"[..]),
        ("the unprotected header is of indefinite length", b"\x44\xa1\x01\x38\x22\xbf\xff"),
        ("the unprotected header is null", b"\x44\xa1\x01\x38\x22\xf6"),
        ("the algorithm is only in the unprotected header", b"\xa0\xa1\x01\x38\x22"),
        ("the protected header is in pieces", b"\x5f\x44\xa1\x01\x38\x22\xff\xa0"),
        ("the protected header's length is spelled longer", b"\x58\x04\xa1\x01\x38\x22\xa0"),
    ] {
        assert_eq!(verdict(headers), Err(Refused::MalformedEnvelope), "{what}");
    }
}

/// As QEMU's `nitro-enclave` machine makes them: 64 zeros for a signature and for each certificate.
#[test]
fn a_document_that_nobody_signed_is_refused() {
    let chain = Chain::good();
    let zeros = cbor::bytes(&[0; 64]);
    let payload = Draft::good(&chain)
        .with("certificate", zeros.clone())
        .with("cabundle", cbor::array(std::slice::from_ref(&zeros)))
        .payload();
    let of_qemu = [&b"\x84\x43\xa1\x01\x20\xa0"[..], &cbor::bytes(&payload), &zeros].concat();
    let verdict = |document: &[u8]| verify(document, &chain.root(), &Expectation::at(NOW_UNIX_S * 1000));
    assert_eq!(verdict(&of_qemu), Err(Refused::WrongAlgorithm));
    assert_eq!(Document::parse(&of_qemu), Err(Refused::WrongAlgorithm));
    // The same with the header of ES384, and a signature of the right length.
    assert_eq!(verdict(&chain.document(&payload)), Err(Refused::MalformedCertificate));
}

#[test]
fn the_signature_is_of_this_payload_by_this_key() {
    let chain = Chain::good();
    let payload = Draft::good(&chain).payload();
    let document = chain.document(&payload);
    let (signed, signature) = document.split_at(document.len() - 96);
    let verdict = |document: &[u8]| verify(document, &chain.root(), &Expectation::at(NOW_UNIX_S * 1000));

    let of_another_key = Chain::good().document(&payload);
    assert_eq!(verdict(&of_another_key), Err(Refused::BadSignature));
    let other = chain.document(&Draft::good(&chain).with("user_data", cbor::bytes(b"other")).payload());
    let moved = [signed, &other[other.len() - 96..]].concat();
    assert_eq!(verdict(&moved), Err(Refused::BadSignature));
    let swapped = [signed, &signature[48..], &signature[..48]].concat();
    assert_eq!(verdict(&swapped), Err(Refused::BadSignature));
    assert_eq!(verdict(&[signed, &[0; 96]].concat()), Err(Refused::BadSignature));

    let head = &signed[..signed.len() - 2];
    for (what, signature) in [
        ("shorter", cbor::bytes(&signature[..95])),
        ("longer", cbor::bytes(&[signature, &[0]].concat())),
        ("none", cbor::bytes(&[])),
        ("null", cbor::NULL.to_vec()),
        ("a text", [&[0x78, 96], signature].concat()),
        ("its length spelled longer", [&[0x59, 0, 96], signature].concat()),
        ("in pieces", [&[0x5f, 0x58, 96], signature, &[0xff]].concat()),
    ] {
        assert_eq!(verdict(&[head, &*signature].concat()), Err(Refused::MalformedEnvelope), "{what}");
    }
}

#[test]
fn the_payload_is_a_byte_string() {
    let chain = Chain::good();
    let payload = Draft::good(&chain).payload();
    let good = chain.document(&payload);
    let signature = &good[good.len() - 98..];
    let verdict = |payload: &[u8]| {
        let document = [&[0x84][..], &cbor::bytes(&PROTECTED), &[0xa0], payload, signature].concat();
        verify(&document, &chain.root(), &Expectation::at(NOW_UNIX_S * 1000))
    };
    assert!(verdict(&cbor::bytes(&payload)).is_ok());
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    for (what, payload) in [
        ("the map itself", payload.clone()),
        ("null", cbor::NULL.to_vec()),
        ("its length spelled longer", [&[0x5a, 0, 0], &length[..], &payload].concat()),
        ("in pieces", [&[0x5f], &*cbor::bytes(&payload), &[0xff]].concat()),
        ("tagged", [&[0xd8, 24], &*cbor::bytes(&payload)].concat()),
        ("longer than the document", [&[0x59, 0xff, 0xff], &*payload].concat()),
    ] {
        assert_eq!(verdict(&payload), Err(Refused::MalformedEnvelope), "{what}");
    }
    assert_eq!(verdict(&cbor::bytes(&[])), Err(Refused::MalformedPayload));
}

/// The order of P-384's group.
const ORDER: [u8; 48] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf, 0x58, 0x1a,
    0x0d, 0xb2, 0x48, 0xb0, 0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
];

/// A fact of ECDSA, and why a document is not what to remember it by.
#[test]
fn a_signature_has_a_twin() {
    let chain = Chain::good();
    let document = chain.document(&Draft::good(&chain).payload());
    let verdict = |document: &[u8]| verify(document, &chain.root(), &Expectation::at(NOW_UNIX_S * 1000));
    let (rest, s) = document.split_at(document.len() - 48);
    let mut twin = ORDER;
    let mut borrow = false;
    for (digit, subtracted) in twin.iter_mut().zip(s).rev() {
        let (difference, first) = digit.overflowing_sub(*subtracted);
        let (difference, second) = difference.overflowing_sub(u8::from(borrow));
        (*digit, borrow) = (difference, first || second);
    }
    let twin = [rest, &twin].concat();
    assert_ne!(twin, document);
    assert!(verdict(&twin).is_ok());
    assert_eq!(verdict(&twin), verdict(&document));
}
