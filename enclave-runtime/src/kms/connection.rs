//! The connection to KMS: TLS through the relay, to a server that can prove KMS's name.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::fault::KmsFault;
use crate::aws::http_client::HttpClient;
use crate::configuration::Kms as KmsConfiguration;
use crate::relay::Relay;

/// Where KMS is, and by what it proves itself.
pub(crate) struct KmsServer {
    relay: Relay,
    host: String,
    name: ServerName<'static>,
    region: String,
    tls: TlsConnector,
}

/// The configured region or trust anchors cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnusableEndpoint(&'static str);

impl std::fmt::Display for UnusableEndpoint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.0)
    }
}

impl std::error::Error for UnusableEndpoint {}

impl KmsServer {
    /// The KMS of the configured region, behind `relay`.
    ///
    /// # Errors
    /// [`UnusableEndpoint`]
    pub(crate) fn new(configuration: &KmsConfiguration, relay: Relay) -> Result<Self, UnusableEndpoint> {
        let roots = match &configuration.trust_anchors {
            None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
            Some(anchors) => configured_roots(anchors)?,
        };
        let host = configuration.endpoint_host();
        let name = ServerName::try_from(host.clone())
            .map_err(|_| UnusableEndpoint("kms.region: KMS has no host name there"))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| UnusableEndpoint("TLS has no protocol version"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let region = configuration.region.to_string();
        Ok(Self { relay, host, name, region, tls: TlsConnector::from(Arc::new(tls)) })
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn region(&self) -> &str {
        &self.region
    }

    /// Connects. Has no deadline of its own.
    pub(super) async fn connect(&self) -> Result<Connection, KmsFault> {
        let stream =
            self.relay.dial().await.map_err(|_| KmsFault::Unreachable("the relay does not answer"))?;
        let stream = self
            .tls
            .connect(self.name.clone(), stream)
            .await
            .map_err(|fault| KmsFault::Unreachable(tls_fault(&fault)))?;
        let client =
            HttpClient::over(stream).await.map_err(|_| KmsFault::Unreachable("the connection was cut"))?;
        Ok(Connection(client))
    }
}

/// What an operator should know: a server that is not KMS is another matter than a relay that cuts.
fn tls_fault(fault: &std::io::Error) -> &'static str {
    let tls = fault.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(_)) => "who answers has no certificate of KMS",
        Some(_) => "the TLS handshake failed",
        None => "the connection was cut in the TLS handshake",
    }
}

fn configured_roots(anchors: &[CertificateDer<'static>]) -> Result<RootCertStore, UnusableEndpoint> {
    let mut roots = RootCertStore::empty();
    for certificate in anchors {
        let added = roots.add(certificate.clone());
        added.map_err(|_| UnusableEndpoint("kms.trust_anchors: not the certificate of an authority"))?;
    }
    Ok(roots)
}

/// An open connection to KMS.
pub(super) struct Connection(HttpClient);

impl Connection {
    pub(super) fn is_open(&self) -> bool {
        self.0.is_open()
    }

    pub(super) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, KmsFault> {
        self.0.exchange(request).await.map_err(|_| KmsFault::Unreachable("the connection was cut"))
    }
}
