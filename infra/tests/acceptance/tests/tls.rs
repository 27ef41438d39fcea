//! TLS: what is spoken, whose key it is, and that no client or parent can get in its way. The client that judges what
//! is negotiated is OpenSSL's.
//!
//! The answers are those of `docs/api.md`, "12. TLS".

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use acceptance::attested::{Attested, Parent};
use acceptance::contract::{HEALTHY, NOT_READY, error_body};
use acceptance::failure::ensure;
use acceptance::installation::run;
use acceptance::signer::new_identity;
use acceptance::test_ca::{Issued, P256, SERVER, TestCa};
use acceptance::tls::TlsClient;
use acceptance::{Connection, Failure, Request, Rows, Server};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// The deadline of a handshake.
const DEADLINE: Duration = Duration::from_secs(10);
/// The delay that a busy machine and a second process in the path may add.
const SLACK: Duration = Duration::from_secs(4);

/// The exit code for what is configured wrong.
const EX_CONFIG: i32 = 78;

const KIND_NOT_SERVED: &str = "TLS_CERT_CHAIN: certificate 1 has a key of an unsupported kind: only P-256, P-384 and \
                               Ed25519 are served, and never RSA, since KMS encrypts to an attested key of RSA";

fn own() -> Server {
    Server::own(&["--tls", "self-signed"])
}

/// The output of `openssl s_client` about a connection on which it sends `request`.
fn s_client(address: SocketAddr, arguments: &[&str], request: &str) -> Result<String, Failure> {
    let mut client = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = client.stdin.take() {
        // A client that has failed reads none of it.
        let _ = stdin.write_all(request.as_bytes());
    }
    let output = client.wait_with_output()?;
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// Version and suite, if a handshake came about.
fn negotiated(address: SocketAddr, arguments: &[&str]) -> Result<Option<(String, String)>, Failure> {
    let said = s_client(address, arguments, "")?;
    let Some(line) = said.lines().find(|line| line.starts_with("New, ")) else { return Ok(None) };
    let words: Vec<&str> = line.split(", ").collect();
    let suite = words.last().and_then(|last| last.strip_prefix("Cipher is ")).unwrap_or_default();
    Ok((suite != "(NONE)").then(|| (words[1].to_owned(), suite.to_owned())))
}

/// Of all that OpenSSL has, at its weakest, the suites of TLS 1.2 that the server takes: each that it chose is offered
/// no more, until it finds none.
fn suites_taken(address: SocketAddr) -> Result<BTreeSet<String>, Failure> {
    let mut offered = "ALL:COMPLEMENTOFALL:@SECLEVEL=0".to_owned();
    let all = run(Command::new("openssl").args(["ciphers", &offered]))?;
    let all = String::from_utf8_lossy(&all.stdout).into_owned();
    for suite in
        ["AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA", "DHE-RSA-AES256-GCM-SHA384", "AECDH-AES128-SHA"]
    {
        ensure(all.split(':').any(|known| known == suite), || format!("OpenSSL has no {suite}"))?;
    }
    let mut taken = BTreeSet::new();
    while let Some((version, suite)) = negotiated(address, &["-tls1_2", "-cipher", &offered])? {
        ensure(version == "TLSv1.2" && taken.insert(suite.clone()), || format!("{version} {suite}"))?;
        offered.push_str(&format!(":!{suite}"));
    }
    Ok(taken)
}

fn is_refused(address: SocketAddr, arguments: &[&str], alert: &str) -> Result<(), Failure> {
    let said = s_client(address, arguments, "")?;
    ensure(said.contains(&format!("alert {alert}")), || format!("no alert `{alert}`: {said}"))
}

#[test]
fn exactly_the_versions_and_suites_of_the_policy_are_spoken() -> Result<(), Failure> {
    let server = own();
    let address = server.address();
    let mut rows = Rows::new("TLS, versions and suites");
    let suites = ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"];
    let suites: BTreeSet<String> = suites.iter().map(|suite| format!("ECDHE-ECDSA-{suite}")).collect();
    rows.check(
        "TLS 1.2",
        suites_taken(address).and_then(|taken| ensure(taken == suites, || format!("{taken:?}"))),
    );
    for suite in ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"] {
        let outcome = negotiated(address, &["-tls1_3", "-ciphersuites", suite]).and_then(|got| {
            ensure(got == Some(("TLSv1.3".to_owned(), suite.to_owned())), || format!("{got:?}"))
        });
        rows.check(format!("TLS 1.3, {suite}"), outcome);
    }
    for suite in ["TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256"] {
        let outcome = is_refused(address, &["-tls1_3", "-ciphersuites", suite], "handshake failure");
        rows.check(format!("TLS 1.3, {suite}"), outcome);
    }
    for version in ["-tls1", "-tls1_1"] {
        let outcome = is_refused(address, &[version, "-cipher", "ALL:@SECLEVEL=0"], "handshake failure");
        rows.check(version, outcome);
    }
    rows.finish();
    Ok(())
}

