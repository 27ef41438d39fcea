//! The server a test speaks to: a stack of its own, or one that runs already.

use std::env;
use std::net::{SocketAddr, ToSocketAddrs};

use crate::contract::HEALTHY;
use crate::exchange::Exchange;
use crate::raw_http::Connection;
use crate::stack::{Secrets, Stack};
use crate::tls::TlsClient;
use crate::{Failure, Request, Signer};

/// An address with the secrets that go with it.
pub struct Server {
    address: SocketAddr,
    /// The secrets that the server was started with.
    pub secrets: Secrets,
    tls: Option<TlsClient>,
    stack: Option<Stack>,
}

impl Server {
    /// The server named by `ENCLAVE_BASE_URL` if that is set, else a stack of its own, with `ACCEPTANCE_TLS` as the
    /// mode of its TLS if that is set.
    ///
    /// A test that uses it must not assume that no key or nonce exists.
    #[must_use]
    pub fn any() -> Self {
        match (env::var("ENCLAVE_BASE_URL"), env::var("ACCEPTANCE_TLS")) {
            (Ok(url), _) => Self::at(&url),
            (Err(_), Ok(mode)) => Self::own(&["--tls", &mode]),
            (Err(_), Err(_)) => Self::own(&[]),
        }
    }

    /// A stack of its own, for tests that need the process, an empty server or an option.
    #[must_use]
    pub fn own(options: &[&str]) -> Self {
        let secrets = Secrets::random();
        let stack = Stack::start(&secrets, options).expect("the stack starts");
        let tls = options.contains(&"self-signed").then(TlsClient::new);
        Self { address: stack.address(), secrets, tls, stack: Some(stack) }
    }

    /// A server that somebody else has started.
    #[must_use]
    pub fn at_address(address: SocketAddr, secrets: Secrets) -> Self {
        Self { address, secrets, tls: None, stack: None }
    }

    /// The same, spoken to with TLS.
    #[must_use]
    pub fn over_tls(mut self) -> Self {
        self.tls = Some(TlsClient::new());
        self
    }

    fn at(url: &str) -> Self {
        let variable = |name: &str| {
            env::var(name).unwrap_or_else(|_| panic!("ENCLAVE_BASE_URL is set, so {name} must be"))
        };
        let (authority, tls) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(authority), _) => (authority, None),
            (None, Some(authority)) => (authority, Some(TlsClient::new())),
            (None, None) => panic!("ENCLAVE_BASE_URL is http://HOST:PORT or https://HOST:PORT"),
        };
        let address = authority
            .trim_end_matches('/')
            .to_socket_addrs()
            .expect("ENCLAVE_BASE_URL resolves")
            .next()
            .expect("ENCLAVE_BASE_URL has an address");
        let mut sealing_key = [0; 32];
        hex::decode_to_slice(variable("SEALING_KEY"), &mut sealing_key)
            .expect("SEALING_KEY is 64 hex digits");
        Self {
            address,
            secrets: Secrets {
                api_key: variable("INTERNAL_API_KEY"),
                ticket_secret: variable("TICKET_SIGNING_SECRET"),
                sealing_key,
            },
            tls,
            stack: None,
        }
    }

    /// The API key.
    #[must_use]
    pub fn api_key(&self) -> &str {
        &self.secrets.api_key
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The processes of a server started with [`Server::own`].
    pub fn stack(&mut self) -> &mut Stack {
        self.stack.as_mut().expect("a server of our own has a stack")
    }

    /// A new connection.
    pub fn connect(&self) -> Result<Connection, Failure> {
        match &self.tls {
            None => Connection::open(self.address),
            Some(client) => Connection::open_tls(self.address, client),
        }
    }

    /// Where a client of another make finds it.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.address)
    }

    /// Sends raw `bytes`, a `GET` or `POST`, on a new connection and reads the answer.
    #[must_use]
    pub fn raw(&self, bytes: impl AsRef<[u8]>) -> Exchange {
        match self.connect() {
            Ok(connection) => Exchange::on(connection, "GET", bytes.as_ref()),
            Err(failure) => Exchange::of(bytes.as_ref(), Err(failure)),
        }
    }

    /// Sends `request` on a new connection and reads the answer.
    #[must_use]
    pub fn send(&self, request: &Request) -> Exchange {
        match self.connect() {
            Ok(connection) => Exchange::on(connection, request.method_name(), &request.bytes()),
            Err(failure) => Exchange::of(&request.bytes(), Err(failure)),
        }
    }

    /// Posts `body` with the API key, on a new connection.
    #[must_use]
    pub fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Exchange {
        self.send(&Request::post(path, self.api_key(), body))
    }

    /// A client that keeps its connection.
    #[must_use]
    pub fn signer(&self) -> Signer<'_> {
        Signer::new(self)
    }

    /// Checks that the server answers as usual: whatever was done to it did no harm.
    pub fn is_well(&self) -> Result<(), Failure> {
        self.send(&Request::new("GET", "/health")).is(200, HEALTHY)
    }
}
