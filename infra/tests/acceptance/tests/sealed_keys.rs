//! Backups under KMS: what they cost, what they bind, and what happens when KMS is in trouble.
//!
//! The answers are those of `docs/api.md`, "9. Backups".

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use acceptance::attested::Parent;
use acceptance::contract::{KEY_NOT_FOUND, KEY_SERVICE, MALFORMED_SEALED_KEY, OK, UNABLE_TO_OPEN};
use acceptance::failure::ensure;
use acceptance::signer::new_identity;
use acceptance::{Exchange, Failure, Rows, Server, bip340};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// Keys of the test that counts KMS's calls.
const MANY_KEYS: usize = 10_000;

/// Backups of the older kind, each of which costs a call.
const LEGACY_BACKUPS: usize = 500;

/// Imports that one connection makes of them.
const LEGACY_BACKUPS_OF_A_CLIENT: usize = 8;

/// The most calls to KMS that the signer has in flight.
const CALLS_IN_FLIGHT: u32 = 8;

/// The duration of a call to KMS.
const KMS_LATENCY: Duration = Duration::from_millis(60);

fn called(parent: &Parent, expected: &[&str]) -> Result<(), Failure> {
    let calls = parent.kms.calls()?;
    ensure(calls == expected, || format!("KMS was called {} times: {calls:.200?}", calls.len()))
}

#[test]
fn a_restart_and_back() -> Result<(), Failure> {
    let parent = Parent::new()?;
    let identity = new_identity();
    let attested = parent.ready()?;
    let (public_key, sealed) = {
        let server = attested.server();
        let mut signer = server.signer();
        let public_key = signer.generated(&identity)?;
        signer.signs_under(&identity, &public_key[2..])?;
        (public_key, signer.exported(&identity)?)
    };
    ensure(sealed.starts_with("ns1."), || sealed.clone())?;
    drop(attested);

    let attested = parent.ready()?;
    let server = attested.server();
    let mut signer = server.signer();
    // As the API does: 404, import, the same ticket again.
    let digest = [7; 32];
    let ticket = signer.ticket(&identity, &digest);
    signer.sign(&identity, &hex::encode(digest), &ticket).is_error(404, KEY_NOT_FOUND)?;
    signer.imported(&identity, &sealed)?;
    signer.signed(&identity, &digest, &ticket)?;
    signer.signs_under(&identity, &public_key[2..])
}

/// Exporting any number of keys costs one call; restoring them after a restart costs one.
#[test]
fn ten_thousand_keys_cost_two_calls() -> Result<(), Failure> {
    let parent = Parent::new()?;
    let attested = parent.ready()?;
    parent.kms.forget_calls()?;
    let mut backups = Vec::new();
    {
        let server = attested.server();
        let mut signer = server.signer();
        for _ in 0..MANY_KEYS {
            let identity = new_identity();
            signer.generated(&identity)?;
            backups.push((signer.exported(&identity)?, identity));
        }
        called(&parent, &["GenerateDataKey"])?;
        // Its own backups come back without asking anybody.
        let (sealed, identity) = &backups[0];
        signer.destroyed(identity)?;
        signer.imported(identity, sealed)?;
        called(&parent, &["GenerateDataKey"])?;
    }
    drop(attested);

    let attested = parent.ready()?;
    parent.kms.forget_calls()?;
    let server = attested.server();
    let mut signer = server.signer();
    for (sealed, identity) in &backups {
        signer.imported(identity, sealed)?;
    }
    called(&parent, &["Decrypt"])
}

