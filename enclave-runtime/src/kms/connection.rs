//! The connection to KMS: TLS through the relay, to a server that proves KMS's name.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response};
use rustls::pki_types::ServerName;

use super::error::KmsError;
use crate::aws::http_client::HttpClient;
use crate::relay::Relay;
use crate::remote_server::{RemoteServer, UnusableServer};
use crate::trusted_clock::TrustedClock;
use configuration::Kms as KmsConfiguration;

const IMPOSTOR: &str = "the server has no certificate for KMS's name that leads to one of Amazon's roots, or of kms.trust_anchors";

/// Where KMS is, and by what it proves itself.
pub(crate) struct KmsServer {
    server: RemoteServer,
    host: String,
    region: String,
}

impl KmsServer {
    /// The KMS of the configured region, behind `relay`.
    ///
    /// # Errors
    /// [`UnusableServer`]
    pub(crate) fn new(
        configuration: &KmsConfiguration,
        relay: Relay,
        clock: Arc<TrustedClock>,
    ) -> Result<Self, UnusableServer> {
        let host = configuration.endpoint_host();
        let name = ServerName::try_from(host.clone())
            .map_err(|_| UnusableServer("kms.region: KMS has no host name there"))?;
        let roots = configuration
            .roots()
            .ok_or(UnusableServer("kms.trust_anchors: not the certificate of an authority"))?;
        let server = RemoteServer::new(relay, name, roots, IMPOSTOR, clock);
        Ok(Self { server, host, region: configuration.region.to_string() })
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn region(&self) -> &str {
        &self.region
    }

    /// Connects. Has no deadline of its own.
    pub(super) async fn connect(&self) -> Result<Connection, KmsError> {
        self.server.connect().await.map(Connection).map_err(KmsError::Unreachable)
    }
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
    ) -> Result<Response<Bytes>, KmsError> {
        self.0.exchange(request).await.map_err(|_| KmsError::Unreachable("the connection was cut"))
    }
}
