//! The connection to the ACME server: TLS through the relay, to a server that can prove the name in `acme.directory`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::fault::AcmeFault;
use crate::aws::http_client::HttpClient;
use crate::configuration::{Acme, HttpsUrl};
use crate::relay::Relay;

/// From dialing the relay to the end of the TLS handshake.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// From sending a request to the end of its answer: public servers take seconds to sign.
const EXCHANGE_DEADLINE: Duration = Duration::from_secs(30);

/// RFC 8555 §6.1 asks for one.
const AGENT: &str = concat!("nitro-signer/", env!("CARGO_PKG_VERSION"));

/// Where the ACME server is, and by what it proves itself.
pub(crate) struct AcmeServer {
    relay: Relay,
    directory: HttpsUrl,
    name: ServerName<'static>,
    tls: TlsConnector,
}

/// The directory's host or the trust anchors cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnusableServer(&'static str);

impl std::fmt::Display for UnusableServer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.0)
    }
}

impl std::error::Error for UnusableServer {}

impl AcmeServer {
    /// The server of the configured directory, behind `relay`.
    ///
    /// # Errors
    /// [`UnusableServer`]
    pub(crate) fn new(configuration: &Acme, relay: Relay) -> Result<Self, UnusableServer> {
        let roots = match &configuration.trust_anchors {
            None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
            Some(anchors) => {
                let mut roots = RootCertStore::empty();
                for certificate in anchors {
                    let added = roots.add(certificate.clone());
                    added.map_err(|_| {
                        UnusableServer("acme.trust_anchors: not the certificate of an authority")
                    })?;
                }
                roots
            }
        };
        let name = ServerName::try_from(configuration.directory.host().to_owned())
            .map_err(|_| UnusableServer("acme.directory: no host name that TLS knows"))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| UnusableServer("TLS has no protocol version"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let directory = configuration.directory.clone();
        Ok(Self { relay, directory, name, tls: TlsConnector::from(Arc::new(tls)) })
    }

    pub(crate) const fn directory(&self) -> &HttpsUrl {
        &self.directory
    }

    /// Reads a URL of the server's, `what` in an error. It has to be where the relay leads.
    pub(crate) fn url(&self, what: &'static str, text: &str) -> Result<HttpsUrl, AcmeFault> {
        text.parse().ok().filter(|url| self.directory.is_beside(url)).ok_or(AcmeFault::Elsewhere(what))
    }

    /// Connects.
    pub(crate) async fn connect(&self) -> Result<Connection, AcmeFault> {
        timeout(CONNECT_DEADLINE, self.handshake())
            .await
            .unwrap_or(Err(AcmeFault::Unreachable("it took too long to connect")))
    }

    async fn handshake(&self) -> Result<Connection, AcmeFault> {
        let stream =
            self.relay.dial().await.map_err(|_| AcmeFault::Unreachable("the relay does not answer"))?;
        let stream = self
            .tls
            .connect(self.name.clone(), stream)
            .await
            .map_err(|fault| AcmeFault::Unreachable(tls_fault(&fault)))?;
        let client = HttpClient::over(stream).await;
        client.map(Connection).map_err(|_| AcmeFault::Unreachable("the connection was cut"))
    }

    /// What all requests have.
    pub(crate) fn request(
        &self,
        method: Method,
        url: &HttpsUrl,
        body: Option<String>,
    ) -> Result<Request<Full<Bytes>>, AcmeFault> {
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
            .map_err(|_| AcmeFault::Unintelligible("it names a url that cannot be asked for"))
    }
}

/// What an operator should know: a server that is another is another matter than a relay that cuts.
fn tls_fault(fault: &std::io::Error) -> &'static str {
    let tls = fault.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(_)) => {
            "who answers has no certificate for the host of acme.directory that a trusted root vouches for"
        }
        Some(_) => "the TLS handshake failed",
        None => "the connection was cut in the TLS handshake",
    }
}

/// An open connection to the ACME server.
pub(crate) struct Connection(HttpClient);

impl Connection {
    pub(crate) fn is_open(&self) -> bool {
        self.0.is_open()
    }

    /// Sends `request` and reads the whole answer, which is limited by the client.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, AcmeFault> {
        match timeout(EXCHANGE_DEADLINE, self.0.exchange(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_)) => Err(AcmeFault::Unreachable("the connection was cut, or its answer is too long")),
            Err(_) => Err(AcmeFault::Unreachable("it took too long to answer")),
        }
    }
}