#[test]
fn first_uses_at_once_share_one_call() -> Result<(), Failure> {
    let parent = Parent::new()?;
    let identities: Vec<String> = (0..50).map(|_| new_identity()).collect();
    let attested = parent.ready()?;
    parent.kms.forget_calls()?;
    for identity in &identities {
        attested.server().signer().generated(identity)?;
    }
    parent.kms.fail_next("GenerateDataKey", "delay", 1, 300)?;
    let sealed: Vec<String> = at_once(&identities, |identity| attested.server().signer().exported(identity))?;
    called(&parent, &["GenerateDataKey"])?;
    drop(attested);

    let attested = parent.ready()?;
    parent.kms.forget_calls()?;
    parent.kms.fail_next("Decrypt", "delay", 1, 300)?;
    let backups: Vec<(&String, &String)> = identities.iter().zip(&sealed).collect();
    at_once(&backups, |(identity, sealed)| attested.server().signer().imported(identity, sealed))?;
    called(&parent, &["Decrypt"])
}

/// A hundred clients want a backup while KMS fails. It is asked three times, not three hundred, and nothing is lost.
#[test]
fn a_kms_in_trouble_is_not_stampeded() -> Result<(), Failure> {
    let parent = Parent::new()?;
    let attested = parent.ready()?;
    let identities: Vec<String> = (0..100).map(|_| new_identity()).collect();
    for identity in &identities {
        attested.server().signer().generated(identity)?;
    }
    for kind in ["internal", "throttle", "drop"] {
        parent.kms.forget_calls()?;
        parent.kms.fail_next("GenerateDataKey", kind, 1000, 0)?;
        at_once(&identities, |identity| {
            attested.server().signer().export(identity).is_error(502, KEY_SERVICE)
        })?;
        called(&parent, &["GenerateDataKey"; 3])?;
        // Over the rest that follows.
        thread::sleep(Duration::from_millis(1100));
    }
    parent.kms.recover()?;
    let server = attested.server();
    let mut signer = server.signer();
    let sealed = signer.exported(&identities[0])?;
    signer.destroyed(&identities[0])?;
    signer.imported(&identities[0], &sealed)
}

/// One failed try costs the client nothing but time.
#[test]
fn a_passing_fault_is_not_seen() -> Result<(), Failure> {
    let parent = Parent::new()?;
    let attested = parent.ready()?;
    let server = attested.server();
    let identity = new_identity();
    server.signer().generated(&identity)?;
    for (kind, count) in [("throttle", 2), ("internal", 2), ("drop", 2)] {
        let blob = parent.kms.encrypt(&parent.key, &serde_json::json!({}), &[3; 32])?;
        parent.kms.fail_next("Decrypt", kind, count, 0)?;
        let legacy = new_identity();
        server.signer().imported(&legacy, &format!("kms:{blob}"))?;
    }
    Ok(())
}

/// A signature that KMS refuses is made again, with credentials that the metadata service is asked for and with the
/// time of then. A second refusal counts.
#[test]
fn a_signature_is_made_again_once() -> Result<(), Failure> {
    let refused = transcript("invalid-signature.json")?;
    let parent = Parent::new()?;
    let mut attested = parent.ready()?;
    let server = attested.server();
    // The metadata service is asked no more often than each 5 s. Without it the log says that it was asked.
    thread::sleep(Duration::from_millis(5100));
    parent.kms.tell("POST", "/imds", &serde_json::json!({"trouble": "outage"}))?;
    parent.kms.forget_calls()?;
    parent.kms.answer_next("Decrypt", 1, 400, &refused)?;
    imports_legacy(&parent, &server)?.is(200, OK)?;
    called(&parent, &["Decrypt"; 2])?;
    attested.says("no new credentials; going on with the old ones")?;

    parent.kms.forget_calls()?;
    parent.kms.answer_next("Decrypt", 2, 400, &refused)?;
    imports_legacy(&parent, &server)?.is_error(502, KEY_SERVICE)?;
    called(&parent, &["Decrypt"; 2])?;
    attested.says(
        "KMS call failed operation=\"Decrypt\" error=InvalidSignatureException: The request signature",
    )?;
    imports_legacy(&parent, &server)?.is(200, OK)
}

/// The answer to a client for an error of KMS.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// 502: KMS refuses.
    Refused,
    /// 500: it is the ciphertext's fault.
    Unopened,
    /// 200: the second try does it.
    Nothing,
}

