//! `docs/api.md`, "11. Connections": keep-alive, pipelining, deadlines, limits and draining.

use std::io::ErrorKind;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use acceptance::binaries::binaries;
use acceptance::contract::{
    HEALTHY, INVALID_JSON, KEY_NOT_FOUND, METHOD_NOT_ALLOWED, NOT_FOUND, UNAUTHORIZED, error_body,
};
use acceptance::failure::{ensure, fail};
use acceptance::installation::run;
use acceptance::process::Process;
use acceptance::raw_http::{has_json_headers, shown};
use acceptance::signer::{new_identity, sign_body};
use acceptance::stack::ONE_SOURCE;
use acceptance::{Connection, Exchange, Failure, Request, Rows, Server, bip340};
use nix::sys::signal::{Signal, kill};

/// The deadline of `docs/api.md`, "11. Connections" for a head, a body, and a write without progress.
const DEADLINE: Duration = Duration::from_secs(10);
/// The delay that a busy machine and a second process in the path may add.
const SLACK: Duration = Duration::from_secs(4);

/// `limits.idle_timeout_s` by default, as answers announce it.
const IDLE_TIMEOUT: &str = "timeout=75";

fn health() -> Request {
    Request::new("GET", "/health")
}

fn generate(server: &Server) -> Request {
    let body = format!(r#"{{"identity_id":"{}","alg":"secp256k1"}}"#, new_identity());
    Request::post("/internal/generate", server.api_key(), body)
}

fn keyed(server: &Server, method: &str, path: &str) -> Request {
    Request::new(method, path).header("x-internal-api-key", server.api_key())
}

/// Ten requests of all kinds with the answers they get, and none of them ends the connection.
fn mixed(server: &Server) -> Vec<(&'static str, Request, u16, Option<String>)> {
    let unknown = format!(r#"{{"identity_id":"{}"}}"#, new_identity());
    let sign = sign_body(&new_identity(), &"0".repeat(64), &"t".repeat(40));
    let error = |text: &str| Some(error_body(text));
    vec![
        ("health", health(), 200, Some(HEALTHY.to_owned())),
        ("generate", generate(server), 201, None),
        ("generate, chunked", generate(server).chunked(7), 201, None),
        ("HEAD", Request::new("HEAD", "/health"), 200, None),
        ("no key", Request::new("GET", "/internal/sign"), 401, error(UNAUTHORIZED)),
        ("sign", Request::post("/internal/sign", server.api_key(), sign), 404, error(KEY_NOT_FOUND)),
        ("unknown path", keyed(server, "GET", "/none"), 404, error(NOT_FOUND)),
        (
            "export, chunked",
            Request::post("/internal/backup/export", server.api_key(), unknown).chunked(1),
            404,
            error(KEY_NOT_FOUND),
        ),
        ("other method", keyed(server, "DELETE", "/internal/sign"), 405, error(METHOD_NOT_ALLOWED)),
        ("not JSON", Request::post("/internal/sign", server.api_key(), "x"), 400, error(INVALID_JSON)),
    ]
}

/// Reads the answers to `mixed` and checks them in order.
fn check_mixed(
    rows: &mut Rows,
    way: &str,
    connection: &mut Connection,
    requests: &[(&'static str, Request, u16, Option<String>)],
) {
    for (name, request, status, body) in requests {
        let answer = connection.receive_for(request.method_name(), Duration::from_secs(20));
        let row = format!("{way}, {name}");
        let lost = answer.is_err();
        rows.check(
            row,
            Exchange::of(&request.bytes(), answer).response().and_then(|response| {
                ensure(response.status == *status, || format!("status {}, not {status}", response.status))?;
                has_json_headers(response)?;
                let idle = response.header("keep-alive");
                ensure(idle == Some(IDLE_TIMEOUT), || {
                    format!("`keep-alive` is {idle:?}, not {IDLE_TIMEOUT:?}")
                })?;
                ensure(body.as_ref().is_none_or(|body| *body == response.text()), || response.text())
            }),
        );
        if lost {
            return;
        }
    }
}

#[test]
fn answers_come_in_order_however_the_requests_arrive() -> Result<(), Failure> {
    let server = Server::any();
    let mut rows = Rows::new("Connections, keep-alive and pipelining");

    let mut connection = server.connect()?;
    for round in 0..3 {
        for request in mixed(&server) {
            connection.send(request.1.bytes())?;
            check_mixed(&mut rows, &format!("one by one, round {round}"), &mut connection, &[request]);
        }
    }

    let mut connection = server.connect()?;
    let requests = mixed(&server);
    let all: Vec<u8> = requests.iter().flat_map(|(_, request, ..)| request.bytes()).collect();
    connection.send(&all)?;
    check_mixed(&mut rows, "in one write", &mut connection, &requests);

    let mut connection = server.connect()?;
    let requests = mixed(&server);
    let all: Vec<u8> = requests.iter().flat_map(|(_, request, ..)| request.bytes()).collect();
    for piece in all.chunks(13) {
        connection.send(piece)?;
    }
    check_mixed(&mut rows, "in writes of 13 bytes", &mut connection, &requests);

    let mut connection = server.connect()?;
    let requests = mixed(&server);
    let all: Vec<u8> = requests.iter().flat_map(|(_, request, ..)| request.bytes()).collect();
    connection.send(&all)?;
    connection.finish_sending()?;
    check_mixed(&mut rows, "in one write, half-closed", &mut connection, &requests);
    rows.check("half-closed: closes after the last", connection.closes_within(Duration::from_secs(5)));

    let mut connection = server.connect()?;
    connection.send(health().bytes().repeat(100))?;
    let last = (0..100).try_for_each(|_| {
        let response = connection.receive()?;
        ensure(response.text() == HEALTHY, || response.text())
    });
    rows.check("100 in one write", last);
    rows.finish();
    Ok(())
}

#[test]
fn a_request_may_arrive_one_byte_per_write() -> Result<(), Failure> {
    let server = Server::any();
    let mut rows = Rows::new("Connections, one byte per write");
    for (row, request, status) in [
        ("health", health(), 200),
        ("generate", generate(&server), 201),
        ("generate, chunked", generate(&server).chunked(5), 201),
    ] {
        let mut connection = server.connect()?;
        for byte in request.bytes() {
            connection.send([byte])?;
        }
        let exchange = Exchange::of(&request.bytes(), connection.receive());
        rows.check(
            row,
            exchange.response().and_then(|response| {
                ensure(response.status == status, || format!("status {}", response.status))
            }),
        );
    }
    rows.finish();
    Ok(())
}

#[test]
fn a_half_closed_client_gets_its_answer() -> Result<(), Failure> {
    let server = Server::any();
    let mut signer = server.signer();
    let identity = new_identity();
    let public_key = signer.generated(&identity)?;
    let digest: [u8; 32] = rand::random();
    let body = sign_body(&identity, &hex::encode(digest), &signer.ticket(&identity, &digest));
    let mut connection = server.connect()?;
    connection.send(Request::post("/internal/sign", server.api_key(), body).bytes())?;
    connection.finish_sending()?;
    let response = connection.receive()?;
    ensure(response.status == 200, || format!("status {}: {}", response.status, response.text()))?;
    bip340::verify(&response.member("signature")?, &digest, bip340::x_only(&public_key))?;
    connection.closes_within(Duration::from_secs(5))
}

#[test]
fn clients_that_leave_early_harm_nobody() -> Result<(), Failure> {
    let server = Server::any();
    let mut rows = Rows::new("Connections, early leavers");
    let whole = generate(&server).bytes();
    let head = generate(&server).head();
    for (row, part) in [
        ("nothing", &b""[..]),
        ("half a request line", &whole[..9]),
        ("half a head", &whole[..head.len() / 2]),
        ("a head", &head[..]),
        ("half a body", &whole[..whole.len() - 10]),
        ("a whole request, answer not read", &whole[..]),
    ] {
        for _ in 0..30 {
            server.connect()?.send(part)?;
        }
        rows.check(row, server.is_well());
        let half_closed = (|| {
            let mut connection = server.connect()?;
            connection.send(part)?;
            connection.finish_sending()?;
            connection.time_to_close(DEADLINE + SLACK).map(drop)
        })();
        rows.check(format!("{row}, half-closed: closes"), half_closed);
    }
    rows.check(
        "a request as usual",
        server
            .send(&generate(&server))
            .response()
            .and_then(|response| ensure(response.status == 201, || response.text())),
    );
    rows.finish();
    Ok(())
}

#[test]
fn two_hundred_connections_are_served() -> Result<(), Failure> {
    let server = Server::any();
    let mut connections = (0..200).map(|_| server.connect()).collect::<Result<Vec<_>, _>>()?;
    for round in 0..3 {
        for connection in &mut connections {
            connection.send(health().bytes())?;
        }
        for (n, connection) in connections.iter_mut().enumerate() {
            let response = connection
                .receive()
                .map_err(|why| Failure::new(format!("round {round}, connection {n}: {why}")))?;
            ensure(response.text() == HEALTHY, || {
                format!("round {round}, connection {n}: {} {}", response.status, response.text())
            })?;
        }
    }
    Ok(())
}

/// Sends the head of `request` with an `Expect` and waits for the 100: the request is in flight.
fn in_flight(server: &Server, request: &Request) -> Result<(Connection, Vec<u8>), Failure> {
    let request = request.clone().header("expect", "100-continue");
    let body = request.bytes()[request.head().len()..].to_vec();
    let mut connection = server.connect()?;
    connection.send(request.head())?;
    let interim = connection.receive()?;
    ensure(interim.status == 100, || format!("status {}, not 100", interim.status))?;
    connection.send(&body[..body.len() / 2])?;
    Ok((connection, body[body.len() / 2..].to_vec()))
}

fn is_completed(connection: &mut Connection, rest: &[u8]) -> Result<(), Failure> {
    connection.send(rest)?;
    let response = connection.receive()?;
    ensure(response.status == 201, || format!("status {}: {}", response.status, response.text()))
}

#[test]
fn too_many_requests_in_flight_are_503() -> Result<(), Failure> {
    let server = Server::own(&["--max-requests-in-flight", "2"]);
    let mut rows = Rows::new("Connections, --max-requests-in-flight 2");
    let mut first = in_flight(&server, &generate(&server))?;
    let mut second = in_flight(&server, &generate(&server))?;
    for n in 0..3 {
        rows.check(format!("third request, try {n}"), server.send(&generate(&server)).is_at_capacity());
    }
    rows.check("the first is completed", is_completed(&mut first.0, &first.1));
    let third = in_flight(&server, &generate(&server));
    rows.check(
        "then there is room",
        third.and_then(|(mut connection, rest)| {
            server.send(&generate(&server)).is_at_capacity()?;
            is_completed(&mut connection, &rest)
        }),
    );
    rows.check("the second is completed", is_completed(&mut second.0, &second.1));
    let exchange = server.send(&generate(&server));
    rows.check("and again", exchange.response().and_then(|r| ensure(r.status == 201, || r.text())));
    rows.finish();
    Ok(())
}

/// A client that sends `parts` with a pause before each, then waits for the server to close.
struct Slow {
    row: &'static str,
    parts: Vec<Vec<u8>>,
    pause: Duration,
}

/// Plays a slow client; gives the time from the first byte (or the connect) to the close.
fn time_to_cut(server: &Server, slow: &Slow) -> Result<Duration, Failure> {
    let mut connection = server.connect()?;
    let start = Instant::now();
    for part in &slow.parts {
        if connection.send(part).is_err() {
            return Ok(start.elapsed());
        }
        let wait = connection.time_to_close(slow.pause);
        if wait.is_ok() {
            return Ok(start.elapsed());
        }
    }
    connection.time_to_close(DEADLINE + SLACK)?;
    Ok(start.elapsed())
}

/// The one slow test: every deadline at once, each client in a thread of its own.
#[test]
fn slow_clients_are_cut_at_the_deadline_and_not_before() {
    let server = Server::any();
    let second = Duration::from_secs(1);
    let head = health().bytes();
    let body = generate(&server).bytes();
    let body_head = generate(&server).head().len();
    let one_each = |bytes: &[u8]| bytes.iter().map(|b| vec![*b]).collect::<Vec<_>>();
    let then_bytes = |whole: Vec<u8>, rest: &[u8]| [vec![whole], one_each(rest)].concat();
    let chunked = generate(&server).chunked(1).bytes();
    let chunked_head = generate(&server).chunked(1).head().len();
    let clients = [
        Slow { row: "nothing sent", parts: vec![], pause: second },
        Slow { row: "one byte sent", parts: vec![head[..1].to_vec()], pause: second },
        Slow { row: "half a head sent", parts: vec![head[..20].to_vec()], pause: second },
        Slow {
            row: "a head without its last byte",
            parts: vec![head[..head.len() - 1].to_vec()],
            pause: second,
        },
        Slow { row: "a head, one byte a second", parts: one_each(&head[..20]), pause: second },
        Slow {
            row: "a head that never ends",
            parts: then_bytes(b"GET /health HTTP/1.1\r\nHost: signer\r\nX-A: ".to_vec(), &[b'a'; 40]),
            pause: second / 2,
        },
        Slow { row: "a body never sent", parts: vec![body[..body_head].to_vec()], pause: second },
        Slow { row: "half a body sent", parts: vec![body[..body.len() - 10].to_vec()], pause: second },
        Slow {
            row: "a body, one byte a second",
            parts: then_bytes(body[..body_head].to_vec(), &body[body_head..body_head + 20]),
            pause: second,
        },
        Slow {
            row: "chunks, one byte a second",
            parts: then_bytes(chunked[..chunked_head].to_vec(), &chunked[chunked_head..chunked_head + 20]),
            pause: second,
        },
        Slow { row: "chunks never ended", parts: vec![chunked[..chunked.len() - 2].to_vec()], pause: second },
        Slow {
            row: "a second head never ended",
            parts: vec![[&head[..], &head[..20]].concat()],
            pause: second,
        },
        Slow {
            row: "a second head, one byte a second",
            parts: then_bytes(head.clone(), &head[..20]),
            pause: second,
        },
    ];
    let mut rows = Rows::new("Connections, deadlines");
    thread::scope(|scope| {
        let server = &server;
        let cut: Vec<_> =
            clients.iter().map(|slow| (slow.row, scope.spawn(move || time_to_cut(server, slow)))).collect();
        let patient = scope.spawn(|| idle_and_slow_but_in_time(server));
        let deaf = scope.spawn(|| never_reads(server));
        for (row, client) in cut {
            let outcome = client.join().expect("a client does not panic").and_then(|took| {
                let early = took < DEADLINE.saturating_sub(Duration::from_secs(1));
                ensure(!early && took < DEADLINE + SLACK, || format!("cut after {took:?}"))
            });
            rows.check(row, outcome);
        }
        rows.check("slow but in time, and idle", patient.join().expect("no panic"));
        rows.check("a client that never reads", deaf.join().expect("no panic"));
    });
    rows.check("the server is well", server.is_well());
    rows.finish();
}

/// A head over 6 s and a body over 6 s are in time; 12 s of idleness are far from 75.
fn idle_and_slow_but_in_time(server: &Server) -> Result<(), Failure> {
    let mut idle = server.connect()?;
    idle.send(health().bytes())?;
    idle.receive()?;
    let request = generate(server);
    let mut slow = server.connect()?;
    for part in request.bytes().chunks(request.bytes().len() / 12 + 1) {
        slow.send(part)?;
        thread::sleep(Duration::from_secs(1));
    }
    let response = slow.receive()?;
    ensure(response.status == 201, || format!("slow: status {}", response.status))?;
    idle.send(health().bytes())?;
    let response = idle.receive()?;
    ensure(response.status == 200, || format!("idle: status {}", response.status))
}

/// Sends requests and reads nothing. Once nothing more can be sent, the answers are stuck too, for
/// nobody reads them: from then on the deadline runs, whatever is still taken from the client. The answers are long, so
/// that they are stuck before a connection has had its requests.
fn never_reads(server: &Server) -> Result<(), Failure> {
    /// More than the kernel's buffers of all sockets on the way hold. What is taken beyond that, a program stores.
    const BUFFERED_MAX_BYTES: usize = 64 << 20;
    let mut connection = server.connect()?;
    connection.stream().set_write_timeout(Some(Duration::from_millis(500)))?;
    let requests = Request::new("GET", "/.well-known/attestation").bytes().repeat(100);
    let start = Instant::now();
    let mut sent = 0;
    let mut stuck: Option<Instant> = None;
    loop {
        // A busy machine takes a while to fill them.
        let is_filling = sent < BUFFERED_MAX_BYTES && start.elapsed() < DEADLINE * 6;
        ensure(stuck.is_some() || is_filling, || {
            format!("not stuck after {sent} bytes, so a program stores the answers")
        })?;
        ensure(stuck.is_none_or(|since| since.elapsed() < DEADLINE + SLACK), || {
            format!("not cut {:?} after the answers got stuck; {sent} bytes sent", DEADLINE + SLACK)
        })?;
        match connection.writer().write(&requests) {
            Ok(n) => {
                sent += n;
                // A busy machine can pause that long too; buffers were still filling then.
                stuck = stuck.filter(|since| since.elapsed() >= DEADLINE / 2);
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                stuck.get_or_insert_with(Instant::now);
                server.is_well().map_err(|why| Failure::new(format!("others suffer: {why}")))?;
            }
            Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                return ensure(stuck.is_some(), || format!("cut after {sent} bytes, before it was stuck"));
            }
            Err(e) => return Err(e.into()),
        }
    }
}

/// A body that the answer does not need is read past if it came along, so that what follows it is the next request.
#[test]
fn an_unwanted_body_ends_no_connection() -> Result<(), Failure> {
    let server = Server::any();
    let mut rows = Rows::new("Connections, a body nobody wants");
    let body = format!(r#"{{"identity_id":"{}"}}"#, new_identity());
    let post = |path: &str, key: &str| Request::post(path, key, body.clone());
    for (row, request, status) in [
        ("wrong key", post("/internal/sign", "wrong"), 401),
        ("unknown path", post("/internal/other", server.api_key()), 404),
        ("other type", post("/internal/sign", server.api_key()).header("content-encoding", "gzip"), 415),
        ("health", post("/health", ""), 405),
    ] {
        let mut connection = server.connect()?;
        let both = [request.bytes(), health().bytes()].concat();
        connection.send(&both)?;
        for expected in [status, 200] {
            let answered = connection.receive().and_then(|response| {
                ensure(response.status == expected, || format!("status {}", response.status))
            });
            rows.check(row, answered);
        }
    }
    rows.finish();
    Ok(())
}

/// HTTP/1.1 is all that is spoken, so the header means nothing.
#[test]
fn an_upgrade_header_changes_nothing() -> Result<(), Failure> {
    let server = Server::any();
    let mut rows = Rows::new("Connections, Upgrade");
    for protocol in ["h2c", "websocket"] {
        let upgrade = |request: Request, option: &str| {
            request.header("connection", &format!("{option}Upgrade")).header("upgrade", protocol)
        };
        let outcome = server.connect().and_then(|mut connection| {
            let requests = [
                (upgrade(health(), ""), 200),
                (upgrade(generate(&server), ""), 201),
                (health(), 200),
                (upgrade(health(), "close, "), 200),
            ];
            for (request, status) in requests {
                connection.send(request.bytes())?;
                let response = connection.receive()?;
                ensure(response.status == status, || format!("status {}", response.status))?;
            }
            connection.closes_within(Duration::from_secs(5))
        });
        rows.check(protocol, outcome);
    }
    let url = format!("{}/health", server.base_url());
    let said = run(Command::new("curl").args(["--silent", "--show-error", "--insecure", "--http2", &url]));
    let said = said.and_then(|said| {
        ensure(said.stdout == HEALTHY.as_bytes(), || String::from_utf8_lossy(&said.stdout).into_owned())
    });
    rows.check("curl --http2", said);
    rows.finish();
    Ok(())
}

#[test]
fn sigterm_lets_the_signer_finish_what_it_began() -> Result<(), Failure> {
    let mut server = Server::own(&[]);
    let (mut connection, rest) = in_flight(&server, &generate(&server))?;
    let mut idle = server.connect()?;
    idle.send(health().bytes())?;
    idle.receive()?;
    server.stack().enclave.terminate()?;
    thread::sleep(Duration::from_millis(300));
    ensure(server.stack().enclave.is_running(), || "it ended with a request in flight".to_owned())?;
    is_completed(&mut connection, &rest)?;
    let status = server.stack().enclave.ended_within(Duration::from_secs(15))?;
    ensure(status.code() == Some(0), || format!("it ended with {status}"))?;
    idle.closes_within(Duration::from_secs(5))?;
    // The proxy outlives it and does not pretend that anyone answers.
    let refused = server.send(&health());
    ensure(refused.response().is_err(), || "an answer from a signer that is gone".to_owned())?;
    let proxy_runs = server.stack().proxy.is_running();
    ensure(proxy_runs, || "the proxy ended with the signer".to_owned())
}

#[test]
fn sigterm_lets_the_proxy_finish_what_it_began() -> Result<(), Failure> {
    let mut server = Server::own(&[]);
    let (mut connection, rest) = in_flight(&server, &generate(&server))?;
    server.stack().proxy.terminate()?;
    let deadline = Instant::now() + Duration::from_secs(5);
    while server.connect().is_ok() {
        if Instant::now() > deadline {
            return fail("the proxy still accepts connections 5 s after SIGTERM");
        }
        thread::sleep(Duration::from_millis(20));
    }
    is_completed(&mut connection, &rest)?;
    drop(connection);
    let status = server.stack().proxy.ended_within(Duration::from_secs(15))?;
    ensure(status.code() == Some(0), || format!("it ended with {status}"))
}

/// A whole request that the process has not looked at yet when the signal comes, on an open connection and on one that
/// is still to be accepted.
#[test]
fn sigterm_answers_what_has_arrived() -> Result<(), Failure> {
    let mut rows = Rows::new("Connections, SIGTERM behind requests");
    for (row, warm) in [("on connections in use", true), ("on connections to be accepted", false)] {
        let mut server = Server::own(&[]);
        let pid = server.stack().enclave.pid();
        let request = health();
        let mut waiting = Vec::new();
        if warm {
            for _ in 0..20 {
                let mut connection = server.connect()?;
                connection.send(request.bytes())?;
                connection.receive()?;
                waiting.push(connection);
            }
        }
        kill(pid, Signal::SIGSTOP)?;
        if !warm {
            for _ in 0..10 {
                waiting.push(server.connect()?);
            }
        }
        let generates: Vec<_> = waiting.iter().map(|_| generate(&server)).collect();
        for (connection, generate) in waiting.iter_mut().zip(&generates) {
            connection.send(generate.bytes())?;
        }
        // The proxy has passed them on when nothing of them waits in it any more.
        thread::sleep(Duration::from_millis(300));
        kill(pid, Signal::SIGTERM)?;
        kill(pid, Signal::SIGCONT)?;
        for connection in &mut waiting {
            let answered = connection.receive().and_then(|response| {
                ensure(response.status == 201, || format!("status {}", response.status))
            });
            rows.check(row, answered);
        }
        let status = server.stack().enclave.ended_within(Duration::from_secs(10))?;
        rows.check(row, ensure(status.code() == Some(0), || format!("{status}")));
    }
    rows.finish();
    Ok(())
}

/// A client that stalls and clients that come over and over do not keep the process. Each is answered until nobody is
/// accepted any more.
#[test]
fn a_drain_under_load_answers_whom_it_accepts() -> Result<(), Failure> {
    /// The longest drain.
    const DRAIN: Duration = Duration::from_secs(10);
    let mut server = Server::own(&[]);
    let identity = new_identity();
    let public_key = server.signer().generated(&identity)?;
    let x_only = bip340::x_only(&public_key).to_owned();
    let enclave = server.stack().enclave.pid();
    let (mut stalled, _) = in_flight(&server, &generate(&server))?;
    let stopped = Instant::now();
    let clients = thread::scope(|scope| {
        let (server, identity) = (&server, &identity);
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(|| signs_until_refused(server, identity))).collect();
        thread::sleep(Duration::from_millis(300));
        kill(enclave, Signal::SIGTERM)
            .map(|()| clients.into_iter().map(|client| client.join()).collect::<Vec<_>>())
    })?;
    let status = server.stack().enclave.ended_within(DRAIN)?;
    let took = stopped.elapsed();
    ensure(status.code() == Some(0) && took < DRAIN, || format!("{status} after {took:?}"))?;
    let response = stalled.receive()?;
    ensure(response.status == 503, || format!("the stalled one: status {}", response.status))?;
    for client in clients {
        for (digest, signature) in client.expect("a client does not panic")? {
            bip340::verify(&signature, &digest, &x_only)?;
        }
    }
    Ok(())
}

/// Clients keep their connections, so that the proxy's drain lasts to its end.
#[test]
fn the_end_of_the_proxy_uses_up_no_ticket_without_its_signature() -> Result<(), Failure> {
    const ROUNDS: usize = 3;
    const CLIENTS: usize = 32;
    let mut rows = Rows::new("Connections, SIGTERM to the proxy under load");
    for options in [&[][..], &["--tls", "self-signed"]] {
        // Its own proxy stays, for what the other does not answer.
        let mut direct = Server::own(options);
        let identity = new_identity();
        let public_key = direct.signer().generated(&identity)?;
        let x_only = bip340::x_only(&public_key).to_owned();
        let socket = direct.stack().signer_socket().to_owned();
        for round in 0..ROUNDS {
            let route = format!("tcp:127.0.0.1:0=unix:{socket}");
            let arguments = [&["--route", &route, "--drain-timeout-s", "4"], &ONE_SOURCE[..]].concat();
            let mut proxy = Process::start("proxy", &binaries().proxy, &arguments, &[])?;
            let rest = proxy.ready("proxy: listening on tcp:")?;
            let address = rest.split(',').next().unwrap_or_default().parse()?;
            let mut proxied = Server::at_address(address, direct.secrets.clone());
            if !options.is_empty() {
                proxied = proxied.over_tls();
            }
            let unanswered: Vec<_> = thread::scope(|scope| {
                let (proxied, identity) = (&proxied, &identity);
                let clients: Vec<_> =
                    (0..CLIENTS).map(|_| scope.spawn(|| signs_until_cut(proxied, identity))).collect();
                thread::sleep(Duration::from_millis(300));
                let stopped = proxy.terminate();
                let ended = clients.into_iter().map(|client| client.join().expect("no panic"));
                stopped.and_then(|()| ended.collect::<Result<_, _>>())
            })?;
            let status = proxy.ended_within(Duration::from_secs(10))?;
            rows.check(
                format!("{options:?}, round {round}: the proxy"),
                ensure(status.success(), || format!("{status}")),
            );
            for (digest, ticket) in unanswered {
                let signature = direct.signer().signed(&identity, &digest, &ticket);
                let row = format!("{options:?}, round {round}: a ticket without an answer is unused");
                rows.check(row, signature.and_then(|signature| bip340::verify(&signature, &digest, &x_only)));
            }
        }
    }
    rows.finish();
    Ok(())
}

/// Signs on one connection until it is cut; gives the digest and the ticket that had no answer.
fn signs_until_cut(server: &Server, identity: &str) -> Result<([u8; 32], String), Failure> {
    let mut signer = server.signer();
    loop {
        let digest = rand::random();
        let ticket = signer.ticket(identity, &digest);
        let exchange = signer.sign(identity, &hex::encode(digest), &ticket);
        match exchange.response() {
            Ok(response) => ensure(response.status == 200, || response.text())?,
            Err(_) => return Ok((digest, ticket)),
        }
    }
}

/// Signs on a new connection each time, until one is closed before an answer; gives digests with their signatures. A
/// 503 is an answer too.
fn signs_until_refused(server: &Server, identity: &str) -> Result<Vec<([u8; 32], String)>, Failure> {
    let mut signatures = Vec::new();
    loop {
        let mut signer = server.signer();
        let digest = rand::random();
        let ticket = signer.ticket(identity, &digest);
        let exchange = signer.sign(identity, &hex::encode(digest), &ticket);
        let Ok(response) = exchange.response() else { return Ok(signatures) };
        match response.status {
            200 => signatures.push((digest, response.member("signature")?)),
            503 => {}
            status => return fail(format!("status {status}: {}", response.text())),
        }
    }
}

#[test]
fn sigterm_ends_an_idle_stack_at_once() -> Result<(), Failure> {
    let mut server = Server::own(&[]);
    server.is_well()?;
    let kept = server.connect()?;
    for name in ["enclave-dev", "proxy"] {
        let stack = server.stack();
        let process = if name == "proxy" { &mut stack.proxy } else { &mut stack.enclave };
        process.terminate()?;
        let status = process.ended_within(Duration::from_secs(10))?;
        ensure(status.code() == Some(0), || {
            format!("{name} ended with {status}: {}", shown(&process.output()))
        })?;
    }
    drop(kept);
    Ok(())
}
