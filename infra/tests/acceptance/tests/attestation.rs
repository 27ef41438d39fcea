//! `GET /.well-known/attestation`: a document for any client, with the nonce that it chose. That its signature holds is
//! tested where it is made and where it is verified (`enclave-runtime`, `infra/attestation`).
//!
//! The answers are those of `docs/api.md`, "10. Attestation".

use std::time::Duration;

use acceptance::attested::{Parent, software_pcrs};
use acceptance::contract::{METHOD_NOT_ALLOWED, NONCE, validation_body};
use acceptance::failure::ensure;
use acceptance::key_proof::KeyProof;
use acceptance::signer::new_identity;
use acceptance::{Failure, Request, Rows, Server};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ciborium::Value;

const PATH: &str = "/.well-known/attestation";

fn get(query: &str) -> Request {
    Request::new("GET", &format!("{PATH}{query}"))
}

/// The payload of the document in the answer to `query`, by name.
fn payload(server: &Server, query: &str) -> Result<Vec<(String, Value)>, Failure> {
    let exchange = server.send(&get(query));
    let document = exchange.response()?.member("attestation_doc")?;
    exchange.is(200, &format!(r#"{{"attestation_doc":"{document}"}}"#))?;
    let envelope: Value = ciborium::from_reader(&*STANDARD.decode(document)?)?;
    let parts = envelope.as_array().ok_or_else(|| Failure::new("no COSE_Sign1"))?;
    let [protected, unprotected, payload, signature] = &parts[..] else {
        return Err(Failure::new(format!("{} parts", parts.len())));
    };
    ensure(protected.as_bytes().map(Vec::as_slice) == Some(&[0xa1, 0x01, 0x38, 0x22]), || {
        "not ES384".to_owned()
    })?;
    ensure(unprotected.as_map().is_some_and(Vec::is_empty), || "an unprotected header".to_owned())?;
    ensure(signature.as_bytes().map(Vec::len) == Some(96), || "no signature".to_owned())?;
    let payload = payload.as_bytes().ok_or_else(|| Failure::new("no payload"))?;
    let payload: Value = ciborium::from_reader(payload.as_slice())?;
    let members = payload.as_map().cloned().unwrap_or_default();
    Ok(members.into_iter().filter_map(|(name, value)| Some((name.as_text()?.to_owned(), value))).collect())
}

fn member<'p>(payload: &'p [(String, Value)], name: &str) -> &'p Value {
    payload.iter().find(|(known, _)| known == name).map_or(&Value::Null, |(_, value)| value)
}

#[test]
fn the_nonce_comes_back_and_there_is_no_key_to_vouch_for() -> Result<(), Failure> {
    let server = Server::any();
    let mut rows = Rows::new("Attestation");
    let bytes: Vec<u8> = (0..=255).chain(0..=255).collect();
    let longest = hex::encode(&bytes);
    let in_base64 = URL_SAFE_NO_PAD.encode([0xff; 33]);
    for (row, query, nonce) in [
        ("no query", String::new(), None),
        ("another parameter", "?x=1".to_owned(), None),
        ("hex", "?nonce=00ff10".to_owned(), Some(vec![0, 0xff, 0x10])),
        ("upper case", "?nonce=00FF10".to_owned(), Some(vec![0, 0xff, 0x10])),
        ("base64url", format!("?nonce={in_base64}"), Some(vec![0xff; 33])),
        ("512 bytes", format!("?nonce={longest}"), Some(bytes.clone())),
        ("512 bytes of base64url", format!("?nonce={}", URL_SAFE_NO_PAD.encode(&bytes)), Some(bytes.clone())),
        ("among others", "?a=b&nonce=0102&c".to_owned(), Some(vec![1, 2])),
    ] {
        let outcome = payload(&server, &query).and_then(|payload| {
            let expected = nonce.map_or(Value::Null, Value::Bytes);
            ensure(*member(&payload, "nonce") == expected, || format!("{:?}", member(&payload, "nonce")))?;
            for absent in ["public_key", "user_data"] {
                ensure(member(&payload, absent).is_null(), || absent.to_owned())?;
            }
            ensure(member(&payload, "digest").as_text() == Some("SHA384"), || "digest".to_owned())
        });
        rows.check(row, outcome);
    }
    rows.finish();
    Ok(())
}