/// The documented errors: as KMS sent them where that was recorded, else by name, each with its status.
fn errors_of_kms() -> Result<Vec<(u16, String, Told)>, Failure> {
    let mut errors = Vec::new();
    for (file, told) in [
        ("access-denied-explicit-deny.json", Told::Refused),
        ("access-denied-identity-policy.json", Told::Refused),
        ("access-denied-not-allowed.json", Told::Refused),
        ("access-denied-unknown-key.json", Told::Refused),
        ("disabled.json", Told::Refused),
        ("dry-run.json", Told::Refused),
        ("invalid-state.json", Told::Refused),
        ("not-found.json", Told::Refused),
        ("incorrect-key.json", Told::Unopened),
        ("invalid-ciphertext.json", Told::Unopened),
        ("expired-token.json", Told::Nothing),
        ("invalid-signature.json", Told::Nothing),
        ("signature-expired.json", Told::Nothing),
        ("signature-not-yet-current.json", Told::Nothing),
        ("throttling.json", Told::Nothing),
        ("unrecognized-client.json", Told::Nothing),
    ] {
        errors.push((400, transcript(file)?, told));
    }
    for (status, name, told) in [
        (400, "InvalidGrantTokenException", Told::Refused),
        (400, "InvalidKeyUsageException", Told::Refused),
        (400, "UnsupportedOperationException", Told::Refused),
        (400, "ValidationException", Told::Refused),
        (400, "LimitExceededException", Told::Nothing),
        (500, "DependencyTimeoutException", Told::Nothing),
        (500, "KeyUnavailableException", Told::Nothing),
        (500, "KMSInternalException", Told::Nothing),
    ] {
        let error = serde_json::json!({"__type": name, "message": format!("what KMS says of {name}")});
        errors.push((status, error.to_string(), told));
    }
    // Of a front end before KMS.
    errors.push((500, "<html>".to_owned(), Told::Nothing));
    errors.push((503, String::new(), Told::Nothing));
    Ok(errors)
}

/// The words of the log for an error.
fn words_for(status: u16, body: &str, told: Told) -> String {
    let error: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    match (told, error["__type"].as_str(), error["message"].as_str().or(error["Message"].as_str())) {
        (Told::Unopened, ..) => "not a ciphertext that KMS can decrypt as asked".to_owned(),
        (_, Some(kind), Some(message)) => format!("{kind}: {message}"),
        _ => format!("HTTP status {status}: no message"),
    }
}

/// The client is told, the log names the error, the keys that are live sign, and afterwards everything works.
#[test]
fn each_error_of_kms_is_told_and_loses_nothing() -> Result<(), Failure> {
    let parent = Parent::new()?;
    let mut attested = parent.ready()?;
    let server = attested.server();
    let mut signer = server.signer();
    let identity = new_identity();
    let public_key = signer.generated(&identity)?;
    let mut rows = Rows::new("Errors of KMS");
    for (status, body, told) in errors_of_kms()? {
        let words = words_for(status, &body, told);
        parent.kms.forget_calls()?;
        parent.kms.answer_next("Decrypt", 1, status, &body)?;
        let answer = imports_legacy(&parent, &server)?;
        let (answered, calls) = match told {
            Told::Refused => (answer.is_error(502, KEY_SERVICE), 1),
            Told::Unopened => (answer.is_error(500, UNABLE_TO_OPEN), 1),
            Told::Nothing => (answer.is(200, OK), 2),
        };
        rows.check(format!("import, {words}"), answered);
        rows.check(format!("calls, {words}"), called(&parent, &vec!["Decrypt"; calls]));
        rows.check(format!("log, {words}"), attested.says(&format!("operation=\"Decrypt\" error={words}")));
        if told != Told::Nothing {
            parent.kms.answer_next("GenerateDataKey", 1, status, &body)?;
            rows.check(format!("export, {words}"), signer.export(&identity).is_error(502, KEY_SERVICE));
            let line = format!("operation=\"GenerateDataKey\" error={words}");
            rows.check(format!("log of the export, {words}"), attested.says(&line));
        }
        rows.check(format!("signing, {words}"), signer.signs_under(&identity, &public_key[2..]));
    }
    rows.finish();
    let sealed = signer.exported(&identity)?;
    signer.destroyed(&identity)?;
    signer.imported(&identity, &sealed)?;
    signer.signs_under(&identity, &public_key[2..])
}

