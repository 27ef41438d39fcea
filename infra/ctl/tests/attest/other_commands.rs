//! Commands that talk to a signer: `--attested-by`, which all of them have, and what they see before and after.

use crate::client::signerctl;
use crate::enclave::{Notes, good, not_found};
use crate::process::Outcome;
use crate::server::{Answer, Request, Server, TlsIdentity};

/// As an enclave that can sign, with documents for this key.
fn signer(identity: &TlsIdentity, spki: Vec<u8>) -> Server {
    Server::start(Some(identity), move |request: &Request| match (request.nonce(), &*request.target) {
        (Some(nonce), _) => good(&nonce, Some(&spki)),
        (None, "/health") => {
            Answer { status: 200, body: br#"{"ok":true,"service":"nitro-enclave"}"#.to_vec() }
        }
        _ => not_found(),
    })
}

fn health(notes: &Notes, url: &str, arguments: &[&str]) -> Outcome {
    signerctl(notes, &[&["health", url], arguments].concat())
}

#[test]
fn a_self_signed_enclave_is_trusted_by_its_attestation() {
    let (notes, identity) = (Notes::new(), TlsIdentity::new());
    let server = signer(&identity, identity.spki.clone());
    let root = ["--attestation-root", "root.pem"];
    for files in [
        &["--attested-by", "nitro.toml"][..],
        &["--attested-by", "old.json", "--attested-by", "measurements.json"],
    ] {
        let outcome = health(&notes, &server.url(), &[files, &root].concat());
        assert_eq!((outcome.code, &*outcome.stdout), (Some(0), "ready\n"), "{outcome:?}");
    }
    // Without it, its certificate is nobody's.
    assert_eq!(health(&notes, &server.url(), &[]).code, Some(69));
    let other = health(&notes, &server.url(), &[&["--attested-by", "old.json"], &root[..]].concat());
    other.doubts("enclave runs another image: pcr0 is not the expected one");
    let awss = health(&notes, &server.url(), &["--attested-by", "nitro.toml"]);
    awss.doubts("certificate path leads to another root than the pinned one");
}

#[test]
fn a_key_that_is_made_outside_is_warned_of() {
    let (notes, identity) = (Notes::new(), TlsIdentity::new());
    let server = signer(&identity, identity.spki.clone());
    let file = String::from_utf8(notes.read("nitro.toml")).unwrap();
    for (mode, is_warned) in [("provided", true), ("acme", false), ("self-signed", false)] {
        notes.write("mode.toml", file.replace("[pcr]", &format!("[tls]\nmode = \"{mode}\"\n[pcr]")));
        // The file counts whose image answers.
        for files in [&["mode.toml"][..], &["old.json", "mode.toml"]] {
            let files = files.iter().flat_map(|file| ["--attested-by", file]).collect::<Vec<_>>();
            let outcome =
                health(&notes, &server.url(), &[&files[..], &["--attestation-root", "root.pem"]].concat());
            assert_eq!((outcome.code, &*outcome.stdout), (Some(0), "ready\n"), "{outcome:?}");
            let words = "WARNING: a tls key made outside, as tls.mode of the nitro.toml says";
            assert_eq!(outcome.stderr.contains(words), is_warned, "{mode}: {outcome:?}");
        }
    }
}

#[test]
fn an_image_that_gives_trust_away_is_warned_of() {
    let (notes, identity) = (Notes::new(), TlsIdentity::new());
    let server = signer(&identity, identity.spki.clone());
    let file = String::from_utf8(notes.read("nitro.toml")).unwrap();
    notes.write(
        "open.toml",
        format!("kms.trust_anchors = 'PEM'\nsecrets.ticket_signing_secret = 'env'\n{file}"),
    );
    for (name, is_warned) in [("open.toml", true), ("nitro.toml", false)] {
        let outcome = health(
            &notes,
            &server.url(),
            &["--attested-by", "old.json", "--attested-by", name, "--attestation-root", "root.pem"],
        );
        assert_eq!((outcome.code, &*outcome.stdout), (Some(0), "ready\n"), "{outcome:?}");
        for words in [
            "WARNING: kms.trust_anchors in nitro.toml: ",
            "WARNING: secrets.ticket_signing_secret in nitro.toml",
        ] {
            assert_eq!(outcome.stderr.contains(words), is_warned, "{name}: {outcome:?}");
        }
    }
}

#[test]
fn a_relay_is_not() {
    let (notes, identity) = (Notes::new(), TlsIdentity::new());
    let relay = signer(&identity, b"the key behind it".to_vec());
    let arguments = ["--attested-by", "nitro.toml", "--attestation-root", "root.pem"];
    health(&notes, &relay.url(), &arguments).doubts("attestation document is for another tls key");
    let url = relay.url().replace("https", "http");
    let outcome = health(&notes, &url, &arguments);
    assert_eq!(outcome.code, Some(64), "{outcome:?}");
}

#[test]
fn who_is_no_signer_is_not_healthy() {
    let notes = Notes::new();
    for (status, body, code, words) in [
        (200, r#"{"ok":true,"service":"nitro-enclave"}"#, 0, "ready"),
        (503, r#"{"ok":false,"service":"nitro-enclave"}"#, 1, "not ready"),
        (200, "<html>hello</html>", 69, "this is no signer"),
        (200, r#"{"ok":true}"#, 69, "this is no signer"),
        (404, r#"{"error":"Not found"}"#, 69, "this is no signer"),
    ] {
        let server = Server::start(None, move |_| Answer { status, body: body.as_bytes().to_vec() });
        let outcome = health(&notes, &server.url(), &[]);
        assert_eq!(outcome.code, Some(code), "{body}: {outcome:?}");
        let said = [&*outcome.stdout, &*outcome.stderr].concat();
        assert!(said.contains(words), "{body}: {outcome:?}");
    }
}

#[test]
fn a_key_that_is_none_is_seen_before_anything_is_signed() {
    let notes = Notes::new();
    let (identity, digest) = ("9b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e9f", "ab".repeat(32));
    let usual = ["sign", "http://127.0.0.1:1", "--identity", identity, "--digest", &digest, "--public-key"];
    for (key, words) in [
        (format!("02{}", "f".repeat(64)), "--public-key is no point of secp256k1"),
        (format!("04{}", "1".repeat(64)), "not a compressed public key in 66 hex digits"),
    ] {
        let outcome = signerctl(&notes, &[&usual[..], &[&key]].concat());
        assert_eq!((outcome.code, &*outcome.stdout), (Some(64), ""), "{outcome:?}");
        assert!(outcome.stderr.contains(words), "{outcome:?}");
    }
}
