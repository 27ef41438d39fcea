//! The five request parsers read a body, or refuse it, exactly as a reader made of `serde_json` does; and a query gives
//! the nonce that another reader finds in it.

#![no_main]

use enclave_core::{
    AttestRequest, GenerateRequest, HashSeed, IdentityRequest, ImportRequest, MAX_REPLY_BYTES, Refusal,
    Reply, SignRequest,
};
use enclave_runtime::http::{InvalidNonce, nonce_of};
use fuzz::request::{self, BadNonce, Field};
use libfuzzer_sys::fuzz_target;

const SEED: HashSeed = HashSeed::new([7; 16]);

fuzz_target!(|data: &[u8]| {
    // Three forms: a body; `names NAMES` for objects of many members, which no mutation of text makes; `query QUERY`.
    if let Some(names) = data.strip_prefix(b"names ") {
        check_all(&object(names));
    } else if let Some(query) = data.strip_prefix(b"query ") {
        check_query(query);
    } else {
        check_all(data);
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
    check(body, &[Field::Identity, Field::Nonce], |body| {
        let request = AttestRequest::parse(body, &SEED)?;
        let nonce = request.nonce.map_or(Vec::new(), |nonce| nonce.as_bytes().to_vec());
        Ok(vec![request.identity.as_bytes().to_vec(), nonce])
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

/// A query that is no UTF-8 does not come through HTTP.
fn check_query(query: &[u8]) {
    let Ok(query) = str::from_utf8(query) else { return };
    assert_eq!(nonce_of(Some(query)).map_err(|InvalidNonce| BadNonce), request::query_nonce(query));
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
