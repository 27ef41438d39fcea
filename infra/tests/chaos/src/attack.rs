//! Clients that misbehave. Each comes from addresses of its own, as far as a limit per address would bind it otherwise.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use acceptance::signer::sign_body;
use acceptance::tls::{TlsClient, TlsStream};
use acceptance::{Connection, Failure, Request as HttpRequest, Server};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use socket2::{Domain, SockRef, Socket, Type};

use crate::client::{SignRequest, new_uuid};
use crate::history::{Exchange, Journal, Outcome, Way};
use crate::plan::Kind;

/// Connections of clients that read no answer, and the requests that each of them sends at each [`TICK`]: enough to
/// fill every buffer in a second or two, and too few to keep the cores busy, which another fault is for.
const SLOW_READERS: usize = 40;
const UNREAD_REQUESTS: usize = 3;

/// The kernel's buffer for a client that does not read: small, so that the bytes are the proxy's and the signer's.
const RECEIVE_BUFFER_BYTES: usize = 4096;

/// Connections of clients that send byte by byte.
const SLOW_WRITERS: usize = 60;

/// Handshakes that are begun and not continued: more than the signer's 128 places for them.
const STALLED_HANDSHAKES: usize = 300;

/// So many from one source address: a quarter of the proxy's 1,024 connections is what one may have.
const PER_SOURCE: usize = 100;

/// Threads that cut connections, or send bad requests.
const AT_ONCE: usize = 2;

/// Between ten bad requests and the next ten. All of a small machine's cores would be busy otherwise, and a client that
/// waits for one says nothing about the signer.
const BETWEEN_BAD_REQUESTS: Duration = Duration::from_millis(20);

/// How long an attacker waits to connect, or for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a client keeps a connection that the signer has ended. The proxy closes such a connection after two
/// seconds.
const OUTSTAY: Duration = Duration::from_secs(3);

/// Between two bytes of a slow writer, and two looks at `stop`.
const TICK: Duration = Duration::from_millis(100);

/// The state that attackers share.
pub(crate) struct Attack<'a> {
    pub(crate) server: &'a Server,
    pub(crate) journal: &'a Journal,
    pub(crate) stop: &'a AtomicBool,
    pub(crate) seed: u64,
}

