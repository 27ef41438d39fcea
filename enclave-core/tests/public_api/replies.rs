//! Bodies to the exact bytes of replies.

use enclave_core::{
    AttestRequest, BufferTooSmall, GenerateRequest, IdentityRequest, ImportRequest, MAX_REPLY_BYTES, Refusal,
    Reply, SignRequest,
};

use super::small_signer::{SEED, pair};

fn write(reply: &Reply<'_>) -> String {
    String::from_utf8(reply.write(&mut [0; MAX_REPLY_BYTES]).unwrap().to_vec()).unwrap()
}

fn refusal<T>(parsed: Result<T, Refusal>) -> String {
    write(&Reply::Refused(&parsed.err().expect("a refusal")))
}

fn errors(details: &str) -> String {
    format!(r#"{{"error":"Validation error","details":{details}}}"#)
}

#[test]
fn successes_are_compact() {
    let mut one = [0; 32];
    one[31] = 1;
    assert_eq!(
        write(&Reply::PublicKey(pair(one).public_key())),
        r#"{"public_key":"0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"}"#
    );
    assert_eq!(write(&Reply::Done), r#"{"ok":true}"#);
    assert_eq!(write(&Reply::SealedKey("a:b:c")), r#"{"alg":"secp256k1","sealed_key":"a:b:c"}"#);
}

#[test]
fn every_bad_field_is_listed_in_the_schemas_order() {
    let sign = |body: &str| refusal(SignRequest::parse(&mut body.as_bytes().to_vec(), &SEED));
    assert_eq!(
        sign(r#"{"ticket":7,"digest":"0X","identity_id":"x"}"#),
        errors(
            r#"{"formErrors":[],"fieldErrors":{"identity_id":["Invalid UUID"],"digest":["Invalid string: must match pattern /^([a-fA-F0-9]{64}|0x[a-fA-F0-9]{64})$/"],"ticket":["Invalid input: expected string, received number"]}}"#
        )
    );
    assert_eq!(
        sign(r#"{"identity_id":"00000000-0000-0000-0000-000000000000","digest":null}"#),
        errors(
            r#"{"formErrors":[],"fieldErrors":{"digest":["Invalid input: expected string, received null"],"ticket":["Invalid input: expected string, received undefined"]}}"#
        )
    );
    let import = |body: &str| refusal(ImportRequest::parse(&mut body.as_bytes().to_vec(), &SEED));
    assert_eq!(
        import(r#"{"sealed_key":""}"#),
        errors(
            r#"{"formErrors":[],"fieldErrors":{"identity_id":["Invalid input: expected string, received undefined"],"alg":["Invalid input: expected \"secp256k1\""],"sealed_key":["Too small: expected string to have >=1 characters"]}}"#
        )
    );
    let generate = |body: &str| refusal(GenerateRequest::parse(&mut body.as_bytes().to_vec(), &SEED));
    assert_eq!(
        generate(r#"{"alg":"SECP256K1","identity_id":[]}"#),
        errors(
            r#"{"formErrors":[],"fieldErrors":{"identity_id":["Invalid input: expected string, received array"],"alg":["Invalid input: expected \"secp256k1\""]}}"#
        )
    );
}

#[test]
fn a_nonce_is_read_when_it_is_there() {
    let identity = r#""identity_id":"00000000-0000-0000-0000-000000000000""#;
    let attest = |more: &str| {
        AttestRequest::parse(&mut format!("{{{identity}{more}}}").into_bytes(), &SEED)
            .map(|request| request.nonce.map(|nonce| nonce.as_bytes().to_vec()))
    };
    assert_eq!(attest(""), Ok(None));
    assert_eq!(attest(r#","nonce":"00fF""#), Ok(Some(vec![0, 0xFF])));
    assert_eq!(attest(r#","nonce":"Zm9v""#), Ok(Some(b"foo".to_vec())));
    assert_eq!(attest(r#","nonce":"\u005a\u006D9v""#), Ok(Some(b"foo".to_vec())), "escapes are JSON's");
    assert_eq!(attest(&format!(r#","nonce":"{}""#, "ab".repeat(512))), Ok(Some(vec![0xAB; 512])));

    let longest = "ab".repeat(513);
    for nonce in ["", "0", "Zg==", "+/8", "00 ", "\u{e9}", "\\ud800", &longest] {
        assert_eq!(
            refusal(attest(&format!(r#","nonce":"{nonce}""#))),
            errors(
                r#"{"formErrors":[],"fieldErrors":{"nonce":["Invalid string: must be hex or base64url, 1 to 512 bytes"]}}"#
            ),
            "{nonce}"
        );
    }
    for (nonce, kind) in
        [("null", "null"), ("7", "number"), ("[]", "array"), ("{}", "object"), ("true", "boolean")]
    {
        assert_eq!(
            refusal(attest(&format!(r#","nonce":{nonce}"#))),
            errors(&format!(
                r#"{{"formErrors":[],"fieldErrors":{{"nonce":["Invalid input: expected string, received {kind}"]}}}}"#
            ))
        );
    }
    assert_eq!(refusal(attest(r#","nonce":"00","nonce":"00""#)), r#"{"error":"Invalid JSON body"}"#);
    assert_eq!(
        refusal(AttestRequest::parse(&mut br#"{"nonce":""}"#.to_vec(), &SEED)),
        errors(
            r#"{"formErrors":[],"fieldErrors":{"identity_id":["Invalid input: expected string, received undefined"],"nonce":["Invalid string: must be hex or base64url, 1 to 512 bytes"]}}"#
        )
    );
}

#[test]
fn a_body_that_is_no_object_is_a_form_error() {
    for (body, kind) in
        [("[]", "array"), ("null", "null"), ("\"x\"", "string"), ("1", "number"), ("true", "boolean")]
    {
        assert_eq!(
            refusal(IdentityRequest::parse(&mut body.as_bytes().to_vec(), &SEED)),
            errors(&format!(
                r#"{{"formErrors":["Invalid input: expected object, received {kind}"],"fieldErrors":{{}}}}"#
            ))
        );
    }
}

#[test]
fn ticket_lengths_are_utf16() {
    let identity = "00000000-0000-0000-0000-000000000000";
    let digest = "00".repeat(32);
    for (unit, count, error) in [
        ("a", 31, Some("Too small: expected string to have >=32 characters")),
        ("a", 32, None),
        ("\u{1f600}", 15, Some("Too small: expected string to have >=32 characters")),
        ("\u{1f600}", 16, None),
        ("a", 4096, None),
        ("\u{20ac}", 4096, None),
        ("a", 4097, Some("Too big: expected string to have <=4096 characters")),
        ("\u{1f600}", 2049, Some("Too big: expected string to have <=4096 characters")),
    ] {
        let ticket = unit.repeat(count);
        let body = format!(r#"{{"identity_id":"{identity}","digest":"{digest}","ticket":"{ticket}"}}"#);
        let mut body = body.into_bytes();
        let parsed = SignRequest::parse(&mut body, &SEED);
        match error {
            None => assert!(parsed.is_ok(), "{unit} {count}"),
            Some(error) => assert_eq!(
                refusal(parsed),
                errors(&format!(r#"{{"formErrors":[],"fieldErrors":{{"ticket":["{error}"]}}}}"#))
            ),
        }
    }
}

#[test]
fn the_longest_refusal_fits_and_a_short_buffer_is_an_error() {
    let body = &mut br#"{"digest":"","ticket":"x"}"#.to_vec();
    let refusal = SignRequest::parse(body, &SEED).unwrap_err();
    let reply = Reply::Refused(&refusal);
    let length = write(&reply).len();
    assert_eq!(length, 293, "what MAX_REPLY_BYTES tells of");
    for short in 0..length {
        assert_eq!(reply.write(&mut vec![0; short]), Err(BufferTooSmall), "{short}");
    }
    assert_eq!(reply.write(&mut vec![0; length]).unwrap().len(), length);
}
