//! `signerctl attest key`

use base64ct::{Base64, Encoding as _};
use serde_json::{Value, json};
use verification::{KeyProof, Origin, PublicKey};

use crate::cbor;
use crate::client::signerctl;
use crate::enclave::{CHAIN, Notes, good, not_found, payload};
use crate::process::Outcome;
use crate::server::{Answer, Request, Server, TlsIdentity};

const IDENTITY: &str = "9b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e9f";

fn public_key() -> PublicKey {
    format!("02{}", "5c".repeat(32)).parse().unwrap()
}

/// Signs that the key is of this origin, and replies that it is of that.
fn enclave(identity: &TlsIdentity, signed: Origin, replied: &'static str) -> Server {
    let spki = identity.spki.clone();
    Server::start(Some(identity), move |request: &Request| {
        if let Some(nonce) = request.nonce() {
            return good(&nonce, Some(&spki));
        }
        if (&*request.method, &*request.target) != ("POST", "/internal/attest") {
            return not_found();
        }
        if request.api_key.as_deref() != Some("the key of the API") {
            return Answer { status: 401, body: br#"{"error":"Invalid internal API key"}"#.to_vec() };
        }
        let order: Value = serde_json::from_slice(&request.body).unwrap();
        if order["identity_id"] != IDENTITY {
            return Answer { status: 404, body: br#"{"error":"Identity key not found"}"#.to_vec() };
        }
        let nonce = base16ct::lower::decode_vec(order["nonce"].as_str().unwrap()).unwrap();
        let proof = KeyProof { identity: identity_bytes(), public_key: public_key() };
        let draft =
            payload(&CHAIN, &nonce, Some(&spki)).with("user_data", cbor::bytes(&proof.digest(signed)));
        let document = CHAIN.document(&draft.payload());
        let body = json!({
            "attestation_doc": Base64::encode_string(&document),
            "public_key": public_key().to_string(),
            "origin": replied,
        });
        Answer { status: 200, body: body.to_string().into_bytes() }
    })
}

fn identity_bytes() -> [u8; 16] {
    base16ct::lower::decode_vec(IDENTITY.replace('-', "")).unwrap().try_into().unwrap()
}

fn ask(notes: &Notes, server: &Server, arguments: &[&str]) -> Outcome {
    let url = server.url();
    let usual = [
        "attest",
        "key",
        &url,
        "--root",
        "root.pem",
        "--nitro-toml",
        "nitro.toml",
        "--api-key-file",
        "api-key",
    ];
    let identity = if arguments.contains(&"--identity") { &[][..] } else { &["--identity", IDENTITY] };
    signerctl(notes, &[&usual, identity, arguments].concat())
}

#[test]
fn the_origin_of_a_key_is_told_and_can_be_required() {
    let (notes, identity) = (Notes::new(), TlsIdentity::new());
    for (origin, other) in [(Origin::Generated, "imported"), (Origin::Imported, "generated")] {
        let server = enclave(&identity, origin, origin.as_str());
        let text = ask(&notes, &server, &[]);
        assert_eq!(text.code, Some(0), "{text:?}");
        assert!(text.stdout.contains(&format!("origin        {origin}\n")), "{text:?}");
        assert!(text.stdout.contains(&public_key().to_string()), "{text:?}");
        let json = ask(&notes, &server, &["--json", "--require-origin", origin.as_str()]);
        assert_eq!(json.code, Some(0), "{json:?}");
        let json: Value = serde_json::from_str(&json.stdout).unwrap();
        assert_eq!((&json["origin"], &json["image"]), (&origin.as_str().into(), &"nitro.toml".into()));
        let required = ask(&notes, &server, &["--require-origin", other]);
        assert_eq!(required.code, Some(1), "{required:?}");
        assert!(required.stderr.ends_with(&format!("the key was {origin}, not {other}\n")), "{required:?}");
    }
}

#[test]
fn what_the_document_does_not_say_is_doubted() {
    let (notes, identity) = (Notes::new(), TlsIdentity::new());
    let liar = enclave(&identity, Origin::Imported, "generated");
    ask(&notes, &liar, &[]).doubts("reply misstates the key's origin: the document says imported");
    let strange = enclave(&identity, Origin::Imported, "born");
    ask(&notes, &strange, &[]).doubts("reply is not the json of an attestation document");
    let server = enclave(&identity, Origin::Generated, "generated");
    ask(&notes, &server, &["--identity", "9b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e90"])
        .doubts("status 404: Identity key not found");
    notes.write("api-key", "another");
    ask(&notes, &server, &[]).doubts("status 401: Invalid internal API key");
}

/// The API key is for the enclave alone.
#[test]
fn nothing_secret_is_sent_to_a_stranger() {
    let (notes, identity) = (Notes::new(), TlsIdentity::new());
    let stranger = Server::start(Some(&identity), |request: &Request| {
        assert!(request.api_key.is_none() && request.method == "GET", "sent to a stranger");
        request.nonce().map_or_else(not_found, |nonce| good(&nonce, Some(b"of another")))
    });
    ask(&notes, &stranger, &[]).doubts("attestation document is for another tls key");
}

#[test]
fn a_saved_proof_is_checked_without_the_enclave() {
    let (notes, identity) = (Notes::new(), TlsIdentity::new());
    let server = enclave(&identity, Origin::Generated, "generated");
    assert_eq!(ask(&notes, &server, &["--save", "proof.cose"]).code, Some(0));
    drop(server);
    let key = public_key().to_string();
    let show = |identity, key: &str, expected: &[&str]| {
        let usual = ["attest", "show", "proof.cose", "--root", "root.pem"];
        signerctl(&notes, &[&usual, &["--identity", identity, "--public-key", key][..], expected].concat())
    };
    let shown = show(IDENTITY, &key, &["--nitro-toml", "nitro.toml"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(shown.stdout.contains("key: generated, by what this enclave said\n"), "{shown:?}");
    assert!(shown.stdout.contains("image: that of nitro.toml\n"), "{shown:?}");
    // The JSON holds the lines of the text too.
    let limits = |text: &Outcome| -> Vec<String> {
        text.stdout.lines().filter_map(|line| line.strip_prefix("LIMITED: ")).map(str::to_owned).collect()
    };
    let other_root = "another root than aws's: the holder of its key made the document";
    assert_eq!(limits(&shown), [other_root], "{shown:?}");
    let json = show(IDENTITY, &key, &["--nitro-toml", "nitro.toml", "--json"]);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["authentic"], &json["key_origin"]), (&true.into(), &"generated".into()));
    assert_eq!(json["limits"], Value::from(limits(&shown)), "{json}");
    assert_eq!(json["root"], "the root in root.pem, which is not aws's", "{json}");

    let any = show(IDENTITY, &key, &[]);
    assert_eq!(any.code, Some(0), "{any:?}");
    assert!(matches!(&limits(&any)[..], [image, _] if image.contains("no image was expected")), "{any:?}");
    let json: Value = serde_json::from_str(&show(IDENTITY, &key, &["--json"]).stdout).unwrap();
    assert_eq!(json["limits"], Value::from(limits(&any)), "{json}");
    let of_another = show("9b2f0c1e-58f4-4f0c-8d3e-0a5b6c7d8e90", &key, &[]);
    assert_eq!(of_another.code, Some(1), "{of_another:?}");
    assert!(of_another.stderr.contains("attestation document is no proof of this key"), "{of_another:?}");
    let other_key = show(IDENTITY, &key.replacen("02", "03", 1), &[]);
    assert!(other_key.code == Some(1) && !other_key.stdout.contains("key: "), "{other_key:?}");
    let other_image = show(IDENTITY, &key, &["--measurements", "old.json"]);
    assert_eq!(other_image.code, Some(1), "{other_image:?}");
    assert!(!other_image.stdout.contains("key: "), "{other_image:?}");
    assert_eq!(show(IDENTITY, "02", &[]).code, Some(64));
}