#[test]
fn groups_protocols_and_what_is_off() -> Result<(), Failure> {
    let server = own();
    let address = server.address();
    let mut rows = Rows::new("TLS, groups, ALPN and what is off");
    for version in ["-tls1_2", "-tls1_3"] {
        // To TLS 1.2 they also say which certificates are taken.
        for (groups, name) in
            [("X25519:P-256", "X25519"), ("P-256", "ECDH, prime256v1"), ("P-384:P-256", "ECDH, secp384r1")]
        {
            let outcome = s_client(address, &[version, "-groups", groups], "")
                .and_then(|said| ensure(said.contains(&format!("Server Temp Key: {name}")), || said.clone()));
            rows.check(format!("{version} {name}"), outcome);
        }
        for group in ["P-521", "X448"] {
            rows.check(
                format!("{version} {group}"),
                is_refused(address, &[version, "-groups", group], "handshake failure"),
            );
        }
        for (offered, taken) in
            [("http/1.1", true), ("h2,http/1.1", true), ("h2", false), ("http/1.0", false)]
        {
            let outcome = if taken {
                s_client(address, &[version, "-alpn", offered], "")
                    .and_then(|said| ensure(said.contains("ALPN protocol: http/1.1"), || said.clone()))
            } else {
                is_refused(address, &[version, "-alpn", offered], "no application protocol")
            };
            rows.check(format!("{version}, ALPN {offered}"), outcome);
        }
        let plain = s_client(address, &[version], "").and_then(|said| {
            for wanted in ["No ALPN negotiated", "Compression: NONE", "No client certificate CA names sent"] {
                ensure(said.contains(wanted), || format!("not `{wanted}`: {said}"))?;
            }
            // A ticket of TLS 1.3 is the number of a session here. Another process does not know it: see below.
            let has_ticket = version == "-tls1_2" && said.contains("TLS session ticket:");
            ensure(!has_ticket, || format!("a ticket: {said}"))
        });
        rows.check(format!("{version}, without ALPN"), plain);
    }
    // Weak signatures, of the hash of SHA-1.
    for sigalgs in ["ECDSA+SHA1", "RSA+SHA1"] {
        let arguments = ["-tls1_2", "-sigalgs", sigalgs, "-cipher", "ALL:@SECLEVEL=0"];
        rows.check(sigalgs, is_refused(address, &arguments, "handshake failure"));
    }
    let early = s_client(address, &["-tls1_3", "-ign_eof"], &request("GET /health", "close"))
        .and_then(|said| ensure(said.contains("Max Early Data: 0"), || said.clone()));
    rows.check("no early data", early);
    // A line with an R makes OpenSSL renegotiate.
    let renegotiation = s_client(address, &["-tls1_2"], "R\n").and_then(|said| {
        ensure(said.contains("RENEGOTIATING") && said.contains("no renegotiation"), || said.clone())
    });
    rows.check("no renegotiation", renegotiation);
    rows.check("others are served", server.is_well());
    rows.finish();
    Ok(())
}

fn request(line: &str, connection: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: {connection}\r\n\r\n")
}

#[test]
fn a_session_is_good_for_one_process() -> Result<(), Failure> {
    let ca = TestCa::new()?;
    let mut rows = Rows::new("TLS, sessions");
    let (first, second) = (own(), own());
    for version in ["-tls1_2", "-tls1_3"] {
        let session = ca.write("session.pem", "")?;
        let ask = |server: &Server, option: &str| {
            let arguments = [version, "-ign_eof", option, &session];
            s_client(server.address(), &arguments, &request("GET /health", "close"))
        };
        let outcome = ask(&first, "-sess_out").and_then(|said| {
            ensure(said.contains("New, ") && said.contains(HEALTHY), || said.clone())?;
            let said = ask(&first, "-sess_in")?;
            ensure(said.contains("Reused, ") && said.contains(HEALTHY), || said.clone())?;
            // The session after a restart.
            let said = ask(&second, "-sess_in")?;
            ensure(said.contains("New, ") && said.contains(HEALTHY), || said.clone())
        });
        rows.check(version, outcome);
    }
    rows.finish();
    Ok(())
}

