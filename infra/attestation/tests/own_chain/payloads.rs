//! The signed map.

use attestation::{Field, Refused};

use crate::cbor;
use crate::chain::{Chain, NOW_UNIX_S};
use crate::draft::{Draft, NONCE, pcrs};
use crate::verdict;

const NAMES: [(&str, Field); 9] = [
    ("module_id", Field::ModuleId),
    ("digest", Field::Digest),
    ("timestamp", Field::Timestamp),
    ("pcrs", Field::Pcrs),
    ("certificate", Field::Certificate),
    ("cabundle", Field::Cabundle),
    ("public_key", Field::PublicKey),
    ("user_data", Field::UserData),
    ("nonce", Field::Nonce),
];

const OPTIONAL: [&str; 3] = ["public_key", "user_data", "nonce"];

#[test]
fn a_good_document_says_what_was_written() {
    let chain = Chain::good();
    let document = verdict(&chain, &Draft::good(&chain)).unwrap();
    assert_eq!(document.module_id, "i-0-enc0");
    assert_eq!(document.timestamp_unix_ms, NOW_UNIX_S * 1000);
    let registers: Vec<_> = [0, 1, 2, 16].map(|index| (index, vec![index + 1; 48])).to_vec();
    assert_eq!(
        document.pcrs.iter().map(|(index, value)| (index, value.to_vec())).collect::<Vec<_>>(),
        registers
    );
    assert_eq!(document.pcrs.iter().len(), 4);
    assert_eq!(document.certificate, chain.leaf());
    assert_eq!(document.cabundle, chain.cabundle());
    assert_eq!(document.public_key.as_deref(), Some(b"key".as_slice()));
    assert_eq!(document.user_data, None);
    assert_eq!(document.nonce.as_deref(), Some(NONCE));
}

#[test]
fn keys_may_come_in_any_order() {
    let chain = Chain::good();
    let draft = Draft::good(&chain);
    let document = verdict(&chain, &draft).unwrap();
    for first in 0..draft.0.len() {
        let mut turned = draft.clone();
        turned.0.rotate_left(first);
        assert_eq!(verdict(&chain, &turned), Ok(document.clone()));
        turned.0.reverse();
        assert_eq!(verdict(&chain, &turned), Ok(document.clone()));
    }
}

#[test]
fn only_what_is_optional_may_be_absent_or_null() {
    let chain = Chain::good();
    let good = Draft::good(&chain);
    for (name, field) in NAMES {
        let absent = verdict(&chain, &good.clone().without(name));
        let null = verdict(&chain, &good.clone().with(name, cbor::NULL));
        if OPTIONAL.contains(&name) {
            assert!(absent.is_ok(), "{name}: {absent:?}");
            assert_eq!(null, absent, "{name}");
        } else {
            assert_eq!(absent, Err(Refused::MissingField(field)));
            assert_eq!(null, Err(Refused::InvalidField(field)));
        }
        let undefined = verdict(&chain, &good.clone().with(name, [0xf7]));
        assert_eq!(undefined, Err(Refused::InvalidField(field)));
    }
    let none = OPTIONAL.into_iter().fold(good, Draft::without);
    let document = verdict(&chain, &none).unwrap();
    assert_eq!((document.public_key, document.user_data, document.nonce), (None, None, None));
}

#[test]
fn a_key_is_known_and_comes_once() {
    let chain = Chain::good();
    let good = Draft::good(&chain);
    for (name, field) in NAMES {
        let again = good.clone().and(cbor::text(name), good.value(name));
        assert_eq!(verdict(&chain, &again), Err(Refused::DuplicateField(field)));
    }
    let null_first = good.clone().with("nonce", cbor::NULL).and(cbor::text("nonce"), cbor::bytes(NONCE));
    assert_eq!(verdict(&chain, &null_first), Err(Refused::DuplicateField(Field::Nonce)));
    for name in ["other", "", "Nonce", "nonce ", "noncé", "pcr"] {
        let unknown = good.clone().and(cbor::text(name), cbor::NULL);
        assert_eq!(verdict(&chain, &unknown), Err(Refused::UnknownField), "{name}");
    }
    // serde would take a field's number, or its name in bytes, for its name.
    for key in [cbor::uint(8), cbor::bytes(b"nonce"), cbor::NULL.to_vec(), cbor::array(&[])] {
        let nameless = good.clone().without("nonce").and(key, cbor::bytes(NONCE));
        assert_eq!(verdict(&chain, &nameless), Err(Refused::MalformedPayload));
    }
}

