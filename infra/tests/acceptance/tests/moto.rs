//! KMS as others wrote it: `botocore` checks our signatures, `moto` does what we ask, `openssl` encrypts to our key.
//! None of them knows the emulator that the other tests rely on. Python must be there; its packages are installed below
//! the target folder.

use std::path::Path;

use acceptance::attested::Parent;
use acceptance::contract::{KEY_NOT_FOUND, NOT_READY, UNABLE_TO_OPEN};
use acceptance::failure::ensure;
use acceptance::installation::python;
use acceptance::kms::{Key, Kms};
use acceptance::process::Process;
use acceptance::signer::new_identity;
use acceptance::{Failure, Request, Rows, bip340};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// The exit code for what is configured wrong.
const EX_CONFIG: i32 = 78;

/// A parent whose KMS is `moto`.
fn parent() -> Result<Parent, Failure> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/moto");
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("moto");
    let python = python(&cache, &source.join("requirements.txt"))?;
    let directory = tempfile::Builder::new().prefix("moto-").tempdir()?;
    let mut process =
        Process::start("kms_front", &python, &[&source.join("kms_front.py"), directory.path()], &[])?;
    let ready: Value = serde_json::from_str(&process.ready("kms_front: ready ")?)?;
    let said = |name: &str| ready[name].as_str().unwrap_or_default();
    let kms = Kms {
        process,
        address: format!("tcp:{}", said("kms")),
        imds: format!("tcp:{}", said("imds")),
        authority_pem: std::fs::read_to_string(directory.path().join("kms-ca.pem"))?,
        control: said("control").parse().map_err(|_| Failure::new(ready.to_string()))?,
    };
    let keys = [0, 1, 2].map(|index| Key::at(ready["keys"][index].as_str().unwrap_or_default()));
    Parent::over(directory, kms, keys)
}

/// The operations that were called, their contexts, and their results.
fn calls(parent: &Parent) -> Result<Vec<[Value; 3]>, Failure> {
    let answer = parent.kms.tell("GET", "/calls", &Value::Null)?;
    let calls = answer["calls"].as_array().ok_or_else(|| Failure::new(answer.to_string()))?;
    Ok(calls.iter().map(|call| ["operation", "context", "answer"].map(|name| call[name].clone())).collect())
}

fn called(parent: &Parent, expected: &[(&str, Value, &str)]) -> Result<(), Failure> {
    let expected: Vec<_> = expected
        .iter()
        .map(|(operation, context, answer)| [json!(operation), context.clone(), json!(answer)])
        .collect();
    let calls = calls(parent)?;
    ensure(calls == expected, || format!("expected {expected:?}, got {calls:?}"))
}

fn boot_secret(name: &str) -> Value {
    json!({"nitro-signer": "boot-secret", "name": name})
}

fn sealed_key() -> Value {
    json!({"nitro-signer": "sealed-key"})
}

#[test]
fn all_that_we_ask_kms() -> Result<(), Failure> {
    let mut parent = parent()?;
    parent.nitro_toml.internal_api_key = "kms";
    let api_key = parent.secrets.api_key.clone();
    let blob = parent.kms.encrypt_boot_secret(&parent.key, "INTERNAL_API_KEY", &api_key)?;
    parent.set("INTERNAL_API_KEY", None);
    parent.set("INTERNAL_API_KEY_CIPHERTEXT", Some(&blob));
    let boot = [
        ("Decrypt", boot_secret("INTERNAL_API_KEY"), "good"),
        ("Decrypt", boot_secret("TICKET_SIGNING_SECRET"), "good"),
    ];

    let identity = new_identity();
    let attested = parent.ready()?;
    called(&parent, &boot)?;
    parent.kms.forget_calls()?;
    let (public_key, sealed) = {
        let server = attested.server();
        let mut signer = server.signer();
        let public_key = signer.generated(&identity)?;
        signer.signs_under(&identity, &public_key[2..])?;
        (public_key, signer.exported(&identity)?)
    };
    ensure(sealed.starts_with("ns1."), || sealed.clone())?;
    called(&parent, &[("GenerateDataKey", sealed_key(), "good")])?;
    parent.kms.forget_calls()?;
    drop(attested);

    let attested = parent.ready()?;
    called(&parent, &boot)?;
    parent.kms.forget_calls()?;
    let server = attested.server();
    let mut signer = server.signer();
    signer.export(&identity).is_error(404, KEY_NOT_FOUND)?;
    signer.imported(&identity, &sealed)?;
    signer.signs_under(&identity, &public_key[2..])?;

    let (legacy, secret) = (new_identity(), [0x42; 32]);
    let blob = parent.kms.encrypt(&parent.key, &json!({}), &secret)?;
    signer.imported(&legacy, &format!("kms:{blob}"))?;
    signer.signs_under(&legacy, &bip340::public_key(&secret)?[2..])?;
    called(&parent, &[("Decrypt", sealed_key(), "good"), ("Decrypt", json!({}), "good")])
}

