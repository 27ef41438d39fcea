//! `signerctl attest verify`

use std::net::TcpListener;

use serde_json::Value;
use signerctl::connection::Client;
use signerctl::tls_trust::TlsTrust;

use crate::client::signerctl;
use crate::enclave::{CHAIN, Notes, good, hex, not_found};
use crate::pretences::PRETENCES;
use crate::process::Outcome;
use crate::server::{Answer, Request, Server, TlsIdentity};

/// The expected enclave, with or without TLS.
pub(crate) fn enclave(identity: Option<&TlsIdentity>) -> Server {
    let spki = identity.map(|identity| identity.spki.clone());
    Server::start(identity, move |request| {
        request.nonce().map_or_else(not_found, |nonce| good(&nonce, spki.as_deref()))
    })
}

/// With our root, and what else is said.
fn verify(notes: &Notes, url: &str, arguments: &[&str]) -> Outcome {
    signerctl(notes, &[&["attest", "verify", url, "--root", "root.pem"], arguments].concat())
}

#[test]
fn the_expected_enclave_is_attested_by_each_way_to_expect_it() {
    let (notes, identity) = (Notes::new(), TlsIdentity::new());
    let server = enclave(Some(&identity));
    let (pcr0, pcr8) = (format!("0={}", hex(1)), format!("16={}", hex(17)));
    for (arguments, name) in [
        (&["--nitro-toml", "nitro.toml"][..], "nitro.toml"),
        (&["--measurements", "measurements.json"], "measurements.json"),
        (&["--measurements", "old.json", "--measurements", "measurements.json"], "measurements.json"),
        (&["--nitro-toml", "nitro.toml", "--measurements", "old.json"], "nitro.toml"),
        (&["--pcr", &pcr0, "--pcr", &pcr8], "--pcr"),
    ] {
        let text = verify(&notes, &server.url(), arguments);
        assert_eq!(text.code, Some(0), "{text:?}");
        // The root is a test's, so that the verdict cannot be the full one.
        assert!(
            text.stdout
                .ends_with("LIMITED: another root than aws's: the holder of its key made the document\n")
        );
        assert!(text.stdout.contains(&format!("ok      image         is that of {name}\n")), "{text:?}");
        assert_eq!(text.stdout.lines().filter(|line| line.starts_with("ok ")).count(), 10, "{text:?}");
        assert!(
            text.stderr.starts_with("signerctl: WARNING: root.pem is believed in AWS's place"),
            "{text:?}"
        );

        let json = verify(&notes, &server.url(), &[arguments, &["--json"]].concat());
        let json: Value = serde_json::from_str(&json.stdout).unwrap();
        assert_eq!((&json["verdict"], &json["image"]), (&"limited".into(), &name.into()), "{json}");
        assert_eq!(json["root"], "the root in root.pem, which is not aws's", "{json}");
        assert_eq!(json["document"]["pcrs"]["PCR0"], hex(1));
        assert_eq!(json["tls"]["not_after"], "2099-01-01T00:00:00Z");
        assert!(json["age_ms"].as_i64().is_some_and(|age| age < 60_000), "{json}");
    }
}