#[test]
fn what_is_not_tls_is_told_or_cut() -> Result<(), Failure> {
    const TOLD: &str = "Client sent an HTTP request to an HTTPS port";
    let server = own();
    let in_the_clear = |bytes: &[u8]| -> Result<Connection, Failure> {
        let mut connection = Connection::open(server.address())?;
        connection.send(bytes)?;
        Ok(connection)
    };
    let mut rows = Rows::new("TLS, requests in the clear");
    let body = "POST /internal/sign HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{\"a\":\"b\"}";
    let twice = request("GET /health", "keep-alive").repeat(2);
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for asked in [&request("GET /health", "keep-alive"), body, &twice, preface, "nonsense\r\n\r\n"] {
        let outcome = in_the_clear(asked.as_bytes()).and_then(|mut connection| {
            let response = connection.receive()?;
            ensure(response.status == 400 && response.text() == error_body(TOLD), || {
                format!("{} {}", response.status, response.text())
            })?;
            ensure(response.header("connection") == Some("close"), || "kept".to_owned())?;
            connection.closes_within(Duration::from_secs(5))
        });
        rows.check(asked, outcome);
    }
    for bytes in [&b"\x05\x01\x00"[..], b"\x80\x2e\x01\x03\x01", b"\0", b"\r\n", b" GET / HTTP/1.1\r\n\r\n"] {
        let outcome =
            in_the_clear(bytes).and_then(|mut connection| connection.closes_within(Duration::from_secs(5)));
        rows.check(bytes.escape_ascii().to_string(), outcome);
    }
    let bent = in_the_clear(&[&b"\x16\x03\x01\x00\x05"[..], b"bogus"].concat())
        .and_then(|mut connection| connection.time_to_close(Duration::from_secs(5)).map(drop));
    rows.check("a record that is no handshake", bent);
    rows.check("TLS as usual", server.is_well());
    rows.finish();
    Ok(())
}

#[test]
fn stalled_handshakes_starve_nobody() -> Result<(), Failure> {
    let server = own();
    let mut established = server.connect()?;
    let mut is_served = || {
        established.send(request("GET /health", "keep-alive"))?;
        let response = established.receive()?;
        ensure(response.text() == HEALTHY, || response.text())
    };
    is_served()?;
    let hello = TlsClient::new().hello()?;
    let stalled = |part: &[u8], count: usize| -> Result<Vec<Connection>, Failure> {
        (0..count)
            .map(|_| {
                let mut connection = Connection::open(server.address())?;
                connection.send(part)?;
                Ok(connection)
            })
            .collect()
    };
    // A client that has sent no whole message takes no turn: others are served at once.
    let silent = [stalled(b"", 100)?, stalled(&hello[..1], 100)?, stalled(&hello[..hello.len() - 1], 100)?];
    is_served()?;
    let started = Instant::now();
    server.is_well()?;
    ensure(started.elapsed() < DEADLINE / 2, || format!("let in after {:?}", started.elapsed()))?;

    // Nor does a client that has, and stalls then.
    let begun = stalled(&hello, 300)?;
    for _ in 0..20 {
        is_served()?;
        std::thread::sleep(Duration::from_millis(50));
    }
    server.is_well()?;
    is_served()?;
    for mut connection in silent.into_iter().flatten().chain(begun) {
        connection.time_to_close(DEADLINE + SLACK)?;
    }
    server.is_well()
}

/// How long a new client takes for its handshake, a `/health` and its answer.
fn time_of_a_new_client(server: &Server) -> Result<Duration, Failure> {
    let start = Instant::now();
    server.is_well()?;
    Ok(start.elapsed())
}

/// The time that 99 of 100 samples do not exceed.
fn p99(samples: &mut [Duration]) -> Duration {
    samples.sort_unstable();
    samples[(samples.len() * 99).div_ceil(100) - 1]
}

/// Whether the server waits for the client of `stalled`: it has sent its part and has not closed.
fn is_waited_for(stalled: &Connection) -> bool {
    stalled.stream().peek(&mut [0]).is_ok_and(|read| read > 0)
}

