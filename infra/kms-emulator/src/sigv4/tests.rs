//! AWS's signing test suite (github.com/awslabs/aws-c-auth, as in the crate aws-sigv4), as far as KMS could see
//! such requests, and requests of our own that bend one thing.

use hyper::http::Request;
use time::macros::datetime;

use super::*;
use crate::credentials::Session;

const SUITE: [(&str, &str); 12] = [
    ("get-vanilla", include_str!("../../tests/data/sigv4/get-vanilla.txt")),
    (
        "get-vanilla-with-session-token",
        include_str!("../../tests/data/sigv4/get-vanilla-with-session-token.txt"),
    ),
    ("get-header-key-duplicate", include_str!("../../tests/data/sigv4/get-header-key-duplicate.txt")),
    ("get-header-value-order", include_str!("../../tests/data/sigv4/get-header-value-order.txt")),
    ("get-header-value-trim", include_str!("../../tests/data/sigv4/get-header-value-trim.txt")),
    ("post-header-key-case", include_str!("../../tests/data/sigv4/post-header-key-case.txt")),
    ("post-header-key-sort", include_str!("../../tests/data/sigv4/post-header-key-sort.txt")),
    ("post-header-value-case", include_str!("../../tests/data/sigv4/post-header-value-case.txt")),
    ("post-sts-header-before", include_str!("../../tests/data/sigv4/post-sts-header-before.txt")),
    ("post-vanilla", include_str!("../../tests/data/sigv4/post-vanilla.txt")),
    ("post-x-www-form-urlencoded", include_str!("../../tests/data/sigv4/post-x-www-form-urlencoded.txt")),
    (
        "post-x-www-form-urlencoded-parameters",
        include_str!("../../tests/data/sigv4/post-x-www-form-urlencoded-parameters.txt"),
    ),
];

const SUITE_SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// Reads an HTTP request as text.
fn request(text: &str) -> (Parts, Vec<u8>) {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().split(' ');
    let mut builder = Request::builder().method(first.next().unwrap()).uri(first.next().unwrap());
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        builder = builder.header(name, value.trim());
    }
    (builder.body(()).unwrap().into_parts().0, body.as_bytes().to_vec())
}

#[test]
fn signatures_are_those_of_the_test_suite_of_aws() {
    for (name, text) in SUITE {
        let (parts, body) = request(text);
        let authorization = Authorization::parse(header(&parts, "authorization").unwrap()).unwrap();
        let time = header(&parts, "x-amz-date").unwrap();
        let expected = signature(&parts, &body, &authorization, time, SUITE_SECRET).unwrap();
        assert_eq!(expected, authorization.signature, "{name}");
        let mut other_body = body.clone();
        other_body.push(b'.');
        let other = signature(&parts, &other_body, &authorization, time, SUITE_SECRET).unwrap_or_default();
        assert_ne!(other, authorization.signature, "{name} with another body");
    }
}

const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);

/// A store with one permanent and one temporary access key.
fn store() -> CredentialStore {
    let store = CredentialStore::default();
    for (id, session) in [
        ("AKIAPERMANENT", None),
        (
            "ASIATEMPORARY",
            Some(Session { token: "the-token".into(), issued_at: NOW, expires_at: NOW + Duration::hours(1) }),
        ),
    ] {
        store.add(Arc::new(Credentials {
            access_key_id: id.into(),
            secret_access_key: "secret".into(),
            session,
            principal: "arn:aws:iam::111122223333:role/signer".parse().unwrap(),
        }));
    }
    store
}

struct Sent {
    access_key_id: &'static str,
    token: Option<&'static str>,
    date: &'static str,
    scope: &'static str,
    signed_headers: &'static str,
    secret: &'static str,
}

const GOOD: Sent = Sent {
    access_key_id: "AKIAPERMANENT",
    token: None,
    date: "20260102T030405Z",
    scope: "20260102/eu-central-1/kms/aws4_request",
    signed_headers: "content-type;host;x-amz-date;x-amz-target",
    secret: "secret",
};

fn answer(sent: &Sent, now: OffsetDateTime) -> Result<String, (&'static str, String)> {
    let body = b"{}";
    let text = format!(
        "POST / HTTP/1.1\nHost:kms\nContent-Type:application/x-amz-json-1.1\nX-Amz-Date:{}\n\
         X-Amz-Target:TrentService.Decrypt\n{}Authorization:AWS4-HMAC-SHA256 Credential={}/{}, \
         SignedHeaders={}, Signature=@",
        sent.date,
        sent.token.map(|token| format!("X-Amz-Security-Token:{token}\n")).unwrap_or_default(),
        sent.access_key_id,
        sent.scope,
        sent.signed_headers
    );
    let (parts, _) = request(&text);
    let authorization = Authorization::parse(header(&parts, "authorization").unwrap()).unwrap();
    let signature = signature(&parts, body, &authorization, sent.date, sent.secret).unwrap();
    let (parts, _) = request(&text.replace('@', &signature));
    authenticate(&parts, body, "eu-central-1", &store(), (now, now))
        .map(|credentials| credentials.access_key_id.clone())
        .map_err(|error| (error.kind().name(), error.message().to_owned()))
}

