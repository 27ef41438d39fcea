//! `signerctl attest show`

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64ct::{Base64, Encoding as _};
use serde_json::Value;

use crate::cbor;
use crate::client::signerctl;
use crate::enclave::{CHAIN, Notes, STRANGER, payload};

/// AWS's hardware made it.
const REAL: &[u8] = include_bytes!("../../../attestation/tests/data/attestation-doc-2022.cose");

const OTHER_ROOT: &str = "the root in root.pem, which is not aws's";

/// The limit of a document if no image is named.
const ANY_IMAGE: &str =
    "an unknown enclave: no image was expected, so the document does not show which program runs";

#[test]
fn awss_document_is_authentic_in_each_form() {
    let notes = Notes::new();
    let base64 = Base64::encode_string(REAL);
    notes.write("document.cose", REAL);
    notes.write("document.b64", format!("{base64}\n"));
    notes.write("document.json", format!(r#"{{"attestation_doc":"{base64}"}}"#));
    for file in ["document.cose", "document.b64", "document.json"] {
        let shown = signerctl(&notes, &["attest", "show", file]);
        assert_eq!((shown.code, &*shown.stderr), (Some(0), ""), "{shown:?}");
        assert!(shown.stdout.starts_with("AUTHENTIC at its own time"), "{shown:?}");
        assert!(
            shown.stdout.contains("module        i-07e25f3bada361dec-enc0181d3dff86da785\n"),
            "{shown:?}"
        );
        assert!(shown.stdout.contains("made          2022-07-06T"), "{shown:?}");
        assert!(shown.stdout.contains("image: not compared with any"), "{shown:?}");
        assert!(shown.stdout.contains(&format!("\nLIMITED: {ANY_IMAGE}\n")), "{shown:?}");
        assert_eq!(shown.stdout.lines().filter(|line| line.starts_with("pcr")).count(), 16);
        assert_eq!(shown.stdout.lines().filter(|line| line.starts_with("certificate ")).count(), 5);
        let json = signerctl(&notes, &["attest", "show", file, "--json"]);
        let json: Value = serde_json::from_str(&json.stdout).unwrap();
        assert_eq!((&json["authentic"], &json["debug_mode"]), (&true.into(), &false.into()));
        assert_eq!(json["document"]["certificates"][0]["not_after"], "2049-10-28T14:28:05Z");
        assert_eq!(
            (&json["root"], &json["limits"]),
            (&"aws's root g1".into(), &Value::from(vec![ANY_IMAGE]))
        );
    }
    let mut process = Command::new(env!("CARGO_BIN_EXE_signerctl"))
        .args(["attest", "show", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(REAL).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success() && output.stdout.starts_with(b"AUTHENTIC at its own time"));
}

#[test]
fn what_is_wrong_is_named_and_the_rest_is_shown() {
    let notes = Notes::new();
    let good = payload(&CHAIN, b"nonce", Some(b"key"));
    let zeros = cbor::map(&[(cbor::uint(0), cbor::bytes(&[0; 48]))]);
    let debug = CHAIN.document(&good.clone().with("pcrs", zeros).payload());
    let role = cbor::map(&[(cbor::uint(8), cbor::bytes(&[8; 48]))]);
    let imageless = CHAIN.document(&good.clone().with("pcrs", role).payload());
    let forged = STRANGER.document(&good.payload());
    let unsigned =
        [b"\x84\x43\xa1\x01\x20\xa0", &*cbor::bytes(&good.payload()), &cbor::bytes(&[0; 64])].concat();
    let mut bent = REAL.to_vec();
    bent[REAL.len() - 1] ^= 1;
    for (document, words, line) in [
        (debug, "enclave is in debug mode: pcr0 is all zeros", "DEBUG MODE: pcr0 is all zeros"),
        (imageless, "pcr0 is missing", "AUTHENTIC at its own time"),
        (forged, "signature of the attestation document is wrong", "NOT AUTHENTIC: signature"),
        (
            unsigned,
            "an emulator's, without a signature",
            "NOT AUTHENTIC: attestation document is an emulator's",
        ),
    ] {
        notes.write("document.cose", &document);
        let shown = signerctl(&notes, &["attest", "show", "document.cose", "--root", "root.pem"]);
        assert_eq!(shown.code, Some(1), "{shown:?}");
        assert!(shown.stderr.contains(words) && shown.stdout.contains(line), "{shown:?}");
        assert!(shown.stdout.contains("module        i-0-enc0\n"), "{shown:?}");
        assert!(!shown.stdout.contains("valid"), "{shown:?}");
        let expecting =
            ["attest", "show", "document.cose", "--root", "root.pem", "--nitro-toml", "nitro.toml"];
        let shown = signerctl(&notes, &expecting);
        assert!(shown.code == Some(1) && !shown.stdout.contains("image: that of"), "{shown:?}");
        // A doubt is no limit.
        let shown = signerctl(&notes, &[&expecting[..], &["--json"]].concat());
        let json: Value = serde_json::from_str(&shown.stdout).unwrap();
        assert_eq!(
            (&json["root"], &json["limits"]),
            (&OTHER_ROOT.into(), &Value::Array(Vec::new())),
            "{json}"
        );
        assert!(json["doubt"].as_str().is_some_and(|doubt| doubt.contains(words)), "{json}");
    }
    notes.write("document.cose", &bent);
    signerctl(&notes, &["attest", "show", "document.cose"])
        .doubts("signature of the attestation document is wrong");
    notes.write("document.cose", REAL);
    let other = signerctl(&notes, &["attest", "show", "document.cose", "--nitro-toml", "nitro.toml"]);
    assert_eq!(other.code, Some(1), "{other:?}");
    assert!(other.stdout.contains("image: NOT EXPECTED: enclave runs another image: pcr0"), "{other:?}");
}

#[test]
fn what_is_no_document_is_told_so() {
    let notes = Notes::new();
    notes.write("empty", "");
    notes.write("page", "<html>");
    notes.write("long", vec![b'A'; 100_000]);
    notes.write("short.cose", &REAL[..1000]);
    for (file, code, words) in [
        ("empty", 65, "attestation document is not in base64"),
        ("page", 65, "attestation document is not in base64"),
        ("long", 65, "larger than 49152 bytes"),
        ("short.cose", 1, "attestation document is not a well-formed cose_sign1"),
        ("missing", 66, "No such file"),
    ] {
        let shown = signerctl(&notes, &["attest", "show", file]);
        assert_eq!((shown.code, &*shown.stdout), (Some(code), ""), "{shown:?}");
        assert!(shown.stderr.contains(words), "{shown:?}");
    }
}