/// Samples beside handshakes that stall and samples without them take turns, so that a busy machine slows both.
#[test]
fn a_new_client_does_not_wait_for_handshakes_that_stall() -> Result<(), Failure> {
    const ROUNDS: usize = 4;
    /// Of each kind in a round.
    const SAMPLES: usize = 50;
    /// Less than this is not told from the noise of a machine with two cores that does other things too: one time slice
    /// of its scheduler is 3 to 4 ms.
    const IDLE_MIN: Duration = Duration::from_millis(10);
    let server = own();
    let hello = TlsClient::new().hello()?;
    let mut rows = Rows::new("TLS, a new client beside handshakes that stall");
    for count in [300, 600, 900] {
        let (mut idle, mut beside, mut waited_for) = (Vec::new(), Vec::new(), 0);
        for _ in 0..ROUNDS {
            // To close the stalled ones of the round before is work too.
            std::thread::sleep(Duration::from_millis(500));
            for _ in 0..SAMPLES {
                idle.push(time_of_a_new_client(&server)?);
            }
            let mut stalled = Vec::new();
            for _ in 0..count {
                let mut connection = Connection::open(server.address())?;
                connection.send(&hello)?;
                connection.stream().set_read_timeout(Some(Duration::from_millis(1)))?;
                stalled.push(connection);
            }
            let begun = Instant::now();
            while begun.elapsed() < DEADLINE / 5 && !stalled.iter().all(is_waited_for) {}
            for _ in 0..SAMPLES {
                beside.push(time_of_a_new_client(&server)?);
                // The stalled ones are cut soon.
                if begun.elapsed() > DEADLINE * 3 / 5 {
                    break;
                }
            }
            waited_for += stalled.iter().filter(|stalled| is_waited_for(stalled)).count();
        }
        let (idle, beside) = (p99(&mut idle), p99(&mut beside));
        println!("p99 of a new client: {idle:?} idle, {beside:?} beside {count} that stall");
        let outcome =
            ensure(waited_for == count * ROUNDS, || format!("{waited_for} stalled, not {count} each time"))
                .and_then(|()| {
                    ensure(beside <= 5 * idle.max(IDLE_MIN), || {
                        format!("p99 {beside:?}, and {idle:?} when idle")
                    })
                });
        rows.check(format!("{count} that stall"), outcome);
    }
    rows.finish();
    Ok(())
}

/// A connection with an `Upgrade` header ends with close_notify too.
#[test]
fn a_connection_with_an_upgrade_header_ends_with_close_notify() -> Result<(), Failure> {
    let server = own();
    let asked =
        "GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close, Upgrade\r\nupgrade: h2c\r\n\r\n";
    let mut connection = server.connect()?;
    connection.send(asked)?;
    let response = connection.receive()?;
    ensure(response.text() == HEALTHY, || response.text())?;
    connection.closes_within(Duration::from_secs(5))?;
    for version in ["-tls1_2", "-tls1_3"] {
        let said = s_client(server.address(), &[version, "-ign_eof"], asked)?;
        ensure(said.contains(HEALTHY) && !said.contains("unexpected eof"), || said.clone())?;
    }
    Ok(())
}

/// Checks that the document which `connection` gets vouches for the key of the certificate that it was shown.
fn vouches_for_its_key(ca: &TestCa, connection: &mut Connection) -> Result<Vec<u8>, Failure> {
    let certificates = connection.tls().certificates();
    let certificate = certificates.first().ok_or_else(|| Failure::new("no certificate"))?;
    let spki = ca.spki(certificate)?;
    connection.send(request("GET /.well-known/attestation?nonce=0a0b", "keep-alive"))?;
    let response = connection.receive()?;
    let document = STANDARD.decode(response.member("attestation_doc")?)?;
    // CBOR: a text of 10 bytes, then a byte string with two bytes or one for its length.
    let length = u16::try_from(spki.len())?;
    let length = match u8::try_from(length) {
        Ok(length) => vec![0x58, length],
        Err(_) => [&[0x59][..], &length.to_be_bytes()].concat(),
    };
    let public_key = [&b"\x6apublic_key"[..], &length, &spki].concat();
    let user_data = [&b"\x69user_data\x58\x20"[..], &Sha256::digest(&spki)].concat();
    for member in [&public_key[..], &user_data, b"\x65nonce\x42\x0a\x0b"] {
        ensure(memchr::memmem::find(&document, member).is_some(), || {
            format!("not in the document: {}", member.escape_ascii())
        })?;
    }
    Ok(spki)
}