/// KMS takes the connection and the request, and says nothing: the client is told in time.
#[test]
fn a_kms_that_hangs_is_given_up() -> Result<(), Failure> {
    let parent = Parent::new()?;
    let attested = parent.ready()?;
    let server = attested.server();
    let (identity, signed) = (new_identity(), new_identity());
    server.signer().generated(&identity)?;
    parent.kms.fail_next("GenerateDataKey", "hang", 1000, 0)?;
    let started = Instant::now();
    thread::scope(|scope| {
        let exporting = scope.spawn(|| server.signer().export(&identity).is_error(502, KEY_SERVICE));
        // Signing needs no KMS, and does not wait for those who do.
        let signing = Instant::now();
        let mut signer = server.signer();
        let public_key = signer.generated(&signed)?;
        signer.signs_under(&signed, &public_key[2..])?;
        ensure(signing.elapsed() < Duration::from_secs(3) && !exporting.is_finished(), || {
            format!("signing took {:?}", signing.elapsed())
        })?;
        exporting.join().expect("no panic")
    })?;
    let took = started.elapsed();
    ensure((14..20).contains(&took.as_secs()), || format!("three calls of 5 s took {took:?}"))
}

/// Of eight requests in flight, one may be an export that waits for KMS. So a KMS that hangs keeps nobody from signing.
#[test]
fn those_who_wait_for_kms_do_not_keep_others_from_signing() -> Result<(), Failure> {
    let mut parent = Parent::new()?;
    parent.nitro_toml.max_requests_in_flight = 8;
    let attested = parent.ready()?;
    let server = attested.server();
    let (identity, signed) = (new_identity(), new_identity());
    server.signer().generated(&identity)?;
    let public_key = server.signer().generated(&signed)?;
    parent.kms.fail_next("GenerateDataKey", "hang", 1000, 0)?;
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| server.signer().export(&identity).response().map(|r| r.status)))
            .collect();
        thread::sleep(Duration::from_millis(500));
        let outcome = server.signer().signs_under(&signed, &public_key[2..]);
        let statuses: Result<Vec<u16>, Failure> =
            waiting.into_iter().map(|waited| waited.join().expect("no panic")).collect();
        outcome?;
        let statuses = statuses?;
        ensure(statuses.iter().filter(|status| **status == 502).count() == 1, || format!("{statuses:?}"))?;
        ensure(statuses.iter().all(|status| [502, 503].contains(status)), || format!("{statuses:?}"))
    })
}

