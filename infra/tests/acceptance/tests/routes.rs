//! `docs/api.md`, "1. Routes": what each request answers when all is well.

use acceptance::bip340::{self, x_only};
use acceptance::contract::{HEALTHY, KEY_NOT_FOUND, OK};
use acceptance::failure::ensure;
use acceptance::raw_http::has_json_headers;
use acceptance::signer::new_identity;
use acceptance::{Failure, Request, Rows, Server, Ticket};

#[test]
fn health_needs_no_key_and_ignores_its_query() {
    let server = Server::any();
    let mut rows = Rows::new("Routes, GET /health");
    let health = Request::new("GET", "/health");
    for (row, request) in [
        ("plain", health.clone()),
        ("a query", health.clone().target("/health?probe=1")),
        ("an empty query", health.clone().target("/health?")),
        ("a query that looks like a path", health.clone().target("/health?/internal/sign")),
        ("a wrong key", health.clone().header("x-internal-api-key", "wrong")),
        ("the key", health.header("x-internal-api-key", server.api_key())),
    ] {
        rows.check(row, server.send(&request).is(200, HEALTHY));
    }
    rows.finish();
}

#[test]
fn head_health_is_get_health_without_the_body() {
    let server = Server::any();
    let mut rows = Rows::new("Routes, HEAD /health");
    for target in ["/health", "/health?probe=1"] {
        let exchange = server.send(&Request::new("HEAD", target));
        rows.check(
            target,
            exchange.response().and_then(|response| {
                ensure(response.status == 200, || format!("status {}", response.status))?;
                ensure(
                    response.header("content-length").is_none_or(|l| l == HEALTHY.len().to_string()),
                    || "a content-length that is not that of GET".to_owned(),
                )?;
                has_json_headers(response)
            }),
        );
        // A body would be the start of the next answer.
        let next = exchange.into_connection().map(|mut connection| {
            connection.send(Request::new("GET", "/health").bytes())?;
            let response = connection.receive()?;
            ensure(response.text() == HEALTHY, || format!("then {}", response.text()))
        });
        rows.check(format!("{target}, then GET"), next.unwrap_or_else(|| server.is_well()));
    }
    rows.finish();
}

#[test]
fn a_key_lives_as_the_client_uses_it() -> Result<(), Failure> {
    let server = Server::any();
    let mut signer = server.signer();
    let identity = new_identity();
    let public_key = signer.generated(&identity)?;
    signer.signs_under(&identity, x_only(&public_key))?;
    let sealed_key = signer.exported(&identity)?;
    ensure(
        !sealed_key.is_empty() && sealed_key.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\'),
        || format!("sealed_key {sealed_key:?}"),
    )?;
    signer.signs_under(&identity, x_only(&public_key))?;
    signer.destroy(&identity).is(200, OK)?;

    // "Key not loaded": the client imports the backup and sends the same ticket again.
    let digest = rand::random();
    let ticket = signer.ticket(&identity, &digest);
    let refused = signer.sign(&identity, &hex::encode(digest), &ticket);
    refused.is_error(404, KEY_NOT_FOUND)?;
    signer.import(&identity, &sealed_key).is(200, OK)?;
    let signature = signer.signed(&identity, &digest, &ticket)?;
    bip340::verify(&signature, &digest, x_only(&public_key))
}

#[test]
fn a_digest_may_be_written_in_any_form_the_schema_takes() -> Result<(), Failure> {
    let server = Server::any();
    let mut signer = server.signer();
    let identity = new_identity();
    let public_key = signer.generated(&identity)?;
    let digest: [u8; 32] = rand::random();
    let mut rows = Rows::new("Routes, POST /internal/sign, forms of the digest");
    for (row, text) in [
        ("lower case", hex::encode(digest)),
        ("upper case", hex::encode_upper(digest)),
        ("0x", format!("0x{}", hex::encode(digest))),
        ("0x, upper case", format!("0x{}", hex::encode_upper(digest))),
    ] {
        let ticket = signer.ticket(&identity, &digest);
        let exchange = signer.sign(&identity, &text, &ticket);
        rows.check(
            row,
            exchange.response().and_then(|response| {
                exchange.is(200, &response.text())?;
                bip340::verify(&response.member("signature")?, &digest, x_only(&public_key))
            }),
        );
    }
    rows.finish();
    Ok(())
}