#[test]
fn a_document_vouches_for_the_key_of_its_connection() -> Result<(), Failure> {
    let server = own();
    let ca = TestCa::new()?;
    let mut keys = BTreeSet::new();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = TlsClient::offering(&[version]);
        for resumed in [false, true] {
            let mut connection = Connection::open_tls(server.address(), &client)?;
            keys.insert(vouches_for_its_key(&ca, &mut connection)?);
            ensure(connection.tls().is_resumed() == resumed, || format!("resumed is not {resumed}"))?;
        }
    }
    ensure(keys.len() == 1, || format!("{} keys", keys.len()))
}

/// A parent that provides a certificate.
fn provided(pair: &Issued) -> Result<(Parent, TestCa), Failure> {
    let mut parent = Parent::new()?;
    parent.nitro_toml.tls = "mode = \"provided\"";
    parent.options = ["--boot-file-interval-s", "1"].map(str::to_owned).into();
    parent.provide_certificate(&pair.certificate, &pair.key)?;
    Ok((parent, TestCa::new()?))
}

/// The certificate that a new connection is shown, in PEM.
fn presented(ca: &TestCa, server: &Server) -> Result<String, Failure> {
    let connection = server.connect()?;
    let certificate = connection.tls().certificates().remove(0);
    let path = ca.write("seen.der", certificate)?;
    Ok(String::from_utf8_lossy(&ca.openssl(&["x509", "-inform", "DER", "-in", &path])?).into_owned())
}