#[test]
fn who_made_the_tls_key_outside_may_pass_for_the_enclave() {
    let (notes, identity) = (Notes::new(), TlsIdentity::new());
    let server = enclave(Some(&identity));
    let file = std::fs::read_to_string(notes.path("nitro.toml")).unwrap();
    for (mode, is_limited) in [("provided", true), ("acme", false), ("self-signed", false)] {
        notes.write("mode.toml", file.replace("[pcr]", &format!("[tls]\nmode = \"{mode}\"\n[pcr]")));
        let outcome = verify(&notes, &server.url(), &["--nitro-toml", "mode.toml"]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        let words = "LIMITED: a tls key made outside, as tls.mode of the nitro.toml says";
        assert_eq!(outcome.stdout.contains(words), is_limited, "{mode}: {outcome:?}");
    }
}

#[test]
fn an_image_that_gives_trust_away_is_not_attested() {
    let (notes, identity) = (Notes::new(), TlsIdentity::new());
    let server = enclave(Some(&identity));
    let file = std::fs::read_to_string(notes.path("nitro.toml")).unwrap();
    for (setting, words) in [
        ("kms.trust_anchors = ['PEM']", "kms.trust_anchors in nitro.toml: anybody with a key"),
        ("acme.trust_anchors = 'PEM'", "acme.trust_anchors in nitro.toml: anybody with a key"),
        (
            "secrets.ticket_signing_secret = 'env'",
            "secrets.ticket_signing_secret in nitro.toml is not \"kms\"",
        ),
    ] {
        notes.write("open.toml", format!("{setting}\n{file}"));
        let limits = |arguments: &[&str]| {
            let outcome = verify(&notes, &server.url(), &[arguments, &["--json"]].concat());
            assert_eq!(outcome.code, Some(0), "{outcome:?}");
            let json: Value = serde_json::from_str(&outcome.stdout).unwrap();
            assert_eq!(json["verdict"], "limited", "{json}");
            json["limits"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|it| it.as_str().unwrap().starts_with(words))
                .count()
        };
        assert_eq!(limits(&["--nitro-toml", "open.toml"]), 1);
        // Of two that are expected, the one that runs counts.
        assert_eq!(limits(&["--measurements", "old.json", "--nitro-toml", "open.toml"]), 1);
        assert_eq!(limits(&["--measurements", "measurements.json"]), 0);
        let key = setting.split(' ').next().unwrap();
        let printed = std::fs::read_to_string(notes.path("measurements.json")).unwrap();
        let printed = format!(r#"{},"GivesAway":["{key}"]}}"#, printed.strip_suffix('}').unwrap());
        notes.write("open.json", printed);
        assert_eq!(limits(&["--measurements", "open.json"]), 1);
        let text = verify(&notes, &server.url(), &["--nitro-toml", "open.toml", "--save", "document.cose"]);
        assert!(text.stdout.contains(&format!("LIMITED: {words}")), "{text:?}");
        assert!(!text.stdout.contains("ATTESTED"), "{text:?}");
        let show = ["attest", "show", "document.cose", "--root", "root.pem", "--nitro-toml", "open.toml"];
        let shown = signerctl(&notes, &show);
        assert!(shown.stdout.contains(&format!("LIMITED: {words}")), "{shown:?}");
    }
}

#[test]
fn each_pretence_is_seen() {
    let notes = Notes::new();
    for pretence in PRETENCES {
        let server = pretence.server();
        let arguments =
            ["attest", "verify", &server.url(), "--root", pretence.root, "--nitro-toml", "nitro.toml"];
        let text = signerctl(&notes, &arguments);
        pretence.is_seen(&text);
        let json = signerctl(&notes, &[&arguments[..], &["--json"]].concat());
        pretence.is_seen(&json);
        if let Ok(json) = serde_json::from_str::<Value>(&json.stdout) {
            assert_eq!((&json["verdict"], &json["doubt"]), (&"doubtful".into(), &pretence.words.into()));
        }
    }
}

/// The attack that attestation is for: the document is genuine, fresh and has the nonce of the request.
#[test]
fn a_relay_that_ends_tls_is_seen() {
    let (notes, inner, outer) = (Notes::new(), TlsIdentity::new(), TlsIdentity::new());
    let server = enclave(Some(&inner));
    let url = server.url();
    let relay = Server::start(Some(&outer), move |request: &Request| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(async {
            let client = Client::new(url.parse().unwrap(), &TlsTrust::Anyone);
            client.connect().await.unwrap().get(&request.target).await.unwrap()
        });
        Answer { status: answer.status, body: answer.body.to_vec() }
    });
    let words = "attestation document is for another tls key: another server relays it, and reads along";
    verify(&notes, &relay.url(), &["--nitro-toml", "nitro.toml"]).doubts(words);
    assert_eq!(verify(&notes, &server.url(), &["--nitro-toml", "nitro.toml"]).code, Some(0));
}

/// A document under a root of the tests is no proof to a verifier that expects the root of AWS.
#[test]
fn without_a_root_it_is_awss() {
    let (notes, identity) = (Notes::new(), TlsIdentity::new());
    let server = enclave(Some(&identity));
    let outcome = signerctl(&notes, &["attest", "verify", &server.url(), "--nitro-toml", "nitro.toml"]);
    outcome.doubts("certificate path leads to another root than the pinned one");
}

#[test]
fn an_image_is_expected_or_any_is_said_to_do() {
    let (notes, identity) = (Notes::new(), TlsIdentity::new());
    let server = enclave(Some(&identity));
    let nothing = verify(&notes, &server.url(), &[]);
    assert_eq!((nothing.code, &*nothing.stdout), (Some(64), ""), "{nothing:?}");
    assert!(nothing.stderr.starts_with("signerctl: no expectation given"), "{nothing:?}");

    let any = verify(&notes, &server.url(), &["--any-image"]);
    assert_eq!(any.code, Some(0), "{any:?}");
    assert!(any.stdout.contains("WAIVED  image"), "{any:?}");
    assert!(any.stdout.contains("LIMITED: an unknown enclave"), "{any:?}");
    assert!(!any.stdout.contains("ATTESTED"), "{any:?}");
    let both = verify(&notes, &server.url(), &["--any-image", "--nitro-toml", "nitro.toml"]);
    assert_eq!(both.code, Some(64), "{both:?}");

    let none = verify(&notes, &server.url(), &["--measurements", "old.json", "--measurements", "older.json"]);
    none.doubts("enclave runs another image: its pcrs are those of none of 2");
    for (pcr, words) in [
        (format!("3={}", hex(1)), "--pcr: these registers do not identify a program"),
        (format!("0={}", hex(0)), "pcr0 is all zeros, as in debug mode"),
        ("0=aa".to_owned(), "pcr0 is not 96 hex digits"),
    ] {
        let outcome = verify(&notes, &server.url(), &["--pcr", &pcr]);
        assert_eq!(outcome.code, Some(64), "{outcome:?}");
        assert!(outcome.stderr.contains(words), "{outcome:?}");
    }
    notes.write("empty.toml", "version = 1\n");
    let outcome = verify(&notes, &server.url(), &["--nitro-toml", "empty.toml"]);
    assert_eq!(outcome.code, Some(65), "{outcome:?}");
    assert!(outcome.stderr.contains("empty.toml: no measurements under [pcr]"), "{outcome:?}");
}

#[test]
fn http_is_a_doubt_unless_it_is_accepted() {
    let notes = Notes::new();
    let server = enclave(None);
    let words = "without it the document proves that such an enclave exists, not that you talk to it";
    verify(&notes, &server.url(), &["--nitro-toml", "nitro.toml"]).doubts(words);
    let accepted = verify(&notes, &server.url(), &["--nitro-toml", "nitro.toml", "--accept-http"]);
    assert_eq!(accepted.code, Some(0), "{accepted:?}");
    assert!(accepted.stdout.contains("WAIVED  tls_key"), "{accepted:?}");
    assert!(accepted.stdout.contains("LIMITED: no tls"), "{accepted:?}");

    // TLS ends before the enclave, or behind this connection.
    let identity = TlsIdentity::new();
    let spki = identity.spki.clone();
    let stripped = Server::start(None, move |request| good(&request.nonce().unwrap(), Some(&spki)));
    verify(&notes, &stripped.url(), &["--nitro-toml", "nitro.toml", "--accept-http"])
        .doubts("this connection has no tls: another server ends it");
}

#[test]
fn the_certificate_is_checked_on_request_and_its_end_is_told() {
    let (notes, identity) = (Notes::new(), TlsIdentity::new());
    notes.write("ca.pem", &identity.certificate_pem);
    notes.write("other-ca.pem", TlsIdentity::new().certificate_pem);
    let server = enclave(Some(&identity));
    let verify = |url: &str, ca| verify(&notes, url, &["--nitro-toml", "nitro.toml", "--ca", ca]);
    assert_eq!(verify(&server.url(), "ca.pem").code, Some(0));
    verify(&server.url(), "other-ca.pem").doubts("TLS handshake failed");
    assert_eq!(verify(&server.url().replace("https", "http"), "ca.pem").code, Some(64));

    let past = TlsIdentity::until(2021);
    let server = enclave(Some(&past));
    let outcome = signerctl(
        &notes,
        &["attest", "verify", &server.url(), "--root", "root.pem", "--nitro-toml", "nitro.toml"],
    );
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stderr.contains("the tls certificate expired at 2021-01-01T00:00:00Z"), "{outcome:?}");
}

