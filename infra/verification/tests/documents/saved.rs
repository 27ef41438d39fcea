//! Documents that were kept.

use base64ct::{Base64, Encoding as _};
use verification::{
    Doubt, Expectation, KeyProof, MAX_SAVED_BYTES, Origin, Refused, Root, authenticate_at_its_time,
    document_in, read_unverified, verify_saved_key,
};

use crate::chain::NOW_UNIX_S;
use crate::keys::about;
use crate::{CHAIN, cbor, document, expectation, good, registers, reply};

const REAL: &[u8] = include_bytes!("../../../attestation/tests/data/attestation-doc-2022.cose");

#[test]
fn a_document_is_found_in_each_form() {
    let base64 = Base64::encode_string(REAL);
    let lines: Vec<_> = base64.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let tagged = [&[0xd2], REAL].concat();
    for form in [REAL, &reply(REAL), base64.as_bytes(), format!("{}\r\n", lines.join("\r\n")).as_bytes()] {
        assert_eq!(document_in(form).as_deref(), Ok(REAL));
    }
    assert_eq!(document_in(&tagged), Ok(tagged));
    for (form, doubt) in [
        (&b""[..], Err(Doubt::NotBase64)),
        (b"\xff\xfe", Err(Doubt::NotBase64)),
        (b"{}", Err(Doubt::NotJson)),
        (b"hEQ", Err(Doubt::NotBase64)),
        (&[0x84; MAX_SAVED_BYTES + 1], Err(Doubt::TooLong)),
        (&[0x84; 20_000], Err(Doubt::TooLong)),
    ] {
        assert_eq!(document_in(form).map(|document| document.len()), doubt);
    }
}

#[test]
fn the_real_document_is_authentic_at_its_time_and_under_its_root() {
    let real = authenticate_at_its_time(REAL, &Root::aws_g1()).unwrap();
    assert_eq!(real.module_id, "i-07e25f3bada361dec-enc0181d3dff86da785");
    // Of 2026, so that it vouches for nothing of 2022.
    assert_eq!(authenticate_at_its_time(REAL, &CHAIN.root()), Err(Doubt::Refused(Refused::RootNotValid)));
    let ours = document(&good());
    assert_eq!(authenticate_at_its_time(&ours, &Root::aws_g1()), Err(Doubt::Refused(Refused::OtherRoot)));
    let mut bent = REAL.to_vec();
    bent[REAL.len() - 1] ^= 1;
    assert_eq!(authenticate_at_its_time(&bent, &Root::aws_g1()), Err(Doubt::Refused(Refused::BadSignature)));
}

/// As QEMU's `virtio-nsm` writes it: `{1: -1}` for the algorithm, and 64 zeros for signature and certificate.
#[test]
fn an_emulators_document_is_called_that_and_can_be_read() {
    let payload = good().with("certificate", cbor::bytes(&[0; 64])).payload();
    let unsigned = [b"\x84\x43\xa1\x01\x20\xa0", &*cbor::bytes(&payload), &cbor::bytes(&[0; 64])].concat();
    assert_eq!(authenticate_at_its_time(&unsigned, &CHAIN.root()), Err(Doubt::Unsigned));
    let document = read_unverified(&unsigned).unwrap();
    assert_eq!((&*document.module_id, document.timestamp_unix_ms), ("i-0-enc0", NOW_UNIX_S * 1000));
    for length in 0..unsigned.len() - 66 {
        assert!(read_unverified(&unsigned[..length]).is_err(), "{length}");
    }
}

#[test]
fn a_saved_proof_convinces_of_one_key_of_one_image() {
    let proof =
        KeyProof { identity: [0x22; 16], public_key: format!("03{}", "5c".repeat(32)).parse().unwrap() };
    // Of whatever time, and for whatever connection and nonce.
    let old = about(Origin::Generated).with("timestamp", cbor::uint((NOW_UNIX_S + 3600) * 1000));
    let saved = document(&old);
    assert_eq!(verify_saved_key(&saved, &proof, &expectation()), Ok(Origin::Generated));
    let doubt = |document: &[u8], proof: &KeyProof, expectation: &Expectation| {
        verify_saved_key(document, proof, expectation).unwrap_err()
    };
    let of_another = KeyProof { identity: [0; 16], ..proof };
    assert_eq!(doubt(&saved, &of_another, &expectation()), Doubt::NotOfThisKey);
    let other_image = Expectation::one_of(vec![registers(&[(1, 9)])]).unwrap().with_root(CHAIN.root());
    assert_eq!(doubt(&saved, &proof, &other_image), Doubt::OtherImage(1));
    let debug = old.clone().with("pcrs", cbor::map(&[(cbor::uint(0), cbor::bytes(&[0; 48]))]));
    assert_eq!(doubt(&document(&debug), &proof, &expectation()), Doubt::Refused(Refused::DebugMode));
    // After its leaf ended.
    let late = old.with("timestamp", cbor::uint((NOW_UNIX_S + 4 * 3600) * 1000));
    assert_eq!(
        doubt(&document(&late), &proof, &expectation()),
        Doubt::Refused(Refused::CertificateJustExpired)
    );
}
