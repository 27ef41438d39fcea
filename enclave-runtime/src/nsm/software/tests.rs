use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use attestation::{Expectation, Root};
use aws_nitro_enclaves_nsm_api::api::AttestationDoc;
use serde_cbor::Value;

use super::{PCR_BYTES, Pcrs, SoftwareNsm, sign1};
use crate::nsm::{AttestationRequest, Nsm as _, NsmUnavailable, Pcr};

fn payload(document: &[u8]) -> BTreeMap<Value, Value> {
    let Ok(Value::Array(parts)) = serde_cbor::from_slice(document) else { panic!("no array") };
    let [_, _, Value::Bytes(payload), _] = parts.as_slice() else { panic!("no COSE_Sign1") };
    serde_cbor::from_slice(payload).unwrap()
}

fn field(document: &[u8], name: &str) -> Value {
    payload(document)[&Value::Text(name.to_owned())].clone()
}

/// A document of Nitro's.
const NITROS: &[u8] = include_bytes!("../../../../infra/attestation/tests/data/attestation-doc-2022.cose");

#[test]
fn documents_are_spelled_like_nitros() {
    let Ok(Value::Array(parts)) = serde_cbor::from_slice(NITROS) else { panic!("no array") };
    let [_, _, Value::Bytes(payload), Value::Bytes(signature)] = parts.as_slice() else {
        panic!("no COSE_Sign1")
    };
    // The document that is filled in and written is Nitro's, byte for byte.
    assert_eq!(&AttestationDoc::from_binary(payload).unwrap().to_binary(), payload);
    assert_eq!(sign1(payload.clone(), signature).unwrap(), NITROS);
}

#[test]
fn the_leaf_is_replaced_before_it_expires() {
    let nsm = SoftwareNsm::ephemeral().unwrap();
    let root = Root::from_pem(nsm.root_pem()).unwrap();
    let start = SystemTime::now();
    let leaf = |after_min: u64| {
        let now = start + Duration::from_mins(after_min);
        let document = nsm.attest_at(&AttestationRequest::default(), now).unwrap();
        // Accepted when it is made, and for fifteen minutes more.
        for later_min in [0, 14] {
            let then = now + Duration::from_mins(later_min);
            let then_unix_ms = then.duration_since(UNIX_EPOCH).unwrap().as_millis();
            let max_age = Duration::from_mins(15);
            let expectation = Expectation { max_age, ..Expectation::at(then_unix_ms.try_into().unwrap()) };
            attestation::verify(&document, &root, &expectation).unwrap();
        }
        field(&document, "certificate")
    };
    let first = leaf(1);
    assert_eq!(leaf(164), first);
    let second = leaf(166);
    assert_ne!(second, first);
    assert_eq!(leaf(300), second);
    // The authorities are replaced with it: none outlives its time.
    assert_ne!(leaf(60 * 24 * 30), second);
    // The clock was set back.
    assert_ne!(leaf(10), second);
}

#[test]
fn registers_are_as_told() {
    let pcrs = Pcrs { pcr0: [1; PCR_BYTES], pcr1: [2; PCR_BYTES], pcr2: [3; PCR_BYTES] };
    let nsm = SoftwareNsm::ephemeral().unwrap().measuring(pcrs);
    let Value::Map(documented) = field(&nsm.attest(&AttestationRequest::default()).unwrap(), "pcrs") else {
        panic!("no map")
    };
    assert_eq!(documented.len(), 16);
    for (index, byte) in [(0, 1), (1, 2), (2, 3), (3, 0), (4, 0), (15, 0)] {
        let value = vec![byte; PCR_BYTES];
        assert_eq!(documented[&Value::Integer(index.into())], Value::Bytes(value.clone()), "{index}");
        assert_eq!(nsm.describe_pcr(index), Ok(Pcr { locked: true, value }), "{index}");
    }
    for index in [16, 31] {
        assert_eq!(nsm.describe_pcr(index), Ok(Pcr { locked: false, value: vec![0; PCR_BYTES] }));
    }
    assert_eq!(nsm.describe_pcr(32), Err(NsmUnavailable::Refused("InvalidIndex")));
}

/// `printf 'nitro-signer software NSM PCR0' | sha384sum`
#[test]
fn default_registers_are_known_to_verifiers() {
    assert_eq!(hex::encode(Pcrs::default().pcr0), PCR0);
    assert_ne!(Pcrs::default().pcr1, Pcrs::default().pcr2);
}

const PCR0: &str =
    "78b3eee79dcd7b53fab6bdff5cbc8f9ee0ea4ef98061d2947f0c9e797e322ded7926fa462883cbd0d93652daf3936ee0";

#[test]
fn randomness_is_fresh() {
    let nsm = SoftwareNsm::ephemeral().unwrap();
    let (first, second) = (nsm.random().unwrap(), nsm.random().unwrap());
    assert_eq!(first.len(), 256);
    assert_ne!(first, second);
}

#[test]
fn a_request_over_the_limits_is_refused() {
    let nsm = SoftwareNsm::ephemeral().unwrap();
    let request = AttestationRequest { nonce: Some(&[0; 513]), ..Default::default() };
    assert_eq!(nsm.attest(&request), Err(NsmUnavailable::InvalidField("nonce")));
}

#[test]
fn what_is_printed_shows_no_key() {
    assert_eq!(format!("{:?}", SoftwareNsm::ephemeral().unwrap()), "SoftwareNsm { .. }");
}