/// Each process has a key of its own, and every answer is for that.
#[test]
fn answers_are_for_the_attested_key() -> Result<(), Failure> {
    let parent = parent()?;
    drop(parent.ready()?);
    drop(parent.ready()?);
    let answer = parent.kms.tell("GET", "/calls", &Value::Null)?;
    let [first, second] = [0, 1].map(|index| answer["calls"][index]["encrypted_to"].clone());
    ensure(first.is_string() && second.is_string() && first != second, || answer.to_string())
}

#[test]
fn boot_secrets_of_others_are_refused() -> Result<(), Failure> {
    let name = "TICKET_SIGNING_SECRET";
    let mut parent = parent()?;
    let secret = parent.secrets.ticket_secret.clone();
    let (ours, other) = (&parent.key, &parent.attackers_key);
    let for_another_variable = parent.kms.encrypt_boot_secret(ours, "INTERNAL_API_KEY", &secret)?;
    let under_another_key = parent.kms.encrypt_boot_secret(other, name, &secret)?;

    parent.set("TICKET_SIGNING_SECRET_CIPHERTEXT", Some(&for_another_variable));
    parent.start()?.refuses(
        EX_CONFIG,
        "TICKET_SIGNING_SECRET_CIPHERTEXT is not what KMS encrypts with the context nitro-signer=boot-secret, \
         name=TICKET_SIGNING_SECRET",
    )?;
    called(&parent, &[("Decrypt", boot_secret(name), "InvalidCiphertextException")])?;

    parent.kms.forget_calls()?;
    parent.set("TICKET_SIGNING_SECRET_CIPHERTEXT", Some(&under_another_key));
    parent.start()?.refuses(
        EX_CONFIG,
        "TICKET_SIGNING_SECRET_CIPHERTEXT is encrypted under a key that nitro.toml does not allow for boot secrets: \
         seal it again with signerctl secret seal",
    )?;
    called(&parent, &[("Decrypt", boot_secret(name), "good")])
}

#[test]
fn backups_of_others_are_refused() -> Result<(), Failure> {
    let parent = parent()?;
    let attested = parent.ready()?;
    parent.kms.forget_calls()?;
    let encrypted = |key: &Key, context: Value| parent.kms.encrypt(key, &context, &[0x42; 32]);
    let damaged = {
        let mut bytes = STANDARD.decode(encrypted(&parent.key, json!({}))?)?;
        *bytes.last_mut().expect("a ciphertext") ^= 1;
        STANDARD.encode(bytes)
    };
    let mut rows = Rows::new("Backups that do not open");
    for (row, blob, answer) in [
        ("another context", encrypted(&parent.key, sealed_key())?, "InvalidCiphertextException"),
        ("damaged", damaged, "InvalidCiphertextException"),
        ("another key", encrypted(&parent.attackers_key, json!({}))?, "good"),
    ] {
        parent.kms.forget_calls()?;
        let outcome = attested.server().signer().import(&new_identity(), &format!("kms:{blob}"));
        rows.check(row, outcome.is_error(500, UNABLE_TO_OPEN));
        rows.check(row, called(&parent, &[("Decrypt", json!({}), answer)]));
    }
    rows.finish();
    Ok(())
}

/// That signatures are checked: with another secret than that of the access key, nothing is answered.
#[test]
fn a_wrong_signature_gets_no_answer() -> Result<(), Failure> {
    let parent = parent()?;
    parent.kms.tell("POST", "/hand-out-another-secret", &json!({}))?;
    let mut attested = parent.start()?;
    attested.says("InvalidSignatureException: kms_front: not what botocore signs")?;
    attested.server().send(&Request::new("GET", "/health")).is(503, NOT_READY)?;
    let calls = calls(&parent)?;
    ensure(
        !calls.is_empty() && calls.iter().all(|[_, _, answer]| answer == "InvalidSignatureException"),
        || format!("{calls:?}"),
    )
}