#[test]
fn a_document_is_saved_as_it_came() {
    let (notes, identity) = (Notes::new(), TlsIdentity::new());
    let server = enclave(Some(&identity));
    let outcome = verify(&notes, &server.url(), &["--nitro-toml", "nitro.toml", "--save", "document.cose"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    attestation::authenticate(
        &notes.read("document.cose"),
        &CHAIN.root(),
        crate::enclave::now_unix_s() * 1000,
    )
    .unwrap();
}

#[test]
fn who_does_not_answer_is_not_doubted() {
    let notes = Notes::new();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    for url in [format!("https://{address}"), format!("http://{address}")] {
        let outcome = verify(&notes, &url, &["--nitro-toml", "nitro.toml"]);
        assert_eq!((outcome.code, &*outcome.stdout), (Some(69), ""), "{outcome:?}");
    }
    let identity = TlsIdentity::new();
    for status in [429, 502, 503] {
        let busy = Server::start(Some(&identity), move |_| Answer { status, body: b"{}".to_vec() });
        let outcome = verify(&notes, &busy.url(), &["--nitro-toml", "nitro.toml"]);
        assert_eq!(outcome.code, Some(69), "{outcome:?}");
        assert!(outcome.stderr.contains(&format!("no attestation document now: status {status}")));
    }
    // TLS is spoken to what has none.
    let clear = enclave(None);
    let url = clear.url().replace("http", "https");
    assert_eq!(verify(&notes, &url, &["--nitro-toml", "nitro.toml"]).code, Some(69));
}