fn becomes_presented(ca: &TestCa, attested: &Attested, certificate: &str) -> Result<(), Failure> {
    let started = Instant::now();
    loop {
        let seen = presented(ca, &attested.server())?;
        if seen == certificate {
            return Ok(());
        }
        ensure(started.elapsed() < Duration::from_secs(30), || {
            format!("{seen}\nthe signer says:\n{}", String::from_utf8_lossy(&attested.enclave.output()))
        })?;
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn times_said(attested: &Attested, text: &str) -> usize {
    String::from_utf8_lossy(&attested.enclave.output()).matches(text).count()
}

#[test]
fn a_provided_certificate_is_presented_with_its_chain() -> Result<(), Failure> {
    let ca = TestCa::new()?;
    let pair = ca.issue(P256, SERVER)?;
    let (mut parent, _) = provided(&pair)?;
    let chain = format!("{}{}", pair.certificate, ca.authority_pem());
    parent.provide_certificate(&chain, &pair.key)?;
    let attested = parent.ready()?;
    let server = attested.server();
    // As clients do that know the authority and no more.
    let authority = ca.write("authority.pem", ca.authority_pem())?;
    let url = format!("{}/health", server.base_url());
    let said = run(Command::new("curl").args(["--silent", "--show-error", "--cacert", &authority, &url]))?;
    ensure(said.stdout == HEALTHY.as_bytes(), || String::from_utf8_lossy(&said.stdout).into_owned())?;
    let mut connection = server.connect()?;
    ensure(connection.tls().certificates().len() == 2, || "no chain".to_owned())?;
    vouches_for_its_key(&ca, &mut connection)?;
    server.signer().generated(&new_identity())?;
    let said = String::from_utf8_lossy(&attested.enclave.output()).into_owned();
    ensure(!said.contains("PRIVATE KEY") && !said.contains("expire"), || said.clone())
}

#[test]
fn a_new_certificate_is_presented_and_no_connection_is_dropped() -> Result<(), Failure> {
    let ca = TestCa::new()?;
    let [first, second, third] = [ca.issue(P256, SERVER)?, ca.issue(P256, SERVER)?, ca.issue(P256, SERVER)?];
    let (mut parent, _) = provided(&first)?;
    let mut attested = parent.ready()?;
    let server = attested.server();
    let mut kept = server.connect()?;
    let first_key = vouches_for_its_key(&ca, &mut kept)?;

    // Nothing else of the file counts any more: not even what would refuse a start.
    parent.provide_certificate(&second.certificate, &second.key)?;
    parent.set("INTERNAL_API_KEY", Some("another-api-key-0123456789"));
    parent.set("AWS_REGION", Some("elsewhere"));
    parent.write_boot_file()?;
    becomes_presented(&ca, &attested, &second.certificate)?;
    let second_key = vouches_for_its_key(&ca, &mut server.connect()?)?;
    ensure(first_key != second_key, || "the same key".to_owned())?;
    // The earlier certificate is served as before, and its documents name the key that it is encrypted with.
    ensure(vouches_for_its_key(&ca, &mut kept)? == first_key, || "another key".to_owned())?;
    server.signer().generated(&new_identity())?;

    // A bad one changes nothing and is told once.
    let expired = ca.issue_between(P256, SERVER, ["20200101000000Z", "20200201000000Z"])?;
    for (chain, key, told) in [
        (&expired.certificate, &expired.key, "TLS_CERT_CHAIN: certificate 1 has expired"),
        (&first.certificate, &third.key, "TLS_KEY: not the key of certificate 1 of TLS_CERT_CHAIN"),
        (&"garbage".to_owned(), &third.key, "TLS_CERT_CHAIN: not certificates in PEM"),
    ] {
        parent.provide_certificate(chain, key)?;
        parent.write_boot_file()?;
        let told = format!("{told}: the TLS certificate stays as it is");
        attested.says(&told)?;
        std::thread::sleep(Duration::from_millis(2500));
        ensure(times_said(&attested, &told) == 1, || format!("not once: {told}"))?;
        becomes_presented(&ca, &attested, &second.certificate)?;
    }

    // One that is put there before its time is told once too, and presented when that has come.
    let date = std::process::Command::new("date").args(["-u", "-d", "+6sec", "+%Y%m%d%H%M%SZ"]).output()?;
    let date = String::from_utf8_lossy(&date.stdout).trim().to_owned();
    let early = ca.issue_between(P256, SERVER, [&date, "20991231235959Z"])?;
    parent.provide_certificate(&early.certificate, &early.key)?;
    parent.write_boot_file()?;
    attested.says("TLS_CERT_CHAIN: certificate 1 is not valid yet: the TLS certificate stays as it is")?;
    becomes_presented(&ca, &attested, &early.certificate)?;
    ensure(times_said(&attested, "certificate 1 is not valid yet") == 1, || "not once".to_owned())?;
    parent.provide_certificate(&second.certificate, &second.key)?;
    parent.write_boot_file()?;
    becomes_presented(&ca, &attested, &second.certificate)?;

    parent.set("TLS_KEY_CIPHERTEXT", None);
    parent.write_boot_file()?;
    attested.says("TLS_KEY_CIPHERTEXT is missing: the TLS certificate stays as it is")?;
    std::fs::write(parent.directory().join("env"), "TLS_CERT_CHAIN=half a li")?;
    attested
        .says("the parent does not send a boot file whose last line is whole: the TLS certificate stays")?;
    let blob = parent.kms.encrypt_boot_secret(&parent.key, "INTERNAL_API_KEY", &third.key)?;
    parent.set("TLS_CERT_CHAIN", Some(&format!("'{}'", third.certificate)));
    parent.set("TLS_KEY_CIPHERTEXT", Some(&blob));
    parent.write_boot_file()?;
    attested.says("TLS_KEY_CIPHERTEXT is not what KMS encrypts with the context")?;
    becomes_presented(&ca, &attested, &second.certificate)?;

    // One whose key KMS does not give yet is waited for.
    parent.kms.fail_next("Decrypt", "internal", 1000, 0)?;
    parent.provide_certificate(&third.certificate, &third.key)?;
    parent.write_boot_file()?;
    attested.says("KMS does not give the key of a new TLS certificate yet")?;
    becomes_presented(&ca, &attested, &second.certificate)?;
    parent.kms.recover()?;
    becomes_presented(&ca, &attested, &third.certificate)?;
    ensure(vouches_for_its_key(&ca, &mut kept)? == first_key, || "another key".to_owned())?;
    // Asked only when something has changed.
    parent.kms.forget_calls()?;
    std::thread::sleep(Duration::from_millis(2500));
    ensure(parent.kms.calls()?.is_empty(), || "KMS was asked again".to_owned())
}

/// Until it has its certificate, the signer answers nobody in the clear, and clients can attest it.
#[test]
fn before_it_is_ready_there_is_tls_too() -> Result<(), Failure> {
    let ca = TestCa::new()?;
    let pair = ca.issue(P256, SERVER)?;
    let (parent, _) = provided(&pair)?;
    let mut attested = parent.start_without_kms()?;
    let server = attested.server();
    let mut early = server.connect()?;
    let early_key = vouches_for_its_key(&ca, &mut early)?;
    let path = ca.write("early.pem", presented(&ca, &server)?)?;
    let name = ca.openssl(&["x509", "-in", &path, "-noout", "-ext", "subjectAltName"])?;
    ensure(String::from_utf8_lossy(&name).contains("DNS:starting.invalid"), || format!("{name:?}"))?;
    server.send(&Request::new("GET", "/health")).is(503, NOT_READY)?;
    parent.kms.recover()?;
    attested.becomes_ready()?;
    becomes_presented(&ca, &attested, &pair.certificate)?;
    ensure(vouches_for_its_key(&ca, &mut early)? == early_key, || "another key".to_owned())
}

#[test]
fn self_signed_as_in_production() -> Result<(), Failure> {
    let ca = TestCa::new()?;
    let mut parent = Parent::new()?;
    parent.nitro_toml.tls = "mode = \"self-signed\"\nserver_names = [\"signer.example.com\", \"signer\"]";
    let attested = parent.ready()?;
    let server = attested.server();
    server.signer().generated(&new_identity())?;
    let key = vouches_for_its_key(&ca, &mut server.connect()?)?;
    let path = ca.write("own.pem", presented(&ca, &server)?)?;
    let name = ca.openssl(&["x509", "-in", &path, "-noout", "-ext", "subjectAltName"])?;
    let name = String::from_utf8_lossy(&name).into_owned();
    ensure(name.contains("DNS:signer.example.com, DNS:signer"), || name.clone())?;
    drop(attested);
    let again = parent.ready()?;
    let next_key = vouches_for_its_key(&ca, &mut again.server().connect()?)?;
    ensure(key != next_key, || "the key outlived its process".to_owned())
}

#[test]
fn an_end_that_is_near_is_told_at_the_start() -> Result<(), Failure> {
    let ca = TestCa::new()?;
    let end = run(Command::new("date").args(["-u", "-d", "+60 hours", "+%Y%m%d%H%M%SZ"]))?;
    let end = String::from_utf8_lossy(&end.stdout).trim().to_owned();
    let pair = ca.issue_between(P256, SERVER, ["20200101000000Z", &end])?;
    let (parent, _) = provided(&pair)?;
    let mut attested = parent.ready()?;
    attested.says("WARN")?;
    attested.says("the TLS certificate expires within 3 days")?;
    std::thread::sleep(Duration::from_millis(2500));
    ensure(times_said(&attested, "expires within") == 1, || "more than once".to_owned())
}

/// Changes a parent.
type Change = fn(&mut Parent, &TestCa, &Issued) -> Result<(), Failure>;

#[test]
fn a_pair_that_clients_would_refuse_refuses_the_start() {
    let ca = TestCa::new().expect("OpenSSL works");
    let pair = ca.issue(P256, SERVER).expect("OpenSSL works");
    let mut rows = Rows::new("TLS, starts that are refused");
    let cases: &[(&str, Change, &str)] = &[
        (
            "expired",
            |parent, ca, _| {
                let pair = ca.issue_between(P256, SERVER, ["20200101000000Z", "20200201000000Z"])?;
                parent.provide_certificate(&pair.certificate, &pair.key)
            },
            "TLS_CERT_CHAIN: certificate 1 has expired",
        ),
        (
            "not yet valid",
            |parent, ca, _| {
                let pair = ca.issue_between(P256, SERVER, ["20980101000000Z", "20990201000000Z"])?;
                parent.provide_certificate(&pair.certificate, &pair.key)
            },
            "TLS_CERT_CHAIN: certificate 1 is not valid yet",
        ),
        (
            "mismatched",
            |parent, ca, pair| parent.provide_certificate(&pair.certificate, &ca.issue(P256, SERVER)?.key),
            "TLS_KEY: not the key of certificate 1 of TLS_CERT_CHAIN",
        ),
        (
            "with a password",
            |parent, ca, pair| {
                let path = ca.write("key.pem", &pair.key)?;
                let key = ca.openssl(&["pkcs8", "-topk8", "-in", &path, "-passout", "pass:word"])?;
                parent.provide_certificate(&pair.certificate, &String::from_utf8_lossy(&key))
            },
            "TLS_KEY: protected by a password: remove the password, since KMS protects the key",
        ),
        (
            "wrong curve",
            |parent, ca, _| {
                let kind = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"];
                let pair = ca.issue(&kind, SERVER)?;
                parent.provide_certificate(&pair.certificate, &pair.key)
            },
            KIND_NOT_SERVED,
        ),
        (
            "RSA",
            |parent, ca, _| {
                let kind = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
                let pair = ca.issue(&kind, SERVER)?;
                parent.provide_certificate(&pair.certificate, &pair.key)
            },
            KIND_NOT_SERVED,
        ),
        (
            "garbage for a certificate",
            |parent, _, pair| parent.provide_certificate("bm90IGEgY2VydGlmaWNhdGU=", &pair.key),
            "TLS_CERT_CHAIN: not certificates in PEM",
        ),
        (
            "garbage for a key",
            |parent, _, pair| parent.provide_certificate(&pair.certificate, "not a key"),
            "TLS_KEY: not a private key in PEM or DER",
        ),
        (
            "the key beside the certificate",
            |parent, _, pair| {
                parent.provide_certificate(&format!("{}{}", pair.certificate, pair.key), &pair.key)
            },
            "TLS_CERT_CHAIN: has a private key in it, which every reader of the file now knows: make a new key",
        ),
        (
            "an authority",
            |parent, ca, pair| parent.provide_certificate(ca.authority_pem(), &pair.key),
            "TLS_CERT_CHAIN: certificate 1 is that of an authority: the server's comes first",
        ),
        (
            "out of order",
            |parent, ca, pair| {
                let stranger = TestCa::new()?;
                let chain = format!("{}{}{}", pair.certificate, stranger.authority_pem(), ca.authority_pem());
                parent.provide_certificate(&chain, &pair.key)
            },
            "TLS_CERT_CHAIN: certificate 1 is not issued by certificate 2",
        ),
        (
            "a ciphertext for another variable",
            |parent, _, pair| {
                let blob = parent.kms.encrypt_boot_secret(&parent.key, "TICKET_SIGNING_SECRET", &pair.key)?;
                parent.set("TLS_KEY_CIPHERTEXT", Some(&blob));
                Ok(())
            },
            "TLS_KEY_CIPHERTEXT is not what KMS encrypts with the context nitro-signer=boot-secret, name=TLS_KEY",
        ),
        (
            "no certificate",
            |parent, _, _| {
                parent.set("TLS_CERT_CHAIN", None);
                Ok(())
            },
            "TLS_CERT_CHAIN is missing",
        ),
        (
            "no key",
            |parent, _, _| {
                parent.set("TLS_KEY_CIPHERTEXT", None);
                Ok(())
            },
            "TLS_KEY_CIPHERTEXT is missing",
        ),
        (
            "a key in plaintext",
            |parent, _, pair| {
                parent.set("TLS_KEY", Some(&format!("\"{}\"", pair.key)));
                Ok(())
            },
            "TLS_KEY is refused in plaintext: nitro.toml asks for it from KMS",
        ),
        (
            "TLS is off",
            |parent, _, _| {
                parent.nitro_toml.tls = "mode = \"off\"";
                Ok(())
            },
            "TLS_CERT_CHAIN is refused: it takes tls.mode = \"provided\" in nitro.toml",
        ),
        (
            "TLS is self-signed",
            |parent, _, _| {
                parent.nitro_toml.tls = "mode = \"self-signed\"";
                parent.set("TLS_CERT_CHAIN", None);
                Ok(())
            },
            "TLS_KEY_CIPHERTEXT is refused: it takes tls.mode = \"provided\" in nitro.toml",
        ),
    ];
    for (row, change, line) in cases {
        let outcome = provided(&pair).and_then(|(mut parent, _)| {
            change(&mut parent, &ca, &pair)?;
            parent.start()?.refuses(EX_CONFIG, line)
        });
        rows.check(row, outcome);
    }
    rows.finish();
}

/// Connections that are open when the signal comes end with close_notify. Stalled handshakes do not delay the end.
#[test]
fn a_drain_ends_connections_cleanly() -> Result<(), Failure> {
    let mut server = own();
    let mut idle = server.connect()?;
    idle.send(request("GET /health", "keep-alive"))?;
    idle.receive()?;
    let hello = TlsClient::new().hello()?;
    let mut stalled = Vec::new();
    for part in [&b""[..], &hello[..10], &hello] {
        let mut connection = Connection::open(server.address())?;
        connection.send(part)?;
        stalled.push(connection);
    }
    // It has them all by then.
    server.is_well()?;
    server.stack().enclave.terminate()?;
    idle.closes_within(Duration::from_secs(5))?;
    let status = server.stack().enclave.ended_within(DEADLINE - SLACK)?;
    ensure(status.success(), || status.to_string())
}