#[test]
fn a_bad_nonce_or_method_is_refused() {
    let server = Server::any();
    let mut rows = Rows::new("Attestation, refused");
    let body = validation_body(&[("nonce", NONCE)]);
    for query in [
        "?nonce=".to_owned(),
        "?nonce".to_owned(),
        "?nonce=01&nonce=01".to_owned(),
        "?nonce=AA==".to_owned(),
        "?nonce=a+b/".to_owned(),
        "?nonce=%30%31".to_owned(),
        format!("?nonce={}", "00".repeat(513)),
        format!("?nonce={}", "a".repeat(10_000)),
    ] {
        rows.check(&query, server.send(&get(&query)).is(400, &body));
    }
    for method in ["POST", "HEAD", "PUT", "DELETE", "OPTIONS"] {
        let exchange = server.send(&Request::new(method, PATH));
        let outcome = exchange.response().and_then(|response| {
            ensure(response.status == 405 && response.header("allow") == Some("GET"), || {
                format!("{} {:?}", response.status, response.headers)
            })?;
            if method == "HEAD" { Ok(()) } else { exchange.is_error(405, METHOD_NOT_ALLOWED) }
        });
        rows.check(method, outcome);
    }
    rows.finish();
}

/// Anybody may ask, and who asks too much is told so and takes nobody's place.
#[test]
fn a_crowd_is_served_or_told_to_come_back() -> Result<(), Failure> {
    let server = Server::own(&["--max-requests-in-flight", "4"]);
    let outcomes = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..200)
            .map(|_| {
                scope.spawn(|| server.send(&get("?nonce=aa")).response().map(|response| response.status))
            })
            .collect();
        let mut signer = server.signer();
        let identity = new_identity();
        let signed = signer.generated(&identity).and_then(|key| signer.signs_under(&identity, &key[2..]));
        let asked: Result<Vec<u16>, Failure> =
            asking.into_iter().map(|asked| asked.join().expect("no panic")).collect();
        signed.and(asked)
    })?;
    ensure(outcomes.iter().all(|status| [200, 503].contains(status)), || format!("{outcomes:?}"))?;
    ensure(outcomes.contains(&200), || "nobody was served".to_owned())
}

#[test]
fn who_sends_no_nonce_shares_a_document() -> Result<(), Failure> {
    let server = Server::own(&[]);
    let document = |query: &str| server.send(&get(query)).response()?.member("attestation_doc");
    let first = document("")?;
    for query in ["", "?", "?x=1", ""] {
        ensure(document(query)? == first, || format!("another document for {query:?}"))?;
    }
    let with_nonce = [document("?nonce=aa")?, document("?nonce=aa")?];
    ensure(with_nonce[0] != with_nonce[1], || "one document for two who sent a nonce".to_owned())?;
    ensure(!with_nonce.contains(&first), || "a nonce that is not looked at".to_owned())?;
    ensure(document("")? == first, || "those with a nonce cost the others theirs".to_owned())
}

/// The NSM also serves others.
#[test]
fn a_flood_of_nonces_is_told_to_come_back_and_harms_nobody() -> Result<(), Failure> {
    let server = Server::own(&[]);
    let mut signer = server.signer();
    let identity = new_identity();
    let public_key = signer.generated(&identity)?;
    let flood =
        || (0..5000).map(|_| server.send(&get("?nonce=aa"))).find(|sent| sent.is_at_capacity().is_ok());
    ensure(flood().is_some(), || "5,000 documents, and none refused".to_owned())?;

    let mut rows = Rows::new("Attestation, under a flood");
    for round in 0..4 {
        // Tokens that have come back meanwhile are taken again.
        ensure(flood().is_some(), || "it is no flood any more".to_owned())?;
        rows.check(format!("{round}, sign"), signer.signs_under(&identity, &public_key[2..]));
        rows.check(
            format!("{round}, the proof of a key"),
            KeyProof::of(&signer.attest(&identity, Some("aa"))).map(drop),
        );
        rows.check(format!("{round}, without a nonce"), payload(&server, "").map(drop));
    }
    let recovers = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        payload(&server, "?nonce=aa").is_ok()
    });
    rows.check("then one comes through", ensure(recovers, || "none in a hundred tries".to_owned()));
    rows.finish();
    Ok(())
}

/// An operator whose signer does not work can still see its document, with its measurements.
#[test]
fn it_is_served_before_the_signer_is_ready() -> Result<(), Failure> {
    let parent = Parent::new()?;
    let attested = parent.start_without_kms()?;
    let server = attested.server();
    let payload = payload(&server, "?nonce=0a")?;
    let pcrs = member(&payload, "pcrs").as_map().cloned().unwrap_or_default();
    for (index, expected) in (0_u8..).zip(&software_pcrs()) {
        let pcr = pcrs.iter().find(|(key, _)| *key == Value::from(index)).and_then(|(_, pcr)| pcr.as_bytes());
        ensure(pcr.map(hex::encode).as_ref() == Some(expected), || format!("PCR{index}"))?;
    }
    Ok(())
}
