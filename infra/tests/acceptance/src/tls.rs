//! A TLS client that takes any certificate, and tells which it was.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme, StreamOwned,
};

use crate::Failure;

/// A client; it remembers sessions.
#[derive(Clone)]
pub struct TlsClient(Arc<ClientConfig>);

/// A connection after its handshake.
pub struct TlsStream(StreamOwned<ClientConnection, TcpStream>);

impl Default for TlsClient {
    fn default() -> Self {
        Self::new()
    }
}

impl TlsClient {
    /// A client that offers all that rustls does, and no ALPN.
    #[must_use]
    pub fn new() -> Self {
        Self::offering(&[&rustls::version::TLS13, &rustls::version::TLS12])
    }

    /// A client of these versions.
    #[must_use]
    pub fn offering(versions: &[&'static rustls::SupportedProtocolVersion]) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("the provider has suites for each version")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(algorithms)))
            .with_no_client_auth();
        Self(Arc::new(config))
    }

    /// The first message of a handshake.
    pub fn hello(&self) -> Result<Vec<u8>, Failure> {
        let mut hello = Vec::new();
        self.begin()?.write_tls(&mut hello)?;
        Ok(hello)
    }

    fn begin(&self) -> Result<ClientConnection, Failure> {
        let name = ServerName::try_from("localhost").map_err(|e| Failure::new(e.to_string()))?;
        ClientConnection::new(Arc::clone(&self.0), name).map_err(|e| Failure::new(e.to_string()))
    }

    /// Does a handshake over `tcp`.
    pub fn connect(&self, mut tcp: TcpStream) -> Result<TlsStream, Failure> {
        let mut connection = self.begin()?;
        while connection.is_handshaking() {
            connection.complete_io(&mut tcp)?;
        }
        Ok(TlsStream(StreamOwned::new(connection, tcp)))
    }
}

impl TlsStream {
    /// The certificates that the server has presented, its own first.
    #[must_use]
    pub fn certificates(&self) -> Vec<Vec<u8>> {
        self.0.conn.peer_certificates().unwrap_or_default().iter().map(|der| der.to_vec()).collect()
    }

    /// Whether the session is one that was begun on another connection.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.0.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The socket.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        &self.0.sock
    }

    /// Says that nothing more will be sent.
    pub fn close_notify(&mut self) -> io::Result<()> {
        self.0.conn.send_close_notify();
        self.0.flush()
    }
}

impl Read for TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Accepts any certificate whose key the server has.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
