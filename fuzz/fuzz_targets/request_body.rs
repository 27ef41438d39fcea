//! The four request parsers read a body, or refuse it, exactly as a reader made of `serde_json` does.

#![no_main]

use enclave_core::{
    GenerateRequest, HashSeed, IdentityRequest, ImportRequest, MAX_REPLY_BYTES, Refusal, Reply, SignRequest,
};
use fuzz::request::{self, Field};
use libfuzzer_sys::fuzz_target;

const SEED: HashSeed = HashSeed::new([7; 16]);

fuzz_target!(|data: &[u8]| {
    // Two forms: a body, and `names NAMES` for objects of many members, which no mutation of text makes.
    match data.strip_prefix(b"names ") {
        Some(names) => check_all(&object(names)),
        None => check_all(data),
    }
});

/// An object with a member for each byte. A name is a letter; a byte with its highest bit set is the letter escaped.
fn object(names: &[u8]) -> Vec<u8> {
    let member = |byte: &u8| match byte {
        0x23..=0x5B | 0x5D..=0x7E => format!(r#""{}":0"#, char::from(*byte)),
        _ => format!(r#""\u{:04x}":0"#, byte & 0x7F),
    };
    format!("{{{}}}", names.iter().map(member).collect::<Vec<_>>().join(",")).into_bytes()
}

fn check_all(body: &[u8]) {
    check(body, &[Field::Identity, Field::Algorithm], |body| {
        let request = GenerateRequest::parse(body, &SEED)?;
        Ok(vec![request.identity.as_bytes().to_vec(), b"secp256k1".to_vec()])
    });
    check(body, &[Field::Identity], |body| {
        Ok(vec![IdentityRequest::parse(body, &SEED)?.identity.as_bytes().to_vec()])
    });
    check(body, &[Field::Identity, Field::Algorithm, Field::SealedKey], |body| {
        let request = ImportRequest::parse(body, &SEED)?;
        Ok(vec![request.identity.as_bytes().to_vec(), b"secp256k1".to_vec(), request.sealed_key.to_vec()])
    });
    check(body, &[Field::Identity, Field::Digest, Field::Ticket], |body| {
        let request = SignRequest::parse(body, &SEED)?;
        let (identity, digest) = (request.identity.as_bytes().to_vec(), request.digest.as_bytes().to_vec());
        Ok(vec![identity, digest, request.ticket.to_vec()])
    });
}

fn check(body: &[u8], schema: &[Field], parse: impl FnOnce(&mut [u8]) -> Result<Vec<Vec<u8>>, Refusal>) {
    let ours = parse(&mut body.to_vec()).map_err(|refusal| reply(&refusal));
    assert_eq!(ours, request::read(body, schema));
}

fn reply(refusal: &Refusal) -> String {
    let mut buffer = [0; MAX_REPLY_BYTES];
    let reply = Reply::Refused(refusal).write(&mut buffer).expect("MAX_REPLY_BYTES is enough");
    serde_json::from_slice::<serde_json::Value>(reply).expect("a reply is JSON");
    String::from_utf8(reply.to_vec()).expect("JSON is UTF-8")
}