#[test]
fn a_field_has_its_type() {
    let chain = Chain::good();
    let good = Draft::good(&chain);
    let kinds = [
        cbor::uint(1),
        vec![0x20],
        cbor::bytes(&[1; 48]),
        cbor::text("SHA384"),
        cbor::array(&[cbor::bytes(&[1])]),
        cbor::array(&[cbor::uint(1), cbor::uint(2)]),
        pcrs(&[(0, 48)]),
        vec![0xf5],
        vec![0xfb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0],
        // Reserved, and an end of nothing.
        vec![0x1c],
        vec![0xff],
    ];
    for (name, field) in NAMES {
        let fits = match field {
            Field::ModuleId | Field::Digest => 3,
            Field::Timestamp => 0,
            Field::Pcrs => 6,
            Field::Cabundle => 4,
            _ => 2,
        };
        for (kind, value) in kinds.iter().enumerate() {
            let verdict = verdict(&chain, &good.clone().with(name, value.clone()));
            let invalid = verdict == Err(Refused::InvalidField(field));
            assert_eq!(invalid, kind != fits, "{name} {value:02x?}: {verdict:?}");
        }
    }
}

#[test]
fn a_field_has_its_value() {
    let chain = Chain::good();
    let good = Draft::good(&chain);
    let root = chain.cabundle()[0].clone();
    let issuers = |count: usize, length: usize| {
        cbor::array(&vec![cbor::bytes(&root.iter().copied().cycle().take(length).collect::<Vec<_>>()); count])
    };
    let all: Vec<_> = (0..32).map(|index| (index, 48)).collect();
    let register = |index: Vec<u8>| cbor::map(&[(index, cbor::bytes(&[1; 48]))]);
    let twice = [(cbor::uint(0), cbor::bytes(&[1; 48])), (cbor::uint(0), cbor::bytes(&[1; 48]))];
    for (field, value) in [
        ("module_id", cbor::text("")),
        ("module_id", vec![0x62, 0xc3, 0x28]),
        ("digest", cbor::text("SHA256")),
        ("digest", cbor::text("SHA512")),
        ("digest", cbor::text("sha384")),
        ("timestamp", cbor::uint(0)),
        ("pcrs", cbor::map(&[])),
        ("pcrs", pcrs(&[(0, 32)])),
        ("pcrs", pcrs(&[(0, 64)])),
        ("pcrs", pcrs(&[(0, 48), (1, 47)])),
        ("pcrs", pcrs(&[(0, 48), (1, 0)])),
        ("pcrs", pcrs(&[(0, 48), (32, 48)])),
        ("pcrs", register(cbor::uint(256))),
        ("pcrs", register(cbor::uint(1 << 32))),
        ("pcrs", register(vec![0x20])),
        ("pcrs", register(cbor::text("0"))),
        ("pcrs", cbor::map(&twice)),
        ("certificate", cbor::bytes(&[])),
        ("certificate", cbor::bytes(&[0x30; 1025])),
        ("cabundle", cbor::array(&[])),
        ("cabundle", cbor::array(&[cbor::bytes(&root), cbor::bytes(&[])])),
        ("cabundle", issuers(1, 1025)),
        ("cabundle", issuers(8, root.len())),
        ("public_key", cbor::bytes(&[1; 1025])),
        ("user_data", cbor::bytes(&[1; 1025])),
        ("nonce", cbor::bytes(&[1; 1025])),
    ] {
        let (_, expected) = NAMES.into_iter().find(|(name, _)| *name == field).unwrap();
        let verdict = verdict(&chain, &good.clone().with(field, value.clone()));
        assert_eq!(verdict, Err(Refused::InvalidField(expected)), "{field} {value:02x?}");
    }
    for (field, value) in [
        ("pcrs", pcrs(&all)),
        ("public_key", cbor::bytes(&[1; 1024])),
        ("user_data", cbor::bytes(&[1; 1024])),
        ("nonce", cbor::bytes(&[1; 1024])),
        ("nonce", cbor::bytes(&[])),
    ] {
        let verdict = verdict(&chain, &good.clone().with(field, value));
        assert!(verdict.is_ok(), "{field}: {verdict:?}");
    }
    // At their limits they are read, and for the path to judge.
    let largest = good.clone().with("certificate", cbor::bytes(&[0x30; 1024]));
    assert_eq!(verdict(&chain, &largest), Err(Refused::MalformedCertificate));
    let largest = good.clone().with("cabundle", issuers(1, 1024));
    assert_eq!(verdict(&chain, &largest), Err(Refused::OtherRoot));
    let most = good.with("cabundle", issuers(7, root.len()));
    assert_eq!(verdict(&chain, &most), Err(Refused::PathIncomplete));
}

