//! More connections than the signer has places for: who gives a place up, and who never does. And connections that have
//! had their time or their requests.
//!
//! The answers are those of `docs/api.md`, "11. Connections".

use std::thread;
use std::time::{Duration, Instant};

use acceptance::attested::{Attested, Parent};
use acceptance::contract::HEALTHY;
use acceptance::failure::ensure;
use acceptance::raw_http::Response;
use acceptance::signer::new_identity;
use acceptance::{Connection, Failure, Request, Rows, Server};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The longest wait of a newcomer on a busy machine. Idle connections are kept for 75 s, and silent ones for 10 s.
const AT_ONCE: Duration = Duration::from_secs(2);

/// From the order to close to the end, with the proxy on the way.
const GOODBYE: Duration = Duration::from_secs(3);

fn signer_with(
    limits: &'static str,
    max_requests_in_flight: u32,
    tls: &'static str,
) -> Result<(Parent, Attested), Failure> {
    let mut parent = Parent::new()?;
    parent.nitro_toml.limits = limits;
    parent.nitro_toml.max_requests_in_flight = max_requests_in_flight;
    parent.nitro_toml.tls = tls;
    let attested = parent.ready()?;
    Ok((parent, attested))
}

const IN_THE_CLEAR: &str = "mode = \"off\"";
const OVER_TLS: &str = "mode = \"self-signed\"\nserver_names = [\"localhost\"]";

fn health() -> Vec<u8> {
    Request::new("GET", "/health").bytes()
}

