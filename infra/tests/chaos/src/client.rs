//! A client of the signer that notes down what becomes of its requests.

use std::net::TcpStream;
use std::time::Duration;

use acceptance::signer::sign_body;
use acceptance::ticket::now_s;
use acceptance::{Connection, Failure, Request as HttpRequest, Response, Server, Ticket};
use rand::RngExt as _;
use rand::rngs::StdRng;
use uuid::Builder;

use crate::history::{Exchange, Journal, Outcome, Request, Way};

/// Longer than every deadline, so that the checker sees how late an answer is.
const PATIENCE: Duration = Duration::from_secs(60);

/// The lifetime of the API's tickets.
const TICKET_LIFE_S: u64 = 90;

/// Clocks are off by up to half a minute here.
const EXPIRED_SINCE_S: u64 = 120;

/// A client, with the connection that it keeps.
pub(crate) struct Client<'a> {
    pub(crate) server: &'a Server,
    pub(crate) journal: &'a Journal,
    kept: Option<Connection>,
}

/// A request to sign, which may be sent more than once.
#[derive(Clone)]
pub(crate) struct SignRequest {
    pub(crate) identity: String,
    digest: [u8; 32],
    nonce: String,
    ticket: String,
    has_expired: bool,
}

impl SignRequest {
    /// Of a random digest, with a ticket that has a random nonce.
    pub(crate) fn new(identity: &str, secret: &str, has_expired: bool, rng: &mut StdRng) -> Self {
        let (digest, nonce): ([u8; 32], String) = (rng.random(), new_uuid(rng));
        let exp_s = if has_expired { now_s() - EXPIRED_SINCE_S } else { now_s() + TICKET_LIFE_S };
        let ticket = Ticket::new(identity, &digest).text("nonce", &nonce).claim("exp", &exp_s.to_string());
        Self { identity: identity.to_owned(), digest, nonce, ticket: ticket.mint(secret), has_expired }
    }

    /// As it is noted down.
    pub(crate) fn request(&self) -> Request {
        let Self { identity, digest, nonce, has_expired, .. } = self.clone();
        Request::Sign { identity, digest, nonce, has_expired }
    }

    /// As it is sent.
    pub(crate) fn bytes(&self, api_key: &str) -> Vec<u8> {
        let body = sign_body(&self.identity, &hex::encode(self.digest), &self.ticket);
        HttpRequest::post("/internal/sign", api_key, body).bytes()
    }
}

/// A random UUID of version 4.
pub(crate) fn new_uuid(rng: &mut StdRng) -> String {
    Builder::from_random_bytes(rng.random()).into_uuid().to_string()
}

impl<'a> Client<'a> {
    pub(crate) fn new(server: &'a Server, journal: &'a Journal) -> Self {
        Self { server, journal, kept: None }
    }

    /// Closes the connection that it keeps.
    pub(crate) fn hang_up(&mut self) {
        self.kept = None;
    }

    /// `GET /health`.
    pub(crate) fn health(&mut self, on_kept: bool) -> Outcome {
        self.exchange(Request::Health, &HttpRequest::new("GET", "/health").bytes(), on_kept)
    }

    /// `POST /internal/generate`.
    pub(crate) fn generate(&mut self, identity: &str, on_kept: bool) -> Outcome {
        let body = format!(r#"{{"identity_id":"{identity}","alg":"secp256k1"}}"#);
        self.post("/internal/generate", &body, Request::Generate { identity: identity.to_owned() }, on_kept)
    }

    /// `POST /internal/sign`.
    pub(crate) fn sign(&mut self, sign: &SignRequest, on_kept: bool) -> Outcome {
        self.exchange(sign.request(), &sign.bytes(self.server.api_key()), on_kept)
    }

    /// `POST /internal/backup/export`.
    pub(crate) fn export(&mut self, identity: &str, on_kept: bool) -> Outcome {
        let body = format!(r#"{{"identity_id":"{identity}"}}"#);
        self.post(
            "/internal/backup/export",
            &body,
            Request::Export { identity: identity.to_owned() },
            on_kept,
        )
    }

    /// `POST /internal/backup/import`.
    pub(crate) fn import(&mut self, identity: &str, sealed_key: &str, on_kept: bool) -> Outcome {
        let body = format!(r#"{{"identity_id":"{identity}","alg":"secp256k1","sealed_key":"{sealed_key}"}}"#);
        self.post(
            "/internal/backup/import",
            &body,
            Request::Import { identity: identity.to_owned() },
            on_kept,
        )
    }

    /// `POST /internal/destroy`.
    pub(crate) fn destroy(&mut self, identity: &str, on_kept: bool) -> Outcome {
        let body = format!(r#"{{"identity_id":"{identity}"}}"#);
        self.post("/internal/destroy", &body, Request::Destroy { identity: identity.to_owned() }, on_kept)
    }

    fn post(&mut self, path: &str, body: &str, request: Request, on_kept: bool) -> Outcome {
        let bytes = HttpRequest::post(path, self.server.api_key(), body).bytes();
        self.exchange(request, &bytes, on_kept)
    }

    /// Sends `bytes` and reads the answer; on the kept connection if there is one and it is wanted.
    fn exchange(&mut self, request: Request, bytes: &[u8], on_kept: bool) -> Outcome {
        let began = self.journal.now();
        let kept = if on_kept { self.kept.take().filter(is_open) } else { None };
        let way = if kept.is_some() { Way::Kept } else { Way::Fresh };
        let (mut connected, mut sent) = (None, None);
        let answer = || -> Result<(Connection, Response), Failure> {
            let mut connection = kept.map_or_else(|| self.server.connect(), Ok)?;
            connected = Some(self.journal.now());
            connection.send(bytes)?;
            sent = Some(self.journal.now());
            let response = connection.receive_for("POST", PATIENCE)?;
            Ok((connection, response))
        };
        let outcome = match answer() {
            Ok((connection, response)) => {
                if on_kept && response.header("connection") != Some("close") {
                    self.kept = Some(connection);
                }
                Outcome::Answered { status: response.status, body: response.text() }
            }
            Err(failure) => Outcome::Cut(failure.to_string()),
        };
        let ended = self.journal.now();
        self.journal.note(Exchange { request, way, began, connected, sent, ended, outcome: outcome.clone() });
        outcome
    }
}

/// Whether nothing came unasked, as the end of a connection does.
fn is_open(connection: &Connection) -> bool {
    let nothing_came = |stream: &TcpStream| -> std::io::Result<bool> {
        stream.set_nonblocking(true)?;
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false)?;
        Ok(peeked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock))
    };
    nothing_came(connection.stream()).unwrap_or(false)
}
