//! Opened by OpenSSL, which knows nothing of how they were made.

use std::fs;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;

struct Recipient {
    folder: tempfile::TempDir,
    spki: Vec<u8>,
}

fn openssl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

impl Recipient {
    fn new(bits: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key.pem");
        let key = key.to_str().unwrap();
        openssl(&[
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            &format!("rsa_keygen_bits:{bits}"),
            "-out",
            key,
        ]);
        let spki = openssl(&["pkey", "-in", key, "-pubout", "-outform", "DER"]);
        Self { folder, spki }
    }

    fn open(&self, envelope: &[u8]) -> Vec<u8> {
        let file = |name| self.folder.path().join(name).to_str().unwrap().to_owned();
        fs::write(file("envelope"), envelope).unwrap();
        openssl(&[
            "cms",
            "-decrypt",
            "-inform",
            "DER",
            "-binary",
            "-in",
            &file("envelope"),
            "-inkey",
            &file("key.pem"),
        ])
    }
}

fn shape(json: &str) -> EnvelopeShape {
    serde_json::from_str(json).unwrap()
}

#[test]
fn openssl_opens_both_forms_of_any_length() {
    let recipient = Recipient::new(2048);
    let key = RecipientKey::from_spki(&recipient.spki).unwrap();
    for shape in [
        EnvelopeShape::default(),
        shape(r#"{"content":"constructed","chunk_bytes":1}"#),
        shape(r#"{"content":"constructed","chunk_bytes":100}"#),
        shape(r#"{"content":"primitive"}"#),
    ] {
        for length in [1, 15, 16, 32, 256, 4096] {
            let plaintext = vec![0x5a; length];
            assert_eq!(recipient.open(&key.seal(&plaintext, shape)), plaintext, "{shape:?} {length}");
        }
    }
}

/// The structure in the order of its tags, as `openssl asn1parse` prints it: depth, whether constructed, tag.
fn structure(envelope: &[u8]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("envelope");
    fs::write(&file, envelope).unwrap();
    let printed = openssl(&["asn1parse", "-inform", "DER", "-in", file.to_str().unwrap()]);
    let lines = String::from_utf8(printed).unwrap();
    let shorten = |line: &str| {
        let (_, line) = line.split_once(':').unwrap();
        let (head, rest) = line.split_once(": ").unwrap();
        let depth = head.split("hl=").next().unwrap().trim().to_owned();
        let definite = !head.contains("l=inf");
        // Values that are random, or as long as the content, are left out.
        let name = rest.split("[HEX DUMP]").next().unwrap().trim().to_owned();
        format!("{depth} {} {name}", if definite { "definite" } else { "indefinite" })
    };
    lines.lines().map(shorten).collect()
}

/// The test vector of Enclaver, captured from KMS, with the key of its recipient: its content is one chunk.
fn captured() -> (Vec<u8>, Recipient) {
    let read = |text: &str| STANDARD.decode(text.trim()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name| folder.path().join(name).to_str().unwrap().to_owned();
    let (der, pem) = (file("key.der"), file("key.pem"));
    fs::write(&der, read(include_str!("../../tests/data/kms-recipient-key.pkcs8.b64"))).unwrap();
    openssl(&["pkey", "-inform", "DER", "-in", &der, "-out", &pem]);
    let spki = openssl(&["pkey", "-in", &pem, "-pubout", "-outform", "DER"]);
    (read(include_str!("../../tests/data/kms-ciphertext-for-recipient.b64")), Recipient { folder, spki })
}

#[test]
fn an_envelope_is_as_one_from_kms_but_for_what_is_random() {
    let (captured, recipient) = captured();
    assert_eq!(recipient.open(&captured), b"Hello, World");
    let key = RecipientKey::from_spki(&recipient.spki).unwrap();
    let ours = key.seal(b"Hello, World", EnvelopeShape::default());
    assert_eq!(structure(&ours), structure(&captured));
    assert_eq!(ours.len(), captured.len());
    // Up to the wrapped key, everything is the same, the identifier of the recipient's key included.
    let wrapped_key_at = 131;
    assert_eq!(ours[..wrapped_key_at], captured[..wrapped_key_at]);
    assert_ne!(ours[wrapped_key_at..], captured[wrapped_key_at..]);
}

#[test]
fn only_rsa_keys_of_2048_bits_are_taken() {
    assert_eq!(RecipientKey::from_spki(&[]).unwrap_err(), InvalidRecipientKey);
    let spki = Recipient::new(3072).spki;
    assert_eq!(RecipientKey::from_spki(&spki).unwrap_err(), InvalidRecipientKey);
    let mut spki = Recipient::new(2048).spki;
    assert!(RecipientKey::from_spki(&spki).is_ok());
    spki.push(0);
    assert_eq!(RecipientKey::from_spki(&spki).unwrap_err(), InvalidRecipientKey);
}
