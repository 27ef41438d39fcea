//! Connections to a signer, and requests over them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::api_key::ApiKey;
use crate::endpoint::Endpoint;
use crate::tls_trust::{TlsTrust, public_key_of};

/// From the first packet to the end of the handshake. The signer itself gives a handshake 10 s.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// From a request to the end of its answer. The signer waits for KMS for longer than for anything else, 3 times 5 s.
const EXCHANGE_DEADLINE: Duration = Duration::from_secs(30);

/// Bytes of a response's head: a signer sends five short headers.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Bytes of a response's body: an attestation document of 12 KiB in base64 is the longest.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The name of a signer in its `/health`.
const SERVICE: &str = "nitro-enclave";

/// The signer was not reached, or its bytes are no answer.
#[derive(Debug)]
pub enum Unreachable {
    /// TCP: no name, no route, no listener.
    Tcp(std::io::Error),
    /// TLS: the server lacks the expected certificate or key, or speaks no TLS.
    Tls(std::io::Error),
    /// The connection, or the answer, did not come in time.
    Late(&'static str),
    /// The connection was cut before the answer came, or the answer is no HTTP within the limits.
    Cut,
    /// The answer's body is longer than any of a signer's.
    TooLong,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(error) => write!(formatter, "cannot connect: {error}"),
            Self::Tls(error) => write!(formatter, "TLS handshake failed: {error}"),
            Self::Late(what) => write!(formatter, "{what} did not come in time"),
            Self::Cut => formatter.write_str("the connection was cut, or its answer is no HTTP"),
            Self::TooLong => write!(formatter, "the answer is longer than {MAX_BODY_BYTES} bytes"),
        }
    }
}

impl std::error::Error for Unreachable {}

/// Makes connections to one signer.
#[derive(Clone)]
pub struct Client {
    endpoint: Endpoint,
    host: HeaderValue,
    tls: Option<Arc<ClientConfig>>,
}

/// An answer of a signer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body; at most 64 KiB.
    pub body: Bytes,
}

impl Answer {
    /// Whether the signer did the work: 200 or 201.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self.status, 200 | 201)
    }

    /// Whether a signer says that it can sign. Others than signers have a `/health` too.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status == 200 && self.text("service").as_deref() == Some(SERVICE)
    }

    /// Whether a signer says that it boots or stops.
    #[must_use]
    pub fn is_not_ready(&self) -> bool {
        self.status == 503 && self.text("service").as_deref() == Some(SERVICE)
    }

    /// The string under `name` in the body's object.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        body.get(name)?.as_str().map(str::to_owned)
    }
}

impl Client {
    /// A client that accepts as the signer the servers of `trust`. Without TLS, `trust` does not matter.
    ///
    /// # Panics
    /// Never: TLS has a protocol version, and an authority can stand in a header.
    #[must_use]
    pub fn new(endpoint: Endpoint, trust: &TlsTrust) -> Self {
        let host = HeaderValue::from_str(&endpoint.authority()).expect("made of a name or an address");
        let tls = endpoint.has_tls().then(|| {
            Arc::new(trust.client_config().expect("the provider has the default protocol versions"))
        });
        Self { endpoint, host, tls }
    }

    /// Where it connects to.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Connects.
    ///
    /// # Errors
    /// [`Unreachable`]
    pub async fn connect(&self) -> Result<Connection, Unreachable> {
        timeout(CONNECT_DEADLINE, self.connect_without_deadline())
            .await
            .unwrap_or(Err(Unreachable::Late("the connection")))
    }

    async fn connect_without_deadline(&self) -> Result<Connection, Unreachable> {
        let name = self.endpoint.host().to_str();
        let stream =
            TcpStream::connect((name.as_ref(), self.endpoint.port())).await.map_err(Unreachable::Tcp)?;
        // Requests are small, and written at once.
        stream.set_nodelay(true).map_err(Unreachable::Tcp)?;
        let Some(tls) = &self.tls else { return self.over(stream, None).await };
        let name: ServerName<'static> = self.endpoint.host().clone();
        let stream =
            TlsConnector::from(Arc::clone(tls)).connect(name, stream).await.map_err(Unreachable::Tls)?;
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let certificate = certificates.first().map(|certificate| certificate.clone().into_owned());
        self.over(stream, certificate).await
    }

    async fn over<S>(
        &self,
        stream: S,
        certificate: Option<CertificateDer<'static>>,
    ) -> Result<Connection, Unreachable>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Unreachable::Cut)?;
        // The next request sees how it ended.
        tokio::spawn(connection);
        let tls_key = certificate.as_ref().and_then(public_key_of);
        Ok(Connection { sender, has_last_answer: false, host: self.host.clone(), certificate, tls_key })
    }
}

/// An open connection. Requests go one after the other.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// The signer closes after the answer that came last, which may not have been noticed yet.
    has_last_answer: bool,
    host: HeaderValue,
    certificate: Option<CertificateDer<'static>>,
    tls_key: Option<Vec<u8>>,
}

impl Connection {
    /// The certificate that the signer showed; none without TLS.
    #[must_use]
    pub const fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.certificate.as_ref()
    }

    /// The DER `SubjectPublicKeyInfo` of the certificate that the signer showed, and holds the key of; none without
    /// TLS.
    #[must_use]
    pub fn tls_key(&self) -> Option<&[u8]> {
        self.tls_key.as_deref()
    }

    /// Whether another request may be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.has_last_answer && !self.sender.is_closed()
    }

    /// `GET`s a path, with its query.
    ///
    /// # Errors
    /// [`Unreachable`]
    pub async fn get(&mut self, target: &str) -> Result<Answer, Unreachable> {
        let request = Request::builder().method(Method::GET).uri(target).body(Full::default());
        self.exchange(request.map_err(|_| Unreachable::Cut)?).await
    }

    /// `POST`s JSON to a path.
    ///
    /// # Errors
    /// [`Unreachable`]
    pub async fn post(
        &mut self,
        path: &'static str,
        api_key: &ApiKey,
        body: impl Into<Bytes>,
    ) -> Result<Answer, Unreachable> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(CONTENT_TYPE, "application/json")
            .header("x-internal-api-key", api_key.header())
            .body(Full::new(body.into()));
        self.exchange(request.map_err(|_| Unreachable::Cut)?).await
    }

    pub(crate) async fn exchange(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Answer, Unreachable> {
        // A signed request has one already.
        request.headers_mut().entry(HOST).or_insert_with(|| self.host.clone());
        let exchange = async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        };
        let answered = async {
            let (head, body) = exchange.await.map_err(|_| Unreachable::Cut)?.into_parts();
            let body = Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() { Unreachable::TooLong } else { Unreachable::Cut }
            })?;
            let is_last = head.headers.get(CONNECTION).is_some_and(|option| option == "close");
            Ok((head.status, body.to_bytes(), is_last))
        };
        let (status, body, is_last): (StatusCode, Bytes, bool) =
            timeout(EXCHANGE_DEADLINE, answered).await.unwrap_or(Err(Unreachable::Late("the answer")))?;
        self.has_last_answer = is_last;
        Ok(Answer { status: status.as_u16(), body })
    }
}