#[test]
fn every_public_key_is_that_of_the_key_that_signs() -> Result<(), Failure> {
    let server = Server::any();
    let mut signer = server.signer();
    let mut rows = Rows::new("Routes, POST /internal/generate, both parities");
    let mut prefixes = Vec::new();
    for n in 0..24 {
        let identity = new_identity();
        let public_key = signer.generated(&identity)?;
        prefixes.push(public_key[..2].to_owned());
        rows.check(format!("key {n}, {public_key}"), signer.signs_under(&identity, x_only(&public_key)));
        signer.destroyed(&identity)?;
    }
    for prefix in ["02", "03"] {
        let seen = prefixes.iter().any(|p| p == prefix);
        rows.check(format!("a key with {prefix}"), ensure(seen, || "24 keys, and none".to_owned()));
    }
    rows.finish();
    Ok(())
}

#[test]
fn header_names_are_read_in_any_case_and_extra_ones_ignored() {
    let server = Server::any();
    let body = || format!(r#"{{"identity_id":"{}","alg":"secp256k1"}}"#, new_identity());
    let post = || Request::post("/internal/generate", server.api_key(), body());
    let mut rows = Rows::new("Routes, headers of a good request");
    for (row, request) in [
        ("an extra api-key header", post().header("api-key", "anything")),
        (
            "upper-case key header",
            post().without("x-internal-api-key").header("X-INTERNAL-API-KEY", server.api_key()),
        ),
        (
            "upper-case content-type",
            post().without("content-type").header("CONTENT-TYPE", "application/json"),
        ),
        (
            "space around the key",
            post()
                .without("x-internal-api-key")
                .header("x-internal-api-key", &format!(" \t{} ", server.api_key())),
        ),
        (
            "a forwarded request",
            post()
                .header("x-forwarded-for", "203.0.113.9")
                .header("forwarded", "for=203.0.113.9")
                .header("via", "1.1 edge"),
        ),
        ("a cookie and an origin", post().header("cookie", "a=b").header("origin", "https://example.com")),
        ("a query", post().target("/internal/generate?x=1")),
    ] {
        let exchange = server.send(&request);
        rows.check(
            row,
            exchange.response().and_then(|response| {
                exchange.is(
                    201,
                    &format!(r#"{{"public_key":"{}"}}"#, response.member("public_key").unwrap_or_default()),
                )
            }),
        );
    }
    rows.finish();
}

#[test]
fn no_cross_origin_header_is_ever_sent() -> Result<(), Failure> {
    let server = Server::any();
    let request = Request::new("GET", "/health").header("origin", "https://example.com");
    let exchange = server.send(&request);
    let response = exchange.response()?;
    let granted = response.headers.iter().find(|(name, _)| name.starts_with("access-control-"));
    ensure(granted.is_none(), || format!("{granted:?}"))
}

#[test]
fn tickets_as_the_api_mints_them_are_taken() -> Result<(), Failure> {
    let server = Server::any();
    let mut signer = server.signer();
    let identity = new_identity();
    signer.generated(&identity)?;
    let digest = rand::random();
    let ticket = Ticket::new(&identity, &digest)
        .header(r#"{"alg":"HS256","typ":"JWT"}"#)
        .text("sub", "user")
        .text("jti", "1")
        .claim("iat", &acceptance::ticket::now_s().to_string())
        .mint(signer.secret());
    signer.signed(&identity, &digest, &ticket)?;
    Ok(())
}