fn generate(server: &Server) -> Request {
    let body = format!(r#"{{"identity_id":"{}","alg":"secp256k1"}}"#, new_identity());
    Request::post("/internal/generate", server.api_key(), body)
}

fn asked_once(server: &Server) -> Result<Connection, Failure> {
    let mut connection = server.connect()?;
    is_healthy(&mut connection)?;
    Ok(connection)
}

fn is_healthy(connection: &mut Connection) -> Result<Response, Failure> {
    connection.send(health())?;
    let response = connection.receive()?;
    ensure(response.text() == HEALTHY, || response.text())?;
    Ok(response)
}

/// The time from the connect to the answer.
fn newcomer(server: &Server) -> Result<Duration, Failure> {
    let started = Instant::now();
    asked_once(server)?;
    Ok(started.elapsed())
}

/// The slowest of 50, one after the other.
fn slowest_newcomer(server: &Server) -> Result<Duration, Failure> {
    (0..50).try_fold(Duration::ZERO, |slowest, _| Ok(slowest.max(newcomer(server)?)))
}

#[test]
fn beside_more_idle_connections_than_places_a_newcomer_is_served_at_once() -> Result<(), Failure> {
    /// More than the 1,024 places.
    const IDLE: usize = 1100;
    /// Three quarters of the places.
    const KEPT: usize = 768;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let (_parent, attested) = signer_with("", 1024, IN_THE_CLEAR)?;
    let server = attested.server();
    let mut rows = Rows::new("Connections, 1,100 of them idle");

    let alone = slowest_newcomer(&server)?;
    // It is idle for longer than all the others.
    let mut with_key = server.connect()?;
    with_key.send(generate(&server).bytes())?;
    ensure(with_key.receive()?.status == 201, || "no key".to_owned())?;
    let mut idle = (0..IDLE).map(|_| asked_once(&server)).collect::<Result<Vec<_>, _>>()?;
    let crowded = slowest_newcomer(&server)?;
    println!("the slowest of 50 newcomers: {alone:?} alone, {crowded:?} beside {IDLE} idle connections");
    rows.check("newcomers", ensure(crowded < AT_ONCE, || format!("{crowded:?}")));

    rows.check("the connection with the API key stays", is_healthy(&mut with_key).map(drop));
    rows.check("the last one stays", is_healthy(&mut idle[IDLE - 1]).map(drop));
    let closed = idle[..IDLE - KEPT].iter_mut().try_for_each(|connection| connection.closes_within(GOODBYE));
    rows.check("those idle for longest are closed", closed);
    rows.finish();
    Ok(())
}

#[test]
fn connections_that_never_ask_make_room_too() -> Result<(), Failure> {
    const PLACES: &str = "max_connections = 64";
    let mut rows = Rows::new("Connections, 200 for 64 places");
    for (way, tls) in [("in the clear", IN_THE_CLEAR), ("over TLS", OVER_TLS)] {
        let (_parent, attested) = signer_with(PLACES, 64, tls)?;
        let server = attested.server();
        let half_a_head = &health()[..20];
        for (kind, shakes_hands, asks, then_sends) in [
            ("silent", false, false, &b""[..]),
            ("half a record of TLS", false, false, &[0x16, 3, 1, 2]),
            ("half a head", true, false, half_a_head),
            ("asked once", true, true, &[]),
            ("half a second head", true, true, half_a_head),
        ] {
            let open = || -> Result<Connection, Failure> {
                let mut connection =
                    if shakes_hands { server.connect()? } else { Connection::open(server.address())? };
                if asks {
                    is_healthy(&mut connection)?;
                }
                connection.send(then_sends)?;
                Ok(connection)
            };
            let crowd = (0..200).map(|_| open()).collect::<Result<Vec<_>, _>>()?;
            // Until the signer has accepted them all.
            thread::sleep(Duration::from_millis(500));
            let slowest = slowest_newcomer(&server)?;
            rows.check(
                format!("{way}, {kind}"),
                ensure(slowest < AT_ONCE, || format!("the slowest newcomer took {slowest:?}")),
            );
            drop(crowd);
        }
    }
    rows.finish();
    Ok(())
}

#[test]
fn who_has_presented_the_key_is_closed_last_and_in_order() -> Result<(), Failure> {
    let mut rows = Rows::new("Connections, order of closing");
    for (way, tls) in [("in the clear", IN_THE_CLEAR), ("over TLS", OVER_TLS)] {
        // Six may be idle.
        let (_parent, attested) = signer_with("max_connections = 8", 8, tls)?;
        let server = attested.server();
        let with_key = || {
            let mut connection = server.connect()?;
            connection.send(generate(&server).bytes())?;
            ensure(connection.receive()?.status == 201, || "no key".to_owned())?;
            Ok::<_, Failure>(connection)
        };
        let mut keyed = [with_key()?, with_key()?];
        let mut others = (0..4).map(|_| asked_once(&server)).collect::<Result<Vec<_>, _>>()?;
        // It changes the order of those with the key, and not that of the others.
        is_healthy(&mut keyed[0])?;
        is_healthy(&mut others[0])?;
        let mut newcomers = Vec::new();
        for (index, connection) in others.iter_mut().enumerate() {
            newcomers.push(with_key()?);
            rows.check(format!("{way}, without the key, {index}"), connection.closes_within(GOODBYE));
        }
        for index in [1, 0] {
            newcomers.push(with_key()?);
            rows.check(format!("{way}, with the key, {index}"), keyed[index].closes_within(GOODBYE));
        }
        for connection in &mut newcomers {
            rows.check(format!("{way}, newcomers stay"), is_healthy(connection).map(drop));
        }
    }
    rows.finish();
    Ok(())
}

#[test]
fn a_connection_that_waits_for_kms_is_never_closed() -> Result<(), Failure> {
    let (parent, attested) = signer_with("max_connections = 8", 8, IN_THE_CLEAR)?;
    let server = attested.server();
    let identity = new_identity();
    server.signer().generated(&identity)?;
    // It tries three times, for 5 s each, and then answers.
    parent.kms.fail_next("GenerateDataKey", "hang", 1000, 0)?;
    thread::scope(|scope| {
        let exporting = scope.spawn(|| server.signer().export(&identity).response().map(|it| it.status));
        let started = Instant::now();
        let mut idle = Vec::new();
        while started.elapsed() < Duration::from_secs(10) {
            let asked = Instant::now();
            idle.push(asked_once(&server)?);
            ensure(asked.elapsed() < AT_ONCE, || format!("a newcomer took {:?}", asked.elapsed()))?;
            thread::sleep(Duration::from_millis(50));
        }
        ensure(!exporting.is_finished(), || "it does not wait for KMS".to_owned())?;
        let status = exporting.join().expect("no panic")?;
        ensure(status == 502, || format!("status {status}"))
    })
}

#[test]
fn newcomers_wait_only_while_every_connection_is_busy() -> Result<(), Failure> {
    const PLACES: usize = 4;
    let (_parent, attested) = signer_with("max_connections = 4", 4, IN_THE_CLEAR)?;
    let server = attested.server();
    // Each is in the middle of its body.
    let mut busy = Vec::new();
    for _ in 0..PLACES {
        let request = generate(&server).header("expect", "100-continue");
        let mut connection = server.connect()?;
        connection.send(request.head())?;
        ensure(connection.receive()?.status == 100, || "no 100".to_owned())?;
        busy.push((connection, request.bytes()[request.head().len()..].to_vec()));
    }
    let mut waiting = server.connect()?;
    waiting.send(health())?;
    let early = waiting.drain(Duration::from_millis(500));
    ensure(early.is_empty(), || "there was a place".to_owned())?;
    let (first, rest) = &mut busy[0];
    first.send(&*rest)?;
    ensure(first.receive()?.status == 201, || "the first is not served".to_owned())?;
    let started = Instant::now();
    ensure(waiting.receive()?.text() == HEALTHY, || "not healthy".to_owned())?;
    ensure(started.elapsed() < AT_ONCE, || format!("it waited for {:?}", started.elapsed()))?;
    first.closes_within(GOODBYE)?;
    for (connection, rest) in &mut busy[1..] {
        connection.send(&*rest)?;
        ensure(connection.receive()?.status == 201, || "a busy one is not served".to_owned())?;
    }
    Ok(())
}

/// Whether the answer says that its connection ends, which then says nothing of how long it may be idle.
fn is_last(response: &Response) -> Result<bool, Failure> {
    let is_last = response.header("connection") == Some("close");
    ensure(is_last != response.header("keep-alive").is_some(), || format!("{:?}", response.headers))?;
    Ok(is_last)
}

#[test]
fn a_connection_ends_with_an_answer_when_it_is_old() -> Result<(), Failure> {
    let mut rows = Rows::new("Connections, connection_lifetime_s = 2");
    for (way, tls) in [("in the clear", IN_THE_CLEAR), ("over TLS", OVER_TLS)] {
        let (_parent, attested) = signer_with("connection_lifetime_s = 2", 8, tls)?;
        let server = attested.server();
        let mut idle = asked_once(&server)?;
        let mut connection = server.connect()?;
        let started = Instant::now();
        while !is_last(&is_healthy(&mut connection)?)? {
            ensure(started.elapsed() < Duration::from_secs(4), || format!("{way}: it never ends"))?;
            thread::sleep(Duration::from_millis(20));
        }
        let age = started.elapsed();
        rows.check(format!("{way}, not before"), ensure(age.as_millis() >= 1400, || format!("{age:?}")));
        rows.check(format!("{way}, it closes"), connection.closes_within(GOODBYE));
        // No request is lost on one that was idle when its time came.
        thread::sleep(Duration::from_secs(2).saturating_sub(age));
        rows.check(
            format!("{way}, after a pause"),
            is_healthy(&mut idle).and_then(|response| ensure(is_last(&response)?, || "it stays".to_owned())),
        );
        rows.check(format!("{way}, after a pause it closes"), idle.closes_within(GOODBYE));
        rows.check(format!("{way}, the next connection"), server.is_well());
    }
    rows.finish();
    Ok(())
}

#[test]
fn a_connection_ends_with_the_answer_to_its_last_request() -> Result<(), Failure> {
    let mut rows = Rows::new("Connections, max_requests_per_connection = 3");
    for (way, tls) in [("in the clear", IN_THE_CLEAR), ("over TLS", OVER_TLS)] {
        let (_parent, attested) = signer_with("max_requests_per_connection = 3", 8, tls)?;
        let server = attested.server();
        for (kind, requests) in [("one by one", 1), ("five in one write", 5)] {
            let mut connection = server.connect()?;
            for number in 1..=3 {
                if number == 1 || requests == 1 {
                    connection.send(health().repeat(requests))?;
                }
                let answered = connection.receive().and_then(|response| {
                    ensure(response.text() == HEALTHY, || response.text())?;
                    ensure(is_last(&response)? == (number == 3), || format!("{:?}", response.headers))
                });
                rows.check(format!("{way}, {kind}, {number}"), answered);
            }
            rows.check(format!("{way}, {kind}, it closes"), connection.closes_within(GOODBYE));
        }
        // A client that reads the header goes on, on one connection after the other.
        let mut signer = server.signer();
        let identity = new_identity();
        let public_key = signer.generated(&identity)?;
        for _ in 0..10 {
            rows.check(format!("{way}, signing goes on"), signer.signs_under(&identity, &public_key[2..]));
        }
    }
    rows.finish();
    Ok(())
}
