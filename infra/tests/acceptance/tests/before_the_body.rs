//! `docs/api.md`, "4. Order of checks before the body": heads, in the order in which they are refused.

use std::collections::BTreeSet;
use std::time::Duration;

use acceptance::contract::{
    CONTENT_ENCODING, CONTENT_TYPE, HEALTHY, KEY_NOT_FOUND, MAX_BODY_BYTES, MAX_HEAD_BYTES, MAX_HEADERS,
    METHOD_NOT_ALLOWED, NOT_FOUND, ROUTES, TOO_LARGE, UNAUTHORIZED,
};
use acceptance::failure::{ensure, fail};
use acceptance::raw_http::shown;
use acceptance::request::chunks;
use acceptance::signer::new_identity;
use acceptance::{Exchange, Failure, Request, Rows, Server};

fn generate_body(identity: &str) -> String {
    format!(r#"{{"identity_id":"{identity}","alg":"secp256k1"}}"#)
}

/// A good generate request for a fresh identity.
fn generate(server: &Server) -> Request {
    Request::post("/internal/generate", server.api_key(), generate_body(&new_identity()))
}

fn is_generated(exchange: &Exchange) -> Result<(), Failure> {
    let key = exchange.response()?.member("public_key").unwrap_or_default();
    exchange.is(201, &format!(r#"{{"public_key":"{key}"}}"#))
}

/// A `GET /health` whose request line and headers are exactly `length` bytes.
fn health_head_of(length: usize) -> Vec<u8> {
    let request = |padding: &str| Request::new("GET", "/health").header("x-padding", padding).head();
    let bare = request("a").len() - 1;
    request(&"a".repeat(length - bare))
}

#[test]
fn a_head_too_large_is_431() {
    let server = Server::any();
    let mut rows = Rows::new("Before the body, 431");
    let accepted = server.raw(health_head_of(MAX_HEAD_BYTES));
    rows.check("a head of exactly 16 KiB works", accepted.is(200, HEALTHY));

    let padded = |target: &str, padding: usize| {
        Request::new("GET", target).header("x-padding", &"a".repeat(padding)).head()
    };
    let many = |count: usize| {
        let plain = Request::new("GET", "/health");
        (1..count).fold(plain, |request, n| request.header(&format!("x-{n}"), "a"))
    };
    let exactly = server.send(&many(MAX_HEADERS));
    rows.check("exactly 100 headers work", exactly.is(200, HEALTHY));
    let mut late_fault = padded("/health", MAX_HEAD_BYTES);
    late_fault.truncate(late_fault.len() - 2);
    late_fault.extend_from_slice(b"bad : header\r\n\r\n");
    for (row, bytes) in [
        ("16 KiB and one byte", health_head_of(MAX_HEAD_BYTES + 1)),
        ("101 headers", many(MAX_HEADERS + 1).head()),
        ("1,000 headers", many(1000).head()),
        ("a target of 17,000 bytes", Request::new("GET", &format!("/health?{}", "a".repeat(17_000))).head()),
        ("a target of 70,000 bytes", Request::new("GET", &format!("/health?{}", "a".repeat(70_000))).head()),
        ("a method of 17,000 bytes", Request::new(&"A".repeat(17_000), "/health").head()),
        (
            "a header name of 17,000 bytes",
            Request::new("GET", "/health").header(&"a".repeat(17_000), "b").head(),
        ),
        ("one header line of 1 MiB", padded("/health", 1 << 20)),
        ("headers that do not end, 20,000 bytes", padded("/health", 20_000)[..20_000].to_vec()),
        (
            "a request line that does not end, 20,000 bytes",
            format!("GET /{}", "a".repeat(20_000)).into_bytes(),
        ),
        ("400 only after 16 KiB", late_fault),
        ("before 401", padded("/internal/sign", MAX_HEAD_BYTES)),
        (
            "before 404",
            Request::new("GET", "/none")
                .header("x-internal-api-key", server.api_key())
                .header("x-padding", &"a".repeat(MAX_HEAD_BYTES))
                .head(),
        ),
        (
            "before 413",
            generate(&server)
                .without("content-length")
                .header("content-length", "99999")
                .header("x-padding", &"a".repeat(MAX_HEAD_BYTES))
                .head(),
        ),
    ] {
        rows.check(row, server.raw(bytes).is_refused_unread(431));
    }
    rows.check("the server is well", server.is_well());
    rows.finish();
}

/// Heads that break row 2 of `docs/api.md`, "4. Order of checks before the body". `{}` is not used: each is sent as it
/// is.
const MALFORMED: &[(&str, &[u8])] = &[
    ("bare LF after the request line", b"GET /health HTTP/1.1\nHost: signer\r\n\r\n"),
    ("bare LF after a header", b"GET /health HTTP/1.1\r\nHost: signer\n\r\n"),
    ("bare LF between headers", b"GET /health HTTP/1.1\r\nHost: signer\nX-A: b\r\n\r\n"),
    ("bare LF as the blank line", b"GET /health HTTP/1.1\r\nHost: signer\r\n\n"),
    ("bare LF everywhere", b"GET /health HTTP/1.1\nHost: signer\n\n"),
    ("bare LF before the request line", b"\nGET /health HTTP/1.1\r\nHost: signer\r\n\r\n"),
    ("bare CR after the request line", b"GET /health HTTP/1.1\rHost: signer\r\n\r\n"),
    ("bare CR after a header", b"GET /health HTTP/1.1\r\nHost: signer\rX-A: b\r\n\r\n"),
    ("bare CR in a value", b"GET /health HTTP/1.1\r\nHost: signer\r\nX-A: a\rb\r\n\r\n"),
    ("CR CR LF", b"GET /health HTTP/1.1\r\nHost: signer\r\nX-A: a\r\r\n\r\n"),
    ("obs-fold with a space", b"GET /health HTTP/1.1\r\nHost: signer\r\nX-A: a\r\n b\r\n\r\n"),
    ("obs-fold with a tab", b"GET /health HTTP/1.1\r\nHost: signer\r\nX-A: a\r\n\tb\r\n\r\n"),
    ("obs-fold that holds a header", b"GET /health HTTP/1.1\r\nHost: signer\r\nX-A: a\r\n X-B: b\r\n\r\n"),
    ("obs-fold of nothing", b"GET /health HTTP/1.1\r\nHost: signer\r\nX-A: a\r\n \r\n\r\n"),
    ("space before the first header", b"GET /health HTTP/1.1\r\n Host: signer\r\n\r\n"),
    ("space before the colon", b"GET /health HTTP/1.1\r\nHost: signer\r\nX-A : b\r\n\r\n"),
    ("tab before the colon", b"GET /health HTTP/1.1\r\nHost: signer\r\nX-A\t: b\r\n\r\n"),
    ("space before the colon of host", b"GET /health HTTP/1.1\r\nHost : signer\r\n\r\n"),
    ("space in a name", b"GET /health HTTP/1.1\r\nHost: signer\r\nX A: b\r\n\r\n"),
    ("an empty name", b"GET /health HTTP/1.1\r\nHost: signer\r\n: b\r\n\r\n"),
    ("no colon", b"GET /health HTTP/1.1\r\nHost: signer\r\nnothing\r\n\r\n"),
    ("parentheses in a name", b"GET /health HTTP/1.1\r\nHost: signer\r\nX(A): b\r\n\r\n"),
    ("a quote in a name", b"GET /health HTTP/1.1\r\nHost: signer\r\nX\"A: b\r\n\r\n"),
    ("UTF-8 in a name", b"GET /health HTTP/1.1\r\nHost: signer\r\nX\xc3\xa9: b\r\n\r\n"),
    ("NUL in a name", b"GET /health HTTP/1.1\r\nHost: signer\r\nX\0A: b\r\n\r\n"),
    ("NUL in a value", b"GET /health HTTP/1.1\r\nHost: signer\r\nX-A: a\0b\r\n\r\n"),
    ("NUL in the target", b"GET /health?\0 HTTP/1.1\r\nHost: signer\r\n\r\n"),
    ("NUL in the method", b"G\0ET /health HTTP/1.1\r\nHost: signer\r\n\r\n"),
    ("0x01 in a name", b"GET /health HTTP/1.1\r\nHost: signer\r\nX\x01A: b\r\n\r\n"),
    ("0x01 in a value", b"GET /health HTTP/1.1\r\nHost: signer\r\nX-A: a\x01b\r\n\r\n"),
    ("0x01 in the target", b"GET /health?\x01 HTTP/1.1\r\nHost: signer\r\n\r\n"),
    ("0x0b in a value", b"GET /health HTTP/1.1\r\nHost: signer\r\nX-A: a\x0bb\r\n\r\n"),
    ("0x0c in a value", b"GET /health HTTP/1.1\r\nHost: signer\r\nX-A: a\x0cb\r\n\r\n"),
    ("0x1b in a value", b"GET /health HTTP/1.1\r\nHost: signer\r\nX-A: a\x1bb\r\n\r\n"),
    ("0x7f in a name", b"GET /health HTTP/1.1\r\nHost: signer\r\nX\x7fA: b\r\n\r\n"),
    ("0x7f in a value", b"GET /health HTTP/1.1\r\nHost: signer\r\nX-A: a\x7fb\r\n\r\n"),
    ("0x7f in the target", b"GET /health?\x7f HTTP/1.1\r\nHost: signer\r\n\r\n"),
    ("space in the target", b"GET /hea lth HTTP/1.1\r\nHost: signer\r\n\r\n"),
    ("tab in the target", b"GET /hea\tlth HTTP/1.1\r\nHost: signer\r\n\r\n"),
    ("tabs in the request line", b"GET\t/health\tHTTP/1.1\r\nHost: signer\r\n\r\n"),
    ("two spaces before the target", b"GET  /health HTTP/1.1\r\nHost: signer\r\n\r\n"),
    ("two spaces before the version", b"GET /health  HTTP/1.1\r\nHost: signer\r\n\r\n"),
    ("a space after the version", b"GET /health HTTP/1.1 \r\nHost: signer\r\n\r\n"),
    ("a space before the method", b" GET /health HTTP/1.1\r\nHost: signer\r\n\r\n"),
    ("no method", b"/health HTTP/1.1\r\nHost: signer\r\n\r\n"),
    ("no target", b"GET HTTP/1.1\r\nHost: signer\r\n\r\n"),
    ("no host", b"GET /health HTTP/1.1\r\n\r\n"),
    ("no host, another header", b"GET /health HTTP/1.1\r\nX-A: b\r\n\r\n"),
    ("HTTP/1.2", b"GET /health HTTP/1.2\r\nHost: signer\r\n\r\n"),
    ("HTTP/2.0", b"GET /health HTTP/2.0\r\nHost: signer\r\n\r\n"),
    ("HTTP/0.9", b"GET /health HTTP/0.9\r\nHost: signer\r\n\r\n"),
    ("HTTP/3", b"GET /health HTTP/3\r\nHost: signer\r\n\r\n"),
    ("HTTP/1", b"GET /health HTTP/1\r\nHost: signer\r\n\r\n"),
    ("HTTP/1.", b"GET /health HTTP/1.\r\nHost: signer\r\n\r\n"),
    ("HTTP/1.10", b"GET /health HTTP/1.10\r\nHost: signer\r\n\r\n"),
    ("HTTP/01.1", b"GET /health HTTP/01.1\r\nHost: signer\r\n\r\n"),
    ("HTTP/1,1", b"GET /health HTTP/1,1\r\nHost: signer\r\n\r\n"),
    ("HTTP 1.1", b"GET /health HTTP 1.1\r\nHost: signer\r\n\r\n"),
    ("http/1.1", b"GET /health http/1.1\r\nHost: signer\r\n\r\n"),
    ("ICY/1.1", b"GET /health ICY/1.1\r\nHost: signer\r\n\r\n"),
    ("no version", b"GET /health\r\nHost: signer\r\n\r\n"),
    ("HTTP/0.9 form", b"GET /health\r\n\r\n"),
    ("the HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("the HTTP/2 preface and SETTINGS", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
    ("words", b"hello signer\r\n\r\n"),
    ("JSON", b"{\"identity_id\":\"x\"}\r\n\r\n"),
    ("an SSH client", b"SSH-2.0-OpenSSH_9.6\r\n"),
    (
        "a PROXY line",
        b"PROXY TCP4 203.0.113.9 203.0.113.1 40000 7001\r\nGET /health HTTP/1.1\r\nHost: signer\r\n\r\n",
    ),
    (
        "a TLS ClientHello",
        b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03\
        0123456789abcdef0123456789abcdef\x00\x00\x04\x13\x01\x13\x02\x01\x00",
    ),
    ("NULs", b"\0\0\0\0\0\0\0\0\r\n\r\n"),
    ("high bytes", b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\r\n\r\n"),
    ("400 before 401 and 404", b"GET /none HTTP/1.1\nHost: signer\r\n\r\n"),
    ("400 before 405", b"DELETE /health HTTP/1.1\r\nHost: signer\r\nX-A : b\r\n\r\n"),
];

#[test]
fn a_head_that_is_not_http_is_400() {
    let server = Server::any();
    let mut rows = Rows::new("Before the body, 400");
    for (row, bytes) in MALFORMED {
        rows.check(row, server.raw(bytes).is_refused_unread(400));
    }
    rows.check("the server is well", server.is_well());
    rows.finish();
}

/// Header lines that say how long the body is, wrongly.
const FRAMING: &[(&str, &str)] = &[
    ("length with a plus", "Content-Length: +2\r\n"),
    ("length below zero", "Content-Length: -1\r\n"),
    ("length as a list of equals", "Content-Length: 2,2\r\n"),
    ("length as a spaced list", "Content-Length: 2, 2\r\n"),
    ("length as a list of others", "Content-Length: 2,3\r\n"),
    ("length in hex", "Content-Length: 0x2\r\n"),
    ("length empty", "Content-Length:\r\n"),
    ("length of spaces", "Content-Length:   \r\n"),
    ("length with a space inside", "Content-Length: 2 2\r\n"),
    ("length with a fraction", "Content-Length: 2.0\r\n"),
    ("length with an exponent", "Content-Length: 2e0\r\n"),
    ("length with a semicolon", "Content-Length: 2;\r\n"),
    ("length in words", "Content-Length: two\r\n"),
    ("length twice, equal", "Content-Length: 2\r\nContent-Length: 2\r\n"),
    ("length twice, other", "Content-Length: 2\r\nContent-Length: 3\r\n"),
    ("length twice, one bad", "Content-Length: 2\r\nContent-Length: x\r\n"),
    ("length twice, another case", "Content-Length: 2\r\ncontent-LENGTH: 2\r\n"),
    ("length, then chunked", "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n"),
    ("chunked, then length", "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n"),
    ("chunked with length 0", "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"),
    ("gzip, chunked", "Transfer-Encoding: gzip, chunked\r\n"),
    ("chunked, gzip", "Transfer-Encoding: chunked, gzip\r\n"),
    ("chunked, chunked", "Transfer-Encoding: chunked, chunked\r\n"),
    ("chunked, identity", "Transfer-Encoding: chunked, identity\r\n"),
    ("gzip", "Transfer-Encoding: gzip\r\n"),
    ("identity", "Transfer-Encoding: identity\r\n"),
    ("identity with a length", "Transfer-Encoding: identity\r\nContent-Length: 2\r\n"),
    ("xchunked", "Transfer-Encoding: xchunked\r\n"),
    ("chunked with a parameter", "Transfer-Encoding: chunked;q=1\r\n"),
    ("quoted chunked", "Transfer-Encoding: \"chunked\"\r\n"),
    ("empty coding", "Transfer-Encoding:\r\n"),
    ("chunked, comma", "Transfer-Encoding: chunked,\r\n"),
    ("comma, chunked", "Transfer-Encoding: ,chunked\r\n"),
    ("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
    ("identity, then chunked", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"),
    ("chunked, then identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
    ("space before the colon of a coding", "Transfer-Encoding : chunked\r\n"),
    ("0x0b before chunked", "Transfer-Encoding: \x0bchunked\r\n"),
];

#[test]
fn a_body_of_doubtful_length_is_400_and_starts_no_second_request() {
    let server = Server::any();
    let mut rows = Rows::new("Before the body, 400, Content-Length and Transfer-Encoding");
    for (row, lines) in FRAMING {
        for (route, head) in [
            (
                "POST",
                format!(
                    "POST /internal/generate HTTP/1.1\r\nHost: signer\r\nContent-Type: application/json\r\n\
                 x-internal-api-key: {}\r\n{lines}\r\n",
                    server.api_key()
                ),
            ),
            ("GET", format!("GET /health HTTP/1.1\r\nHost: signer\r\n{lines}\r\n")),
        ] {
            let smuggled = "0\r\n\r\nGET /health HTTP/1.1\r\nHost: signer\r\n\r\n";
            let exchange = server.raw(format!("{head}{smuggled}"));
            rows.check(format!("{row}, {route}"), exchange.is_refused_unread(400));
        }
    }
    rows.check("the server is well", server.is_well());
    rows.finish();
}

#[test]
fn chunks_that_are_not_chunks_never_make_a_request() {
    let server = Server::any();
    let mut rows = Rows::new("Before the body, 400, chunks");
    let identity = new_identity();
    let body = generate_body(&identity);
    let (size, good) = (format!("{:x}", body.len()), chunks(body.as_bytes(), 1000));
    let long = "a".repeat(100_000);
    for (row, sent) in [
        ("bare LF after the size", format!("{size}\n{body}\r\n0\r\n\r\n")),
        ("bare LF after the data", format!("{size}\r\n{body}\n0\r\n\r\n")),
        ("bare LF after the last size", format!("{size}\r\n{body}\r\n0\n\r\n")),
        ("bare LF at the end", format!("{size}\r\n{body}\r\n0\r\n\n")),
        ("bare CR after the size", format!("{size}\r{body}\r\n0\r\n\r\n")),
        ("size not hex", format!("zz\r\n{body}\r\n0\r\n\r\n")),
        ("size with 0x", format!("0x{size}\r\n{body}\r\n0\r\n\r\n")),
        ("size with a plus", format!("+{size}\r\n{body}\r\n0\r\n\r\n")),
        ("size below zero", format!("-1\r\n{body}\r\n0\r\n\r\n")),
        ("size empty", format!("\r\n{body}\r\n0\r\n\r\n")),
        ("size too small", format!("1\r\n{body}\r\n0\r\n\r\n")),
        ("size past 64 bits", format!("1{}\r\n{body}\r\n0\r\n\r\n", "0".repeat(16))),
        ("size of 64 bits", format!("{}\r\n{long}", "f".repeat(16))),
        ("size of 32 bits", format!("ffffffff\r\n{long}")),
        ("no CRLF after the data", format!("{size}\r\n{body}0\r\n\r\n")),
        ("other bytes after the data", format!("{size}\r\n{body}XX0\r\n\r\n")),
        ("bare LF in an extension", format!("{size};a=\nb\r\n{body}\r\n0\r\n\r\n")),
        ("an extension of 100,000 bytes", format!("{size};{long}\r\n{body}\r\n0\r\n\r\n")),
        ("a trailer of 100,000 bytes", format!("{size}\r\n{body}\r\n0\r\nx-a: {long}\r\n\r\n")),
        ("10,000 trailers", format!("{size}\r\n{body}\r\n0\r\n{}\r\n", "x: y\r\n".repeat(10_000))),
        ("NUL in a size", format!("{size}\0\r\n{body}\r\n0\r\n\r\n")),
    ] {
        let head = generate(&server).without("content-length").header("transfer-encoding", "chunked");
        let bytes = [head.head(), sent.into_bytes()].concat();
        rows.check(row, refused_or_closed(&server, &bytes));
        let exported = server.post("/internal/backup/export", format!(r#"{{"identity_id":"{identity}"}}"#));
        rows.check(format!("{row}: nothing was done"), exported.is_error(404, KEY_NOT_FOUND));
    }
    let whole = generate(&server).without("content-length").header("transfer-encoding", "chunked");
    let accepted = server.raw([whole.head(), good].concat());
    rows.check("good chunks work", is_generated(&accepted));
    let tiny = server.send(&generate(&server).chunked(1));
    rows.check("chunks of one byte work", is_generated(&tiny));
    rows.finish();
}

/// `docs/api.md` gives malformed chunks no text: 400, 413 for a size, or just a closed connection.
fn refused_or_closed(server: &Server, bytes: &[u8]) -> Result<(), Failure> {
    let mut connection = server.connect()?;
    connection.send_what_it_takes(bytes);
    let mut answer = Vec::new();
    while let Some(more) = Some(connection.drain(Duration::from_secs(15))).filter(|m| !m.is_empty()) {
        answer.extend(more);
    }
    connection
        .closes_within(Duration::from_secs(1))
        .map_err(|why| Failure::new(format!("{why}\nsent {}\nreceived {}", shown(bytes), shown(&answer))))?;
    let text = String::from_utf8_lossy(&answer);
    let answers = text.matches("HTTP/1.1 ").count();
    let refused = text.starts_with("HTTP/1.1 400 ") || text.starts_with("HTTP/1.1 413 ");
    ensure(answer.is_empty() || (answers == 1 && refused), || {
        format!("not one 400, nor silence\nsent {}\nreceived {}", shown(bytes), shown(&answer))
    })
}

#[test]
fn http_1_0_works_and_closes_unless_asked_not_to() -> Result<(), Failure> {
    let server = Server::any();
    let mut rows = Rows::new("Before the body, HTTP/1.0");
    for (row, bytes) in [
        ("without host", "GET /health HTTP/1.0\r\n\r\n"),
        ("with host", "GET /health HTTP/1.0\r\nHost: signer\r\n\r\n"),
        ("asked to close", "GET /health HTTP/1.0\r\nConnection: close\r\n\r\n"),
    ] {
        let exchange = server.raw(bytes);
        rows.check(row, exchange.is(200, HEALTHY));
        let mut connection = exchange.into_connection().ok_or_else(|| Failure::new("not connected"))?;
        rows.check(format!("{row}: closes"), connection.closes_within(Duration::from_secs(5)));
    }
    let post = generate(&server).version("HTTP/1.0").without("host");
    rows.check("a POST", is_generated(&server.send(&post)));
    rows.check(
        "a POST without the key",
        server.send(&post.without("x-internal-api-key")).is_error(401, UNAUTHORIZED),
    );

    let kept = b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let first = server.raw(kept);
    rows.check("keep-alive, first", first.is(200, HEALTHY));
    rows.check("keep-alive is confirmed", first.has_header("connection", "keep-alive"));
    rows.check("keep-alive has a time", first.has_header("keep-alive", "timeout=75"));
    if let Some(connection) = first.into_connection() {
        rows.check("keep-alive, second", Exchange::on(connection, "GET", kept).is(200, HEALTHY));
    }
    let mut asked = server.raw("GET /health HTTP/1.1\r\nHost: signer\r\nConnection: close\r\n\r\n");
    rows.check("HTTP/1.1 closes when asked", asked.closes());
    rows.finish();
    Ok(())
}

#[test]
fn the_api_key_is_one_header_with_the_exact_value() {
    let server = Server::any();
    let key = server.api_key();
    let name = "x-internal-api-key";
    let body = || generate_body(&new_identity());
    let bare = || Request::post("/internal/generate", key, body()).without(name);
    let mut last_bent = key.to_owned();
    let last = if last_bent.pop() == Some('0') { '1' } else { '0' };
    last_bent.push(last);
    let mut rows = Rows::new("Before the body, 401");
    for (row, request) in [
        ("missing", bare()),
        ("wrong", bare().header(name, "wrong")),
        ("wrong in the last character", bare().header(name, &last_bent)),
        ("empty", bare().header(name, "")),
        ("one character short", bare().header(name, &key[..key.len() - 1])),
        ("one character long", bare().header(name, &format!("{key}x"))),
        ("twice in one value", bare().header(name, &format!("{key}, {key}"))),
        ("upper case", bare().header(name, &key.to_ascii_uppercase())),
        ("quoted", bare().header(name, &format!("\"{key}\""))),
        ("4 KiB long", bare().header(name, &"k".repeat(4096))),
        ("the right one twice", bare().header(name, key).header(name, key)),
        ("right, then wrong", bare().header(name, key).header(name, "wrong")),
        ("wrong, then right", bare().header(name, "wrong").header(name, key)),
        ("right, then empty", bare().header(name, key).header(name, "")),
        ("empty, then right", bare().header(name, "").header(name, key)),
        ("twice, in two cases", bare().header(name, key).header("X-Internal-Api-Key", key)),
        ("Bearer in it", bare().header(name, &format!("Bearer {key}"))),
        ("as Bearer", bare().header("authorization", &format!("Bearer {key}"))),
        ("as Basic", bare().header("authorization", &format!("Basic {key}"))),
        ("in api-key", bare().header("api-key", key)),
        ("in x-api-key", bare().header("x-api-key", key)),
        ("with an underscore", bare().header("x_internal_api_key", key)),
        ("in the query", bare().target(&format!("/internal/generate?x-internal-api-key={key}"))),
        ("in a cookie", bare().header("cookie", &format!("x-internal-api-key={key}"))),
    ] {
        rows.check(row, server.send(&request).is_error(401, UNAUTHORIZED));
    }
    for (path, _) in ROUTES {
        for method in ["POST", "GET", "OPTIONS"] {
            let request = Request::new(method, path);
            rows.check(
                format!("{method} {path} without it"),
                server.send(&request).is_error(401, UNAUTHORIZED),
            );
        }
    }
    rows.finish();
}

/// Paths that are near a known one.
const UNKNOWN_PATHS: &[&str] = &[
    "/",
    "/Health",
    "/HEALTH",
    "/health/",
    "/health/x",
    "//health",
    "/healthz",
    "/healt",
    "/%68ealth",
    "/health%3Fx",
    "/health;x",
    "/internal",
    "/internal/",
    "/internal/sign/",
    "/internal/sign//",
    "/internal//sign",
    "//internal/sign",
    "/Internal/sign",
    "/internal/Sign",
    "/INTERNAL/SIGN",
    "/internal/signx",
    "/internal/sig",
    "/internal/%73ign",
    "/internal%2Fsign",
    "/internal/sign%20",
    "/internal/sign%00",
    "/internal/sign;x=1",
    "/internal/./sign",
    "/internal/../internal/sign",
    "/x/../internal/sign",
    "/internal/attest/",
    "/internal/Attest",
    "/internal/attestation",
    "/internal/backup",
    "/internal/backup/",
    "/internal/backup/exports",
    "/internal/backup/export/",
    "/internal/import",
    "/internal/export",
    "/internal/health",
    "/backup/export",
    "/sign",
    "/metrics",
    "/favicon.ico",
    "/.well-known",
    "/.well-known/",
    "/internal/sign/?x=1",
];

#[test]
fn an_unknown_path_is_404_with_the_key_and_401_without() {
    let server = Server::any();
    let mut rows = Rows::new("Before the body, 404");
    for path in UNKNOWN_PATHS {
        for method in ["GET", "POST", "DELETE"] {
            let request = Request::new(method, path);
            let without = server.send(&request);
            rows.check(format!("{method} {path} without the key"), without.is_error(401, UNAUTHORIZED));
            let with = server.send(&request.header("x-internal-api-key", server.api_key()));
            rows.check(format!("{method} {path}"), with.is_error(404, NOT_FOUND));
        }
    }
    // These are no paths at all, so that both 400 and 404 keep to the exact match.
    for target in ["/internal/generate#x", "internal/generate", "*"] {
        let exchange = server.send(&generate(&server).target(target));
        rows.check(
            format!("{target}, no path"),
            exchange.response().and_then(|response| {
                ensure(matches!(response.status, 400 | 404), || format!("status {}", response.status))
            }),
        );
    }
    rows.finish();
}

#[test]
fn another_method_is_405_and_names_the_right_one() {
    let server = Server::any();
    let mut rows = Rows::new("Before the body, 405");
    let internal = ROUTES.map(|(path, _)| (path, BTreeSet::from(["POST"])));
    let health = [("/health", BTreeSet::from(["GET", "HEAD"]))];
    for (path, allowed) in internal.into_iter().chain(health) {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "post", "get"] {
            if allowed.contains(method) {
                continue;
            }
            let request = Request::new(method, path);
            let request = if path == "/health" {
                request
            } else {
                request.header("x-internal-api-key", server.api_key())
            };
            let exchange = server.send(&request);
            rows.check(format!("{method} {path}"), exchange.is_error(405, METHOD_NOT_ALLOWED));
            rows.check(
                format!("{method} {path}, allow"),
                exchange.response().and_then(|response| {
                    let said = response.header("allow").unwrap_or_default();
                    let said: BTreeSet<&str> = said.split(',').map(str::trim).collect();
                    ensure(said == allowed, || format!("allow is {said:?}, not {allowed:?}"))
                }),
            );
        }
    }
    let head = Request::new("HEAD", "/internal/sign").header("x-internal-api-key", server.api_key());
    rows.check(
        "HEAD /internal/sign",
        server
            .send(&head)
            .response()
            .and_then(|response| ensure(response.status == 405, || format!("status {}", response.status))),
    );
    rows.finish();
}

#[test]
fn a_body_over_the_limit_is_413_and_is_not_read() {
    let server = Server::any();
    let mut rows = Rows::new("Before the body, 413");
    let padded = |length: usize| {
        let body = generate_body(&new_identity());
        format!("{body}{}", " ".repeat(length - body.len()))
    };
    let post = |length: usize| Request::post("/internal/generate", server.api_key(), padded(length));
    for (row, request) in [
        ("exactly 32,768 bytes", post(MAX_BODY_BYTES)),
        ("exactly 32,768 bytes in one chunk", post(MAX_BODY_BYTES).chunked(MAX_BODY_BYTES)),
        ("exactly 32,768 bytes in chunks", post(MAX_BODY_BYTES).chunked(1000)),
    ] {
        rows.check(row, is_generated(&server.send(&request)));
    }
    let over = MAX_BODY_BYTES + 1;
    let announced =
        |length: &str| post(100).without("content-length").header("content-length", length).head();
    let unfinished = |length: usize| {
        let request = post(length).chunked(1000).bytes();
        request[..request.len() - b"\r\n0\r\n\r\n".len()].to_vec()
    };
    for (row, bytes) in [
        ("32,769 bytes", post(over).bytes()),
        ("1 MiB, all of it sent", post(1 << 20).bytes()),
        ("32,769 bytes announced, none sent", announced("32769")),
        ("4 GiB announced, none sent", announced("4294967296")),
        ("2^63 announced, none sent", announced("9223372036854775807")),
        ("32,769 bytes in chunks", post(over).chunked(1000).bytes()),
        ("32,769 bytes in one chunk", post(over).chunked(over).bytes()),
        ("32,769 bytes in chunks, no end", unfinished(over)),
        ("1 MiB in chunks, all of it sent", post(1 << 20).chunked(4096).bytes()),
        ("1 MiB in chunks of one byte, all of it sent", post(1 << 18).chunked(1).bytes()),
    ] {
        let mut exchange = server.raw(bytes);
        rows.check(row, exchange.is_error(413, TOO_LARGE));
        rows.check(format!("{row}: closes"), exchange.closes());
    }
    rows.check("the server is well", server.is_well());
    rows.finish();
}

#[test]
fn another_type_or_coding_of_the_body_is_415() {
    let server = Server::any();
    let mut rows = Rows::new("Before the body, 415");
    let typed =
        |content_type: &str| generate(&server).without("content-type").header("content-type", content_type);
    for content_type in [
        "application/json",
        "APPLICATION/JSON",
        "Application/Json",
        "application/json;charset=utf-8",
        "application/json; charset=utf-8",
        "application/json; charset=UTF-8",
        "application/json; CHARSET=utf-8",
        "application/json ; charset=utf-8",
        "application/json;  charset=utf-8",
    ] {
        rows.check(format!("{content_type} works"), is_generated(&server.send(&typed(content_type))));
    }
    for content_type in [
        "",
        "text/plain",
        "text/json",
        "application/jsonx",
        "application/jso",
        "application/json5",
        "application/x-json",
        "application/problem+json",
        "application/*",
        "*/*",
        "application",
        "json",
        "application/json, text/plain",
        "application/json, application/json",
        "text/plain; application/json",
        "application/json; charset=latin1",
        "application/json; charset=utf8",
        "application/json; charset=utf-16",
        "application/json; charset=",
        "application/json; boundary=x",
        "application/json; charset=utf-8; x=1",
        "application/json; x=1; charset=utf-8",
        "application/json charset=utf-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application / json",
    ] {
        let exchange = server.send(&typed(content_type));
        rows.check(format!("type {content_type:?}"), exchange.is_error(415, CONTENT_TYPE));
    }
    let twice = typed("application/json").header("content-type", "text/plain");
    rows.check("two types", server.send(&twice).is_error(415, CONTENT_TYPE));
    let none = generate(&server).without("content-type");
    rows.check("no type", server.send(&none).is_error(415, CONTENT_TYPE));

    for coding in ["identity", "Identity", "IDENTITY"] {
        let request = generate(&server).header("content-encoding", coding);
        rows.check(format!("coding {coding} works"), is_generated(&server.send(&request)));
    }
    for coding in [
        "gzip",
        "GZIP",
        "x-gzip",
        "deflate",
        "br",
        "zstd",
        "gzip, identity",
        "identity, gzip",
        "none",
        "utf-8",
    ] {
        let request = generate(&server).header("content-encoding", coding);
        let exchange = server.send(&request);
        rows.check(format!("coding {coding}"), exchange.is_error(415, CONTENT_ENCODING));
    }
    let twice = generate(&server).header("content-encoding", "identity").header("content-encoding", "gzip");
    rows.check("two codings", server.send(&twice).is_error(415, CONTENT_ENCODING));
    rows.finish();
}

/// The faults of a head in the order of `docs/api.md`, "4. Order of checks before the body", each with its answer.
const FAULTS: [(&str, u16, &str); 6] = [
    ("key", 401, UNAUTHORIZED),
    ("path", 404, NOT_FOUND),
    ("method", 405, METHOD_NOT_ALLOWED),
    ("length", 413, TOO_LARGE),
    ("type", 415, CONTENT_TYPE),
    ("coding", 415, CONTENT_ENCODING),
];

/// A request with the faults whose bit is set in `faults`. Its body is announced and never sent.
fn faulty(server: &Server, faults: usize) -> Request {
    let has = |name: &str| {
        let bit = FAULTS.iter().position(|(n, ..)| *n == name).expect("a fault of the table");
        faults & (1 << bit) != 0
    };
    let method = if has("method") { "PUT" } else { "POST" };
    let path = if has("path") { "/internal/none" } else { "/internal/destroy" };
    let mut request = Request::new(method, path);
    if !has("key") {
        request = request.header("x-internal-api-key", server.api_key());
    }
    let content_type = if has("type") { "text/plain" } else { "application/json" };
    request = request.header("content-type", content_type);
    if has("coding") {
        request = request.header("content-encoding", "gzip");
    }
    request.header("content-length", if has("length") { "32769" } else { "54" })
}

#[test]
fn of_several_faults_the_first_in_the_contract_answers() {
    let server = Server::any();
    let mut rows = Rows::new("Before the body, order");
    for faults in 1..1_usize << FAULTS.len() {
        let names: Vec<&str> = FAULTS
            .iter()
            .enumerate()
            .filter(|(bit, _)| faults & (1 << bit) != 0)
            .map(|(_, (name, ..))| *name)
            .collect();
        let (_, status, text) = FAULTS[usize::try_from(faults.trailing_zeros()).unwrap()];
        for expect in [false, true] {
            let plain = faulty(&server, faults);
            let request = if expect { plain.header("expect", "100-continue") } else { plain };
            let exchange = server.raw(request.head());
            let row = format!("{}{}", names.join(" + "), if expect { ", Expect" } else { "" });
            rows.check(row, exchange.is_error(status, text));
        }
    }
    rows.finish();
}

#[test]
fn a_100_is_sent_only_for_a_head_that_passes() -> Result<(), Failure> {
    let server = Server::any();
    let request = generate(&server).header("expect", "100-continue");
    let mut connection = server.connect()?;
    connection.send(request.head())?;
    let interim = connection.receive()?;
    ensure(interim.status == 100, || format!("a good head: status {}", interim.status))?;
    connection.send(&request.bytes()[request.head().len()..])?;
    let response = connection.receive()?;
    ensure(response.status == 201, || format!("then: status {}", response.status))?;

    let mut rows = Rows::new("Before the body, Expect: 100-continue");
    let expecting = |request: Request| request.header("expect", "100-continue");
    for (row, request, status) in [
        ("431", expecting(generate(&server).header("x-padding", &"a".repeat(MAX_HEAD_BYTES))), 431),
        ("400", expecting(generate(&server).without("host")), 400),
        ("400, length", expecting(generate(&server).header("content-length", "1")), 400),
    ] {
        rows.check(row, server.raw(request.head()).is_refused_unread(status));
    }
    for (row, mixed) in [("mixed case", "100-Continue"), ("plain", "100-continue")] {
        let request = Request::new("GET", "/health").header("expect", mixed);
        rows.check(format!("GET /health, {row}"), server.send(&request).is(200, HEALTHY));
    }
    rows.finish();
    Ok(())
}

#[test]
fn a_refused_body_that_was_sent_is_not_taken_for_a_request() {
    let server = Server::any();
    let mut rows = Rows::new("Before the body, what follows a refusal");
    let inner = Request::new("GET", "/health").bytes();
    let post = |path: &str| Request::new("POST", path).header("content-type", "application/json");
    let keyed = |path: &str| post(path).header("x-internal-api-key", server.api_key());
    for (row, request, status) in [
        ("401", post("/internal/sign"), 401),
        ("404", keyed("/none"), 404),
        ("405", keyed("/internal/sign").method("PUT"), 405),
        ("415", keyed("/internal/sign").without("content-type"), 415),
        ("400", keyed("/internal/sign"), 400),
    ] {
        for (form, bytes) in [
            ("length", request.clone().body(&inner).bytes()),
            ("chunked", request.body(&inner).chunked(10).bytes()),
        ] {
            rows.check(format!("{row}, {form}"), one_answer(&server, &bytes, status));
        }
    }
    rows.finish();
}

/// Exactly one answer comes: the body, itself a request, is not answered.
fn one_answer(server: &Server, bytes: &[u8], status: u16) -> Result<(), Failure> {
    let mut connection = server.connect()?;
    connection.send(bytes)?;
    let response = connection.receive()?;
    ensure(response.status == status, || format!("status {}", response.status))?;
    let more = connection.drain(Duration::from_millis(300));
    if more.is_empty() { Ok(()) } else { fail(format!("then {}", shown(&more))) }
}
