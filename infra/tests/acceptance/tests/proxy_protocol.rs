//! Clients that the proxy announces to the signer, and connections that announce nobody.
//!
//! The answers are those of `docs/api.md`, "11. Connections".

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use acceptance::contract::UNAUTHORIZED;
use acceptance::failure::{ensure, fail};
use acceptance::stack::PROXY_PROTOCOL;
use acceptance::{Connection, Failure, Request, Rows, Server};

/// The header that haproxy 2.6.12 sends to a server with `send-proxy-v2`, for a client of 198.51.100.7.
const HEADER: &[u8; 28] = b"\r\n\r\n\0\r\nQUIT\n!\x11\0\x0c\xc6\x33\x64\x07\x7f\0\0\x01\xb2\x03\xec\xc9";

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nhost: signer\r\nconnection: close\r\n\r\n";

/// How long the signer waits for a header.
const DEADLINE: Duration = Duration::from_secs(5);

/// The delay that a busy machine may add.
const SLACK: Duration = Duration::from_secs(5);

/// Longer than any wait of the signer here.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends `bytes` to the signer past the proxy, and gives what comes until the end.
fn answer_to(server: &mut Server, bytes: &[u8], then_ends: bool) -> Result<String, Failure> {
    let mut stream = UnixStream::connect(server.stack().signer_socket())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(bytes)?;
    if then_ends {
        stream.shutdown(std::net::Shutdown::Write)?;
    }
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        // The signer may close with bytes of ours unread.
        Err(fault) if fault.kind() != std::io::ErrorKind::ConnectionReset => Err(fault.into()),
        _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
    }
}