#[test]
fn a_backup_is_one_identitys_and_whole() -> Result<(), Failure> {
    let parent = Parent::new()?;
    let attested = parent.ready()?;
    let server = attested.server();
    let mut signer = server.signer();
    let (identity, other) = (new_identity(), new_identity());
    signer.generated(&identity)?;
    let sealed = signer.exported(&identity)?;
    signer.destroyed(&identity)?;
    let mut rows = Rows::new("Sealed keys that do not open");
    rows.check("another identity", signer.import(&other, &sealed).is_error(500, UNABLE_TO_OPEN));
    let bytes = URL_SAFE_NO_PAD.decode(&sealed[4..])?;
    // A bit of the wrapped data key costs a call to KMS.
    let wrapped = 3..bytes.len() - 60;
    for at in (0..bytes.len()).filter(|at| !wrapped.contains(at)) {
        let mut bent = bytes.clone();
        bent[at] ^= 1 << (at % 8);
        let text = format!("ns1.{}", URL_SAFE_NO_PAD.encode(bent));
        rows.check(
            format!("a bit of byte {at}"),
            signer.import(&identity, &text).is_error(500, UNABLE_TO_OPEN),
        );
    }
    for at in wrapped {
        let mut bent = bytes.clone();
        bent[at] ^= 1 << (at % 8);
        let text = format!("ns1.{}", URL_SAFE_NO_PAD.encode(bent));
        rows.check(
            format!("a bit of byte {at}"),
            signer.import(&identity, &text).is_error(500, UNABLE_TO_OPEN),
        );
    }
    for length in 4..sealed.len() {
        let answer = signer.import(&identity, &sealed[..length]);
        rows.check(format!("{length} characters"), answer.is_error(500, UNABLE_TO_OPEN));
    }
    for (row, text) in [("local form", "aa:bb:cc"), ("Evervault", "ev:aa:bb"), ("nothing known", "ns2.AAAA")]
    {
        rows.check(row, signer.import(&identity, text).is_error(400, MALFORMED_SEALED_KEY));
    }
    rows.check("none of them made a key", signer.export(&identity).is_error(404, KEY_NOT_FOUND));
    rows.check("the whole one", signer.imported(&identity, &sealed));
    rows.finish();
    Ok(())
}

#[test]
fn legacy_backups_are_read() -> Result<(), Failure> {
    let parent = Parent::new()?;
    let attested = parent.ready()?;
    let server = attested.server();
    let mut signer = server.signer();
    let mut rows = Rows::new("Legacy backups");
    let encrypted = |plaintext: &[u8], context| parent.kms.encrypt(&parent.key, &context, plaintext);
    let secret = [0x42; 32];
    let identity = new_identity();
    let blob = encrypted(&secret, serde_json::json!({}))?;
    rows.check("imports", signer.imported(&identity, &format!("kms:{blob}")));
    let x_only = bip340::public_key(&secret)?[2..].to_owned();
    rows.check("and signs", signer.signs_under(&identity, &x_only));
    rows.check(
        "is sealed again",
        signer.exported(&identity).map(|sealed| assert!(sealed.starts_with("ns1."))),
    );
    let damaged = {
        let mut bytes = STANDARD.decode(&blob)?;
        *bytes.last_mut().expect("a ciphertext") ^= 1;
        STANDARD.encode(bytes)
    };
    for (row, blob) in [
        ("another context", encrypted(&secret, serde_json::json!({"nitro-signer": "sealed-key"}))?),
        ("31 bytes", encrypted(&secret[1..], serde_json::json!({}))?),
        ("33 bytes", encrypted(&[1; 33], serde_json::json!({}))?),
        ("zero", encrypted(&[0; 32], serde_json::json!({}))?),
        ("the order or more", encrypted(&[0xff; 32], serde_json::json!({}))?),
        ("damaged", damaged),
        ("no base64", "====".to_owned()),
    ] {
        let answer = signer.import(&new_identity(), &format!("kms:{blob}"));
        rows.check(row, answer.is_error(500, UNABLE_TO_OPEN));
    }
    rows.finish();
    Ok(())
}