fn refused(sent: Sent, now: OffsetDateTime, kind: &str, message: &str) {
    let (found_kind, found_message) = answer(&sent, now).unwrap_err();
    assert_eq!(found_kind, kind);
    assert!(found_message.contains(message), "{found_message}");
}

#[test]
fn who_signed_is_found() {
    assert_eq!(answer(&GOOD, NOW).unwrap(), "AKIAPERMANENT");
    let temporary = Sent {
        access_key_id: "ASIATEMPORARY",
        token: Some("the-token"),
        signed_headers: "host;x-amz-date;x-amz-security-token;x-amz-target",
        ..GOOD
    };
    assert_eq!(answer(&temporary, NOW).unwrap(), "ASIATEMPORARY");
}

#[test]
fn wrong_keys_are_told_apart_as_aws_tells_them() {
    refused(
        Sent { secret: "other", ..GOOD },
        NOW,
        "InvalidSignatureException",
        "does not match the signature",
    );
    refused(
        Sent { access_key_id: "AKIAOTHER", ..GOOD },
        NOW,
        "UnrecognizedClientException",
        "token included",
    );
}

#[test]
fn a_temporary_key_needs_its_token_in_time() {
    let sent = |token, signed_headers| Sent { access_key_id: "ASIATEMPORARY", token, signed_headers, ..GOOD };
    let with_token = "host;x-amz-date;x-amz-security-token;x-amz-target";
    refused(sent(None, GOOD.signed_headers), NOW, "UnrecognizedClientException", "invalid");
    refused(sent(Some("another"), with_token), NOW, "UnrecognizedClientException", "invalid");
    refused(
        sent(Some("the-token"), GOOD.signed_headers),
        NOW,
        "InvalidSignatureException",
        "x-amz-security-token",
    );
    let late = Sent { date: "20260102T040405Z", ..sent(Some("the-token"), with_token) };
    refused(late, NOW + Duration::hours(1), "ExpiredTokenException", "expired");
    // A token that the key does not have is no better than a wrong one.
    let surplus = Sent { token: Some("the-token"), signed_headers: with_token, ..GOOD };
    refused(surplus, NOW, "UnrecognizedClientException", "invalid");
}

#[test]
fn a_signature_is_good_for_five_minutes_either_way() {
    let second = Duration::seconds(1);
    assert!(answer(&GOOD, NOW + SKEW).is_ok());
    assert!(answer(&GOOD, NOW - SKEW).is_ok());
    refused(
        GOOD,
        NOW + SKEW + second,
        "InvalidSignatureException",
        "Signature expired: 20260102T030405Z is now earlier than 20260102T030406Z (20260102T030906Z - 5 min.)",
    );
    refused(
        GOOD,
        NOW - SKEW - second,
        "InvalidSignatureException",
        "Signature not yet current: 20260102T030405Z is still later than 20260102T030404Z (20260102T025904Z + 5 min.)",
    );
}

#[test]
fn what_must_be_signed_is_signed() {
    for (signed_headers, missing) in [
        ("x-amz-date;x-amz-target", "'host'"),
        ("host;x-amz-target", "'x-amz-date'"),
        ("host;x-amz-date", "'x-amz-target'"),
    ] {
        refused(Sent { signed_headers, ..GOOD }, NOW, "InvalidSignatureException", missing);
    }
}

#[test]
fn the_scope_is_that_of_the_request() {
    for (scope, message) in [
        ("20260102/us-east-1/kms/aws4_request", "valid region, not 'us-east-1'"),
        ("20260102/eu-central-1/sts/aws4_request", "correct service: 'kms'"),
        ("20260101/eu-central-1/kms/aws4_request", "'20260101' != '20260102'"),
        ("2026/eu-central-1/kms/aws4_request", "'2026' != '20260102'"),
    ] {
        refused(Sent { scope, ..GOOD }, NOW, "InvalidSignatureException", message);
    }
}

#[test]
fn half_a_header_is_incomplete() {
    for header in [
        "Basic abc",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, SignedHeaders=host",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, Signature=00",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d, SignedHeaders=host, Signature=00",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, SignedHeaders=host, Signature=00, Signature=01",
    ] {
        let error = Authorization::parse(header).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IncompleteSignature, "{header}");
    }
    let (parts, body) = request("POST / HTTP/1.1\nHost:kms");
    let unsigned = authenticate(&parts, &body, "eu-central-1", &store(), (NOW, NOW)).unwrap_err();
    assert_eq!(unsigned.kind(), ErrorKind::MissingAuthenticationToken);
}
