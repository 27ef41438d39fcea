use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256};

use super::{MalformedSignature, NotSigned, SigningKey, examine, verify};
use crate::eif::Pcr;

const NOW_UNIX_S: i64 = 1_790_000_000;

fn pem(algorithm: &'static rcgen::SignatureAlgorithm) -> (String, String) {
    let key = KeyPair::generate_for(algorithm).unwrap();
    (CertificateParams::default().self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn signing_key(certificate: &str, key: &str) -> Result<SigningKey, NotSigned> {
    SigningKey::from_pem(certificate.as_bytes(), key.as_bytes(), NOW_UNIX_S)
}

#[test]
fn a_signature_is_good_for_its_image_only() {
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384] {
        let (certificate, key) = pem(algorithm);
        let key = signing_key(&certificate, &key).unwrap();
        let section = key.section(&Pcr::of(&[b"image"])).unwrap();
        assert_eq!(verify(&section, &Pcr::of(&[b"image"])), Ok(true));
        assert_eq!(verify(&section, &Pcr::of(&[b"another image"])), Ok(false));
        assert_eq!(examine(&section).unwrap().der, key.certificate());
        // A certificate that is bent and still has the same key is another signer: PCR8 tells.
        let name = b"isignature";
        let after_certificate = section.windows(name.len()).position(|window| window == name).unwrap();
        for index in 0..section.len() {
            verify(&section[..index], &Pcr::of(&[b"image"])).unwrap_err();
            let mut bent = section.clone();
            bent[index] ^= 1;
            let outcome = verify(&bent, &Pcr::of(&[b"image"]));
            assert!(index < after_certificate || outcome != Ok(true), "byte {index}");
        }
    }
}

#[test]
fn only_a_pair_of_certificate_and_key_signs() {
    let (certificate, key) = pem(&PKCS_ECDSA_P384_SHA384);
    let (_, other_key) = pem(&PKCS_ECDSA_P384_SHA384);
    let (_, other_curve) = pem(&PKCS_ECDSA_P256_SHA256);
    let (_, rsa) = pem(&PKCS_RSA_SHA256);
    let refused = |certificate: &str, key: &str| signing_key(certificate, key).unwrap_err();
    assert_eq!(refused(&certificate, &other_key), NotSigned::Mismatch);
    assert_eq!(refused(&certificate, &other_curve), NotSigned::Mismatch);
    assert_eq!(refused(&certificate, &rsa), NotSigned::PrivateKey);
    assert_eq!(refused(&certificate, &certificate), NotSigned::PrivateKey);
    assert_eq!(refused(&certificate, ""), NotSigned::PrivateKey);
    assert_eq!(refused(&key, &key), NotSigned::Certificate);
    assert_eq!(refused("", &key), NotSigned::Certificate);
    // The content of the file would be in the image.
    for both in
        [format!("{key}{certificate}"), format!("{certificate}{key}"), format!("{certificate}{certificate}")]
    {
        assert_eq!(refused(&both, &key), NotSigned::Certificate);
    }
    assert_eq!(refused(&format!("subject=x\n{certificate}"), &key), NotSigned::Certificate);
    let later = SigningKey::from_pem(certificate.as_bytes(), key.as_bytes(), i64::MAX);
    assert_eq!(later.unwrap_err(), NotSigned::Expired);
    let earlier = SigningKey::from_pem(certificate.as_bytes(), key.as_bytes(), -1_000_000_000);
    assert_eq!(earlier.unwrap_err(), NotSigned::Expired);
}

#[test]
fn no_private_key_is_printed() {
    let (certificate, key) = pem(&PKCS_ECDSA_P384_SHA384);
    assert_eq!(format!("{:?}", signing_key(&certificate, &key).unwrap()), "SigningKey { .. }");
}

#[test]
fn a_section_is_a_list_of_pairs() {
    for section in [&b""[..], b"\x80", b"\xa0", b"\x81\xa0", b"\x9f"] {
        assert_eq!(verify(section, &Pcr::of(&[])), Err(MalformedSignature));
        assert_eq!(examine(section).unwrap_err(), MalformedSignature);
    }
}