/// They do not wait for one another, and eight calls are in flight at most.
#[test]
fn five_hundred_legacy_backups_are_back_in_seconds() -> Result<(), Failure> {
    let parent = Parent::new()?;
    let attested = parent.ready()?;
    let mut backups = Vec::new();
    for _ in 0..LEGACY_BACKUPS {
        let blob = parent.kms.encrypt(&parent.key, &serde_json::json!({}), &bip340::random_scalar())?;
        backups.push((new_identity(), format!("kms:{blob}")));
    }
    delay_all(&parent, KMS_LATENCY)?;
    parent.kms.forget_calls()?;
    let clients: Vec<_> = backups.chunks(LEGACY_BACKUPS_OF_A_CLIENT).collect();
    let started = Instant::now();
    at_once(&clients, |backups| {
        let server = attested.server();
        let mut signer = server.signer();
        backups.iter().try_for_each(|(identity, sealed)| signer.imported(identity, sealed))
    })?;
    let took = started.elapsed();
    println!("{LEGACY_BACKUPS} legacy backups of {KMS_LATENCY:?} each took {took:?}");
    called(&parent, &["Decrypt"; LEGACY_BACKUPS])?;
    let one_by_one = KMS_LATENCY * u32::try_from(LEGACY_BACKUPS)?;
    ensure((one_by_one / CALLS_IN_FLIGHT..one_by_one / 2).contains(&took), || format!("they took {took:?}"))
}

/// A new key is measured as the sealing key: it seals what is exported from now on, and old backups still open.
/// Importing and exporting is all it takes to re-seal one.
#[test]
fn a_new_kms_key_takes_over() -> Result<(), Failure> {
    let mut parent = Parent::new()?;
    let identity = new_identity();
    let attested = parent.ready()?;
    attested.server().signer().generated(&identity)?;
    let old = attested.server().signer().exported(&identity)?;
    drop(attested);

    let (old_arn, new_arn) = (parent.key.arn.clone(), parent.next_key.arn.clone());
    parent.seal_under(&new_arn);
    parent.nitro_toml.opening_key_arns = vec![old_arn.clone()];
    // The secrets are still under it.
    parent.nitro_toml.boot_secret_key_arns = Some(vec![old_arn.clone()]);
    let attested = parent.ready()?;
    parent.kms.forget_calls()?;
    attested.server().signer().imported(&identity, &old)?;
    let new = attested.server().signer().exported(&identity)?;
    called(&parent, &["Decrypt", "GenerateDataKey"])?;
    drop(attested);

    // The old key is gone for good.
    parent.kms.tell("POST", "/forget", &serde_json::json!({"key": old_arn}))?;
    let secret = parent.secrets.ticket_secret.clone();
    let blob = parent.kms.encrypt_boot_secret(&parent.next_key, "TICKET_SIGNING_SECRET", &secret)?;
    parent.set("TICKET_SIGNING_SECRET_CIPHERTEXT", Some(&blob));
    parent.nitro_toml.opening_key_arns = Vec::new();
    parent.nitro_toml.boot_secret_key_arns = None;
    let attested = parent.ready()?;
    attested.server().signer().imported(&identity, &new)?;
    // KMS refuses, as it does for a key that we may not use: that is not the backup's fault.
    attested.server().signer().import(&new_identity(), &old).is_error(502, KEY_SERVICE)
}

/// An answer of KMS, of `infra/tests/transcripts/kms`.
fn transcript(file: &str) -> Result<String, Failure> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../transcripts/kms");
    Ok(std::fs::read_to_string(folder.join(file))?.trim_end().to_owned())
}

/// Imports a backup of the older kind, for which KMS has to be asked.
fn imports_legacy(parent: &Parent, server: &Server) -> Result<Exchange, Failure> {
    let blob = parent.kms.encrypt(&parent.key, &serde_json::json!({}), &bip340::random_scalar())?;
    Ok(server.signer().import(&new_identity(), &format!("kms:{blob}")))
}

/// Has KMS take `latency` for each call of `Decrypt` from now on.
fn delay_all(parent: &Parent, latency: Duration) -> Result<(), Failure> {
    parent.kms.fail_next("Decrypt", "delay", u32::MAX, u32::try_from(latency.as_millis())?)
}

/// Does `work` for all of `items` at the same time.
fn at_once<I: Sync, T: Send>(
    items: &[I],
    work: impl Fn(&I) -> Result<T, Failure> + Sync,
) -> Result<Vec<T>, Failure> {
    thread::scope(|scope| {
        let threads: Vec<_> = items.iter().map(|item| scope.spawn(|| work(item))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}