impl Attack<'_> {
    /// Attacks in the way of `kind` until `stop`.
    pub(crate) fn run(&self, kind: Kind) {
        match kind {
            Kind::SocketsCut => self.at_once(|rng| self.cut_sockets(rng)),
            Kind::BadRequests => self.at_once(|rng| self.send_bad_requests(rng)),
            Kind::SlowReaders => self.read_slowly(),
            Kind::SlowWriters => self.write_slowly(),
            Kind::StalledHandshakes => self.stall_handshakes(),
            // The others are no attacks.
            _ => {}
        }
    }

    fn at_once(&self, attack: impl Fn(&mut StdRng) + Sync) {
        let attack = &attack;
        thread::scope(|scope| {
            for number in 0..AT_ONCE as u64 {
                let mut rng = StdRng::seed_from_u64(self.seed.wrapping_add(number));
                scope.spawn(move || attack(&mut rng));
            }
        });
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// The connection number `number` of an attack from the addresses that begin with 127.0.`group`.
    fn connect(&self, group: u8, number: usize) -> Result<TcpStream, Failure> {
        let host = u8::try_from(2 + number / PER_SOURCE)?;
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, group, host), 0)).into())?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        socket.connect_timeout(&self.server.address().into(), PATIENCE)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    fn connect_tls(&self, group: u8, number: usize) -> Result<TlsStream, Failure> {
        TlsClient::new().connect(self.connect(group, number)?)
    }

    fn cut_sockets(&self, rng: &mut StdRng) {
        let identity = new_uuid(rng);
        let has_key = self.server.signer().generated(&identity).is_ok_and(|public_key| {
            self.journal.history().known_keys.insert(identity.clone(), public_key);
            true
        });
        let mut outstaying = Vec::new();
        while self.goes_on() {
            // Connections fail while a signer is down, too.
            let outcome = match rng.random_range(0..8) {
                0 => self.outstay(rng).map(|stream| outstaying.push((Instant::now(), stream))),
                1 | 2 => self.cut_a_handshake(rng),
                _ => self.cut_a_request(&identity, has_key, rng),
            };
            if outcome.is_err() {
                thread::sleep(TICK / 10);
            }
            outstaying.retain(|(since, _)| since.elapsed() < OUTSTAY);
        }
        // The last ones stay as long as the first ones did.
        if let Some((since, _)) = outstaying.last() {
            thread::sleep(OUTSTAY.saturating_sub(since.elapsed()));
        }
    }

    /// Has the signer end a connection, which the caller keeps open. Only then does the proxy give up one side that is
    /// not done: the signer and most clients close within milliseconds when the other side is gone.
    fn outstay(&self, rng: &mut StdRng) -> Result<TcpStream, Failure> {
        let mut no_hello = [0; 200];
        rng.fill(&mut no_hello[..]);
        let mut stream = self.connect(2, 0)?;
        stream.write_all(&no_hello)?;
        end(&stream, rng)?;
        Ok(stream)
    }

    fn cut_a_handshake(&self, rng: &mut StdRng) -> Result<(), Failure> {
        let hello = TlsClient::new().hello()?;
        let mut stream = self.connect(2, 0)?;
        stream.write_all(&hello[..rng.random_range(0..=hello.len())])?;
        end(&stream, rng)
    }

    /// Cuts a request at any byte, the answer to it, or neither; then the ticket is sent once more.
    fn cut_a_request(&self, identity: &str, has_key: bool, rng: &mut StdRng) -> Result<(), Failure> {
        let request = SignRequest::new(identity, &self.server.secrets.ticket_secret, false, rng);
        let bytes = request.bytes(self.server.api_key());
        let mut stream = self.connect_tls(2, 0)?;
        let is_whole = rng.random_range(0..3) == 0;
        let length = if is_whole { bytes.len() } else { rng.random_range(0..bytes.len()) };
        let began = self.journal.now();
        stream.write_all(&bytes[..length])?;
        stream.flush()?;
        if is_whole {
            let mut part = vec![0; rng.random_range(1..200)];
            if rng.random() {
                // How much of it comes makes no difference.
                let _ = stream.read(&mut part);
            }
        }
        end(stream.tcp(), rng)?;
        drop(stream);
        if is_whole && has_key {
            self.note(&request, began, Outcome::Cut("by the client".to_owned()));
            let began = self.journal.now();
            let answer = self.server.connect().and_then(|mut connection| {
                connection.send(&bytes)?;
                connection.receive_for("POST", PATIENCE)
            });
            let outcome = match answer {
                Ok(response) => Outcome::Answered { status: response.status, body: response.text() },
                Err(failure) => Outcome::Cut(failure.to_string()),
            };
            self.note(&request, began, outcome);
        }
        Ok(())
    }

    fn note(&self, request: &SignRequest, began: Duration, outcome: Outcome) {
        let ended = self.journal.now();
        let (request, way) = (request.request(), Way::Hostile);
        self.journal.note(Exchange { request, way, began, connected: None, sent: None, ended, outcome });
    }

    fn read_slowly(&self) {
        // A long answer that costs the signer little: it is made once in a minute.
        let requests = HttpRequest::new("GET", "/.well-known/attestation").bytes().repeat(UNREAD_REQUESTS);
        let mut streams = Vec::new();
        while self.goes_on() {
            for _ in 0..10 {
                if streams.len() < SLOW_READERS
                    && let Ok(stream) = self.connect_tls(3, streams.len())
                    && stream.tcp().set_write_timeout(Some(TICK / 100)).is_ok()
                {
                    streams.push((stream, 0));
                }
            }
            streams.retain_mut(|(stream, sent)| match stream.write(&requests[*sent..]) {
                Ok(taken) => {
                    *sent = (*sent + taken) % requests.len();
                    true
                }
                // That nothing is taken any more is what this is about.
                Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            });
            thread::sleep(TICK);
        }
    }

    fn write_slowly(&self) {
        let mut rng = StdRng::seed_from_u64(self.seed);
        let identity = new_uuid(&mut rng);
        let request = SignRequest::new(&identity, &self.server.secrets.ticket_secret, false, &mut rng);
        let bytes = request.bytes(self.server.api_key());
        let end_of_head = bytes.windows(4).position(|part| part == b"\r\n\r\n").map_or(0, |at| at + 4);
        let mut streams = Vec::new();
        while self.goes_on() {
            for _ in 0..10 {
                if streams.len() < SLOW_WRITERS
                    && let Ok(mut stream) = self.connect_tls(4, streams.len())
                {
                    // Some are slow with the head, the others with the body.
                    let at_once = if rng.random() { end_of_head } else { 0 };
                    if stream.write_all(&bytes[..at_once]).is_ok() {
                        streams.push((stream, at_once));
                    }
                }
            }
            streams.retain_mut(|(stream, sent)| {
                let byte = bytes.get(*sent..*sent + 1).unwrap_or_default();
                *sent += 1;
                stream.write_all(byte).and_then(|()| stream.flush()).is_ok()
            });
            thread::sleep(TICK);
        }
    }

    fn stall_handshakes(&self) {
        let Ok(hello) = TlsClient::new().hello() else { return };
        let mut streams: Vec<TcpStream> = Vec::new();
        while self.goes_on() {
            // Those that the signer has ended begin again.
            streams.retain(|stream| {
                let is_over = stream.set_nonblocking(true).is_err()
                    || (&*stream).read(&mut [0; 4096]).is_ok_and(|n| n == 0);
                !is_over
            });
            for number in streams.len()..STALLED_HANDSHAKES {
                let begun = self.connect(5, number).and_then(|mut stream| {
                    stream.write_all(&hello)?;
                    Ok(stream)
                });
                match begun {
                    Ok(stream) => streams.push(stream),
                    Err(_) => break,
                }
            }
            thread::sleep(TICK);
        }
    }

    fn send_bad_requests(&self, rng: &mut StdRng) {
        while self.goes_on() {
            if self.send_some_bad_requests(rng).is_err() {
                thread::sleep(TICK / 10);
            }
        }
    }

    /// On one connection: requests that are refused, ten at a time, and at last one that ends it.
    fn send_some_bad_requests(&self, rng: &mut StdRng) -> Result<(), Failure> {
        let mut connection = self.server.connect()?;
        for _ in 0..5 {
            let requests: Vec<Vec<u8>> = (0..10).map(|_| self.bad_request(rng)).collect();
            connection.send(requests.concat())?;
            for _ in &requests {
                self.is_refused(&mut connection)?;
            }
            thread::sleep(BETWEEN_BAD_REQUESTS);
        }
        let mut garbage = vec![0; 200];
        rng.fill(&mut garbage[..]);
        connection.send(&garbage)
    }

    fn is_refused(&self, connection: &mut Connection) -> Result<(), Failure> {
        let response = connection.receive_for("POST", PATIENCE)?;
        if !(400..=503).contains(&response.status) || response.status == 500 {
            let text = format!("{} {}", response.status, response.text());
            self.journal.notice("a bad request is refused", text);
        }
        Ok(())
    }

    fn bad_request(&self, rng: &mut StdRng) -> Vec<u8> {
        let post = |path: &str, body: &str| HttpRequest::post(path, self.server.api_key(), body);
        let forged = "x".repeat(rng.random_range(32..2_000));
        let (path, sign) = ("/internal/sign", sign_body(&new_uuid(rng), &"0".repeat(64), &forged));
        match rng.random_range(0..7) {
            0 => HttpRequest::post(path, "wrong", &sign),
            1 => post(path, &sign[..rng.random_range(0..sign.len())]),
            2 => post(path, &sign),
            3 => post("/internal/none", &sign),
            4 => post(path, &sign).method("PUT"),
            5 => post(path, &sign).without("content-type"),
            _ => post("/internal/backup/import", &sign),
        }
        .bytes()
    }
}

/// Has `stream` end, when it is dropped, as that of a client that has crashed, or of one that has been stopped.
fn end(stream: &TcpStream, rng: &mut StdRng) -> Result<(), Failure> {
    if rng.random() {
        SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
    }
    Ok(())
}
