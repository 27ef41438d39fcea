//! Documents of the software NSM, as those read them who know nothing of it.

#![cfg(feature = "dev")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::UNIX_EPOCH;

use attestation::{Expectation, Refused, Root, verify};
use enclave_runtime::{AttestationRequest, Nsm as _, Pcrs, SoftwareNsm};

fn now_unix_ms() -> u64 {
    u64::try_from(UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}

const FULL: AttestationRequest<'_> =
    AttestationRequest { public_key: Some(&[1; 294]), user_data: Some(&[2; 32]), nonce: Some(&[3; 512]) };

/// The operator's command makes these checks.
#[test]
fn verifiers_accept_a_document() {
    let directory = tempfile::tempdir().unwrap();
    let nsm = SoftwareNsm::with_root(directory.path()).unwrap();
    let root = Root::from_pem(&fs::read_to_string(directory.path().join("root.pem")).unwrap()).unwrap();
    let pcrs = || vec![(0, Pcrs::default().pcr0.to_vec()), (15, vec![0; 48])];
    let expectation = Expectation { nonce: FULL.nonce, pcrs: pcrs(), ..Expectation::at(now_unix_ms()) };
    let full = nsm.attest(&FULL).unwrap();
    let document = verify(&full, &root, &expectation).unwrap();
    assert_eq!(document.public_key.as_deref(), FULL.public_key);
    assert_eq!(document.user_data.as_deref(), FULL.user_data);
    assert_eq!(document.nonce.as_deref(), FULL.nonce);

    let empty = nsm.attest(&AttestationRequest::default()).unwrap();
    assert_eq!(verify(&empty, &root, &expectation), Err(Refused::WrongNonce));
    let document = verify(&empty, &root, &Expectation::at(now_unix_ms())).unwrap();
    assert_eq!((document.public_key, document.user_data, document.nonce), (None, None, None));

    // After a restart the root is the same. Another image is told, and debug mode.
    let measured = Pcrs { pcr0: [7; 48], ..Pcrs::default() };
    let other_image = SoftwareNsm::with_root(directory.path()).unwrap().measuring(measured);
    let document = other_image.attest(&FULL).unwrap();
    assert_eq!(verify(&document, &root, &expectation), Err(Refused::PcrMismatch(0)));
    let debug = other_image.measuring(Pcrs { pcr0: [0; 48], ..Pcrs::default() }).attest(&FULL).unwrap();
    assert_eq!(verify(&debug, &root, &Expectation::at(now_unix_ms())), Err(Refused::DebugMode));

    // A verifier that trusts AWS, or another root of the same name, trusts none of these.
    let other = SoftwareNsm::ephemeral().unwrap();
    for root in [Root::aws_g1(), Root::from_pem(other.root_pem()).unwrap()] {
        verify(&full, &root, &expectation).unwrap_err();
    }
}

/// Python takes the document apart by hand; OpenSSL checks the certificates and the signature.
#[test]
fn openssl_accepts_a_document() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let nsm = SoftwareNsm::with_root(path).unwrap();
    assert_eq!(nsm.root_pem(), fs::read_to_string(path.join("root.pem")).unwrap());
    let not_before_ms = now_unix_ms().to_string();
    let complaint = |document: &[u8], lengths: [&str; 3]| {
        fs::write(path.join("document.cose"), document).unwrap();
        complaint(path, &not_before_ms, lengths)
    };
    for (request, lengths) in [(FULL, ["294", "32", "512"]), (AttestationRequest::default(), ["null"; 3])] {
        let document = nsm.attest(&request).unwrap();
        assert_eq!(complaint(&document, lengths), None);

        // The script sees a bit that is wrong: in a register, or in the signature.
        let zero_register = document.windows(48).position(|bytes| bytes == [0; 48]).unwrap();
        for bent_byte in [zero_register, document.len() - 1] {
            let mut bent = document.clone();
            bent[bent_byte] ^= 1;
            let complaint = complaint(&bent, lengths).unwrap();
            assert!(complaint.contains("openssl dgst: Verification failure"), "{complaint}");
        }
    }
    let document = SoftwareNsm::ephemeral().unwrap().attest(&AttestationRequest::default()).unwrap();
    let complaint = complaint(&document, ["null"; 3]).unwrap();
    assert!(complaint.contains("another root"), "{complaint}");
}

fn complaint(directory: &Path, not_before_ms: &str, lengths: [&str; 3]) -> Option<String> {
    let output = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/software_nsm/verify.py"))
        .arg(directory)
        .arg(not_before_ms)
        .args(lengths)
        .output()
        .unwrap();
    (!output.status.success()).then(|| String::from_utf8(output.stderr).unwrap())
}