/// A payload is read to its end, and is one map.
#[test]
fn a_payload_is_one_map() {
    let chain = Chain::good();
    let good = Draft::good(&chain).payload();
    let read = |payload: &[u8]| attestation::Document::parse(&chain.document(payload));
    for (what, payload) in [
        ("something follows", [&*good, &[0]].concat()),
        ("another map follows", [&*good, &*good].concat()),
        ("an end follows", [&*good, &[0xff]].concat()),
        ("a map short of its count", [&[0xaa], &good[1..]].concat()),
        ("in a list", cbor::array(std::slice::from_ref(&good))),
        ("in bytes", cbor::bytes(&good)),
        ("null", cbor::NULL.to_vec()),
        ("a list", cbor::array(&[])),
        ("a map that does not end", [&[0xbf], &good[1..]].concat()),
        ("a count that no memory holds", [&[0xbb][..], &[0xff; 8], &good[1..]].concat()),
        ("tags without an end", vec![0xc0; 2000]),
    ] {
        assert_eq!(read(&payload), Err(Refused::MalformedPayload), "{what}");
    }
    assert_eq!(read(&cbor::map(&[])), Err(Refused::MissingField(Field::Digest)));
    let lists = good.iter().copied().chain([0x81; 300]).collect::<Vec<_>>();
    assert_eq!(read(&lists), Err(Refused::MalformedPayload), "lists in lists follow");
    let nested = Draft::good(&chain).with("cabundle", vec![0x81; 300]).payload();
    assert_eq!(read(&nested), Err(Refused::InvalidField(Field::Cabundle)), "lists in lists");
}

/// A form that CBOR allows and the module does not use has the meaning that CBOR gives it. It is signed as it stands.
#[test]
fn a_payload_may_be_spelled_otherwise() {
    let chain = Chain::good();
    let good = Draft::good(&chain);
    let document = verdict(&chain, &good).unwrap();
    let payload = good.payload();
    let indefinite = [&[0xbf], &payload[1..], &[0xff]].concat();
    assert_eq!(attestation::Document::parse(&chain.document(&indefinite)), Ok(document.clone()));
    for (field, value) in [
        ("nonce", [&[0x5f][..], &cbor::bytes(&NONCE[..4]), &cbor::bytes(&NONCE[4..]), &[0xff]].concat()),
        ("nonce", [&[0x58, 9], NONCE].concat()),
        ("nonce", [&[0xc2], &*cbor::bytes(NONCE)].concat()),
        ("digest", [&[0x7f][..], &cbor::text("SHA"), &cbor::text("384"), &[0xff]].concat()),
        ("cabundle", [&[0x9f], &good.value("cabundle")[1..], &[0xff]].concat()),
        ("pcrs", [&[0xbf], &good.value("pcrs")[1..], &[0xff]].concat()),
    ] {
        assert_eq!(verdict(&chain, &good.clone().with(field, value)), Ok(document.clone()), "{field}");
    }
    // Not null itself, so not absent.
    let tagged_null = good.with("nonce", [0xc2, 0xf6]);
    assert_eq!(verdict(&chain, &tagged_null), Err(Refused::InvalidField(Field::Nonce)));
}
