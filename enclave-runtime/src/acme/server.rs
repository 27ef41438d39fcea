//! The connection to the ACME server: TLS through the relay, to a server that proves the name in `acme.directory`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response};
use rustls::pki_types::ServerName;
use tokio::time::timeout;

use super::error::AcmeError;
use crate::aws::http_client::HttpClient;
use crate::relay::Relay;
use crate::remote_server::{RemoteServer, UnusableServer};
use crate::trusted_clock::TrustedClock;
use configuration::{Acme, HttpsUrl};

/// From dialing the relay to the end of the TLS handshake.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// From sending a request to the end of its answer. Public servers take seconds to sign.
const EXCHANGE_DEADLINE: Duration = Duration::from_secs(30);

/// RFC 8555 §6.1 demands a user agent.
const AGENT: &str = concat!("nitro-signer/", env!("CARGO_PKG_VERSION"));

const IMPOSTOR: &str =
    "the server has no certificate for the host of acme.directory that a trusted root vouches for";

/// The address of the ACME server, and the roots that vouch for it.
pub(crate) struct AcmeServer {
    server: RemoteServer,
    directory: HttpsUrl,
    clock: Arc<TrustedClock>,
}

impl AcmeServer {
    /// The server of the configured directory, behind `relay`.
    ///
    /// # Errors
    /// [`UnusableServer`]
    pub(crate) fn new(
        configuration: &Acme,
        relay: Relay,
        clock: Arc<TrustedClock>,
    ) -> Result<Self, UnusableServer> {
        let directory = configuration.directory.clone();
        let name = ServerName::try_from(directory.host().to_owned())
            .map_err(|_| UnusableServer("acme.directory: no host name that TLS knows"))?;
        let roots = configuration
            .roots()
            .ok_or(UnusableServer("acme.trust_anchors: not the certificate of an authority"))?;
        let server = RemoteServer::new(relay, name, roots, IMPOSTOR, Arc::clone(&clock));
        Ok(Self { server, directory, clock })
    }

    pub(crate) const fn directory(&self) -> &HttpsUrl {
        &self.directory
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// Connects to the server.
    pub(crate) async fn connect(&self) -> Result<Connection, AcmeError> {
        timeout(CONNECT_DEADLINE, self.server.connect())
            .await
            .unwrap_or(Err("it took too long to connect"))
            .map(Connection)
            .map_err(AcmeError::Unreachable)
    }

    /// A request with the headers that all requests have.
    pub(crate) fn request(
        &self,
        method: Method,
        url: &HttpsUrl,
        body: Option<String>,
    ) -> Result<Request<Full<Bytes>>, AcmeError> {
        let mut request = Request::builder()
            .method(method)
            .uri(url.path())
            .header(HOST, url.authority())
            .header(USER_AGENT, HeaderValue::from_static(AGENT));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/jose+json"));
        }
        request
            .body(Full::new(body.map(Bytes::from).unwrap_or_default()))
            .map_err(|_| AcmeError::Unintelligible("it names a url that cannot be asked for"))
    }
}

/// An open connection to the ACME server.
pub(crate) struct Connection(HttpClient);

impl Connection {
    pub(crate) fn is_open(&self) -> bool {
        self.0.is_open()
    }

    /// Sends `request` and reads the whole answer, whose length the client limits.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, AcmeError> {
        match timeout(EXCHANGE_DEADLINE, self.0.exchange(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_)) => Err(AcmeError::Unreachable("the connection was cut, or its answer is too long")),
            Err(_) => Err(AcmeError::Unreachable("it took too long to answer")),
        }
    }
}