/// Waits until the signer's log has a line with `text`, and gives that line.
fn logged(server: &mut Server, text: &str) -> Result<String, Failure> {
    let started = Instant::now();
    loop {
        let output = server.stack().enclave.output();
        let output = String::from_utf8_lossy(&output);
        if let Some(line) =
            output.split_inclusive('\n').find(|line| line.contains(text) && line.ends_with('\n'))
        {
            return Ok(line.to_owned());
        }
        if started.elapsed() > PATIENCE {
            return fail(format!("`{text}` is not in:\n{output}"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Both in the clear and over TLS.
#[test]
fn a_client_without_the_api_key_is_named_in_the_log() -> Result<(), Failure> {
    let guess = "a-guess-that-is-no-key";
    for options in [&[PROXY_PROTOCOL][..], &[PROXY_PROTOCOL, "--tls", "self-signed"]] {
        let mut server = Server::own(options);
        server.is_well()?;
        server.send(&Request::post("/internal/sign", guess, "{}")).is_error(401, UNAUTHORIZED)?;
        let line = logged(&mut server, "refused a request without the API key")?;
        ensure(line.contains("client=127.0.0.1 count=1"), || line)?;
        // Guesses that follow are counted for the next line.
        for _ in 0..20 {
            server.send(&Request::post("/internal/sign", guess, "{}")).is_error(401, UNAUTHORIZED)?;
        }
        server.is_well()?;
        let output = String::from_utf8_lossy(&server.stack().enclave.output()).into_owned();
        let lines = output.lines().filter(|line| line.contains("without the API key")).count();
        // One in 10 s; a machine may be as busy as to take as long.
        ensure(lines <= 2 && !output.contains(guess), || output)?;
    }
    Ok(())
}

#[test]
fn the_address_is_the_announced_one() -> Result<(), Failure> {
    let mut server = Server::own(&[PROXY_PROTOCOL]);
    let unauthorized = b"GET /none HTTP/1.1\r\nhost: signer\r\nconnection: close\r\n\r\n";
    let answer = answer_to(&mut server, &[HEADER, &unauthorized[..]].concat(), false)?;
    ensure(answer.starts_with("HTTP/1.1 401 "), || answer)?;
    let line = logged(&mut server, "refused a request without the API key")?;
    ensure(line.contains("client=198.51.100.7 "), || line)
}

#[test]
fn a_connection_that_announces_nobody_is_refused_in_one_line() -> Result<(), Failure> {
    let with = |at: usize, byte: u8| {
        let mut header = HEADER.to_vec();
        header[at] = byte;
        [header, HEALTH.to_vec()].concat()
    };
    let long = [&HEADER[..14], &521_u16.to_be_bytes(), &[0; 521], HEALTH].concat();
    let mut rows = Rows::new("PROXY protocol, refused");
    for (bytes, reason) in [
        (HEALTH.to_vec(), "no PROXY header"),
        (b"PROXY TCP4 127.0.0.2 127.0.0.1 52683 35223\r\nGET /health".to_vec(), "of version 1, not 2"),
        (HEADER[..10].to_vec(), "the connection ended before its PROXY header did"),
        (HEADER[..27].to_vec(), "the connection ended before its PROXY header did"),
        (with(12, 0x31), "of a version that is not 2"),
        (with(12, 0x20), "with the command LOCAL, which names no client"),
        (with(12, 0x2f), "with an unknown command"),
        (with(13, 0x00), "for neither TCP over IPv4 nor TCP over IPv6"),
        (with(13, 0x31), "for neither TCP over IPv4 nor TCP over IPv6"),
        (with(15, 0x04), "too short for its addresses"),
        (long, "of more than 536 bytes"),
    ] {
        let mut server = Server::own(&[PROXY_PROTOCOL]);
        for _ in 0..3 {
            let answer = answer_to(&mut server, &bytes, true)?;
            rows.check(format!("{reason}: no answer"), ensure(answer.is_empty(), || answer));
        }
        let line = logged(&mut server, "refused a connection: ")?;
        rows.check(format!("{reason}: the reason"), ensure(line.contains(reason), || line));
        server.is_well()?;
        let output = String::from_utf8_lossy(&server.stack().enclave.output()).into_owned();
        let lines = output.lines().filter(|line| line.contains("refused a connection: ")).count();
        rows.check(format!("{reason}: one line"), ensure(lines == 1, || output));
    }
    rows.finish();
    Ok(())
}

#[test]
fn a_header_is_waited_for_so_long_and_no_longer() -> Result<(), Failure> {
    let mut server = Server::own(&[PROXY_PROTOCOL]);
    let started = Instant::now();
    let answer = answer_to(&mut server, &HEADER[..20], false)?;
    let waited = started.elapsed();
    ensure(answer.is_empty() && waited >= DEADLINE && waited < DEADLINE + SLACK, || {
        format!("{answer:?} after {waited:?}")
    })?;
    let line = logged(&mut server, "refused a connection: ")?;
    ensure(line.contains("no PROXY header within 5 s"), || line)?;
    server.is_well()
}

/// A client's own header is never believed, whether announcements are on or off.
#[test]
fn a_header_from_a_client_is_refused() -> Result<(), Failure> {
    let text = b"PROXY TCP4 127.0.0.2 127.0.0.1 52683 35223\r\n";
    for header in [&HEADER[..], text] {
        for (options, reason) in [
            (&[][..], "a PROXY header, while http.proxy_protocol of nitro.toml is off"),
            (&["--tls", "self-signed"], "a PROXY header, while http.proxy_protocol of nitro.toml is off"),
            (&[PROXY_PROTOCOL], "a client or load balancer sent a PROXY header client=127.0.0.1 "),
            (
                &[PROXY_PROTOCOL, "--tls", "self-signed"],
                "a client or load balancer sent a PROXY header client=127.0.0.1 ",
            ),
        ] {
            let mut server = Server::own(options);
            let mut connection = Connection::open(server.address())?;
            connection.send([header, HEALTH].concat())?;
            let answer = connection.drain(PATIENCE);
            // TLS cuts what is neither a handshake nor HTTP.
            let is_cut = options.contains(&"--tls") && answer.is_empty();
            let is_refused = is_cut || answer.starts_with(b"HTTP/1.1 400 ");
            ensure(is_refused, || format!("{options:?}: {}", answer.escape_ascii()))?;
            let line = logged(&mut server, "refused a connection: ")?;
            ensure(line.contains(reason), || line)?;
            server.is_well()?;
        }
    }
    Ok(())
}
