//! The client of the API: the calls it makes, over a connection it keeps.

use crate::contract::OK;
use crate::exchange::Exchange;
use crate::failure::ensure;
use crate::raw_http::Connection;
use crate::{Failure, Request, Server, Ticket, bip340};

/// A client of one server.
pub struct Signer<'a> {
    server: &'a Server,
    connection: Option<Connection>,
}

impl<'a> Signer<'a> {
    /// A client of `server`.
    #[must_use]
    pub fn new(server: &'a Server) -> Self {
        Self { server, connection: None }
    }

    /// Posts `body` with the API key, on the kept connection if there is one.
    pub fn post(&mut self, path: &str, body: impl AsRef<[u8]>) -> Exchange {
        let request = Request::post(path, self.server.api_key(), body).bytes();
        let mut connection = match self.connection.take().map_or_else(|| self.server.connect(), Ok) {
            Ok(connection) => connection,
            Err(failure) => return Exchange::of(&request, Err(failure)),
        };
        let answer = connection.send(&request).and_then(|()| connection.receive());
        let open = answer.as_ref().is_ok_and(|r| r.header("connection") != Some("close"));
        self.connection = open.then_some(connection);
        Exchange::of(&request, answer)
    }

    /// `POST /internal/generate`.
    pub fn generate(&mut self, identity: &str) -> Exchange {
        let body = format!(r#"{{"identity_id":"{identity}","alg":"secp256k1"}}"#);
        self.post("/internal/generate", body)
    }

    /// `POST /internal/sign`.
    pub fn sign(&mut self, identity: &str, digest: &str, ticket: &str) -> Exchange {
        self.post("/internal/sign", sign_body(identity, digest, ticket))
    }

    /// `POST /internal/destroy`.
    pub fn destroy(&mut self, identity: &str) -> Exchange {
        let body = format!(r#"{{"identity_id":"{identity}"}}"#);
        self.post("/internal/destroy", body)
    }

    /// `POST /internal/backup/export`.
    pub fn export(&mut self, identity: &str) -> Exchange {
        let body = format!(r#"{{"identity_id":"{identity}"}}"#);
        self.post("/internal/backup/export", body)
    }

    /// `POST /internal/backup/import`.
    pub fn import(&mut self, identity: &str, sealed_key: &str) -> Exchange {
        let sealed_key = serde_json::Value::from(sealed_key);
        let body = format!(r#"{{"identity_id":"{identity}","alg":"secp256k1","sealed_key":{sealed_key}}}"#);
        self.post("/internal/backup/import", body)
    }

    /// `POST /internal/attest`.
    pub fn attest(&mut self, identity: &str, nonce: Option<&str>) -> Exchange {
        let nonce = nonce.map_or(String::new(), |nonce| format!(r#","nonce":"{nonce}""#));
        self.post("/internal/attest", format!(r#"{{"identity_id":"{identity}"{nonce}}}"#))
    }

    /// Generates and gives the public key, which must have the shape of `docs/api.md`, "1. Routes".
    pub fn generated(&mut self, identity: &str) -> Result<String, Failure> {
        let exchange = self.generate(identity);
        let key = exchange.response()?.member("public_key")?;
        exchange.is(201, &format!(r#"{{"public_key":"{key}"}}"#))?;
        ensure(is_lower_hex(&key, 66) && (key.starts_with("02") || key.starts_with("03")), || {
            format!("public_key {key:?}")
        })?;
        Ok(key)
    }

    /// Exports and gives the sealed key.
    pub fn exported(&mut self, identity: &str) -> Result<String, Failure> {
        let exchange = self.export(identity);
        let sealed = exchange.response()?.member("sealed_key")?;
        exchange.is(200, &format!(r#"{{"alg":"secp256k1","sealed_key":"{sealed}"}}"#))?;
        Ok(sealed)
    }

    /// Signs with `ticket` and gives the signature, which must have the shape of `docs/api.md`, "1. Routes".
    pub fn signed(&mut self, identity: &str, digest: &[u8; 32], ticket: &str) -> Result<String, Failure> {
        let exchange = self.sign(identity, &hex::encode(digest), ticket);
        let signature = exchange.response()?.member("signature").unwrap_or_default();
        exchange.is(200, &format!(r#"{{"signature":"{signature}"}}"#))?;
        ensure(is_lower_hex(&signature, 128), || format!("signature {signature:?}"))?;
        Ok(signature)
    }

    /// Signs a random digest with a good ticket and checks the signature under `x_only`, by
    /// libsecp256k1.
    pub fn signs_under(&mut self, identity: &str, x_only: &str) -> Result<(), Failure> {
        let digest = rand::random();
        let ticket = self.ticket(identity, &digest);
        let signature = self.signed(identity, &digest, &ticket)?;
        bip340::verify(&signature, &digest, x_only)
    }

    /// Destroys, which must succeed.
    pub fn destroyed(&mut self, identity: &str) -> Result<(), Failure> {
        self.destroy(identity).is(200, OK)
    }

    /// Imports, which must succeed.
    pub fn imported(&mut self, identity: &str, sealed_key: &str) -> Result<(), Failure> {
        self.import(identity, sealed_key).is(200, OK)
    }

    /// A good ticket.
    #[must_use]
    pub fn ticket(&self, identity: &str, digest: &[u8; 32]) -> String {
        Ticket::new(identity, digest).mint(self.secret())
    }

    /// The secret that tickets are signed with.
    #[must_use]
    pub fn secret(&self) -> &'a str {
        &self.server.secrets.ticket_secret
    }
}

/// The body of a sign request.
#[must_use]
pub fn sign_body(identity: &str, digest: &str, ticket: &str) -> String {
    let ticket = serde_json::Value::from(ticket);
    format!(r#"{{"identity_id":"{identity}","digest":"{digest}","ticket":{ticket}}}"#)
}

/// A random identity, as the API makes them.
#[must_use]
pub fn new_identity() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Whether `text` is `length` lower-case hex digits.
#[must_use]
pub fn is_lower_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
