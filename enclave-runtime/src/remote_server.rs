//! A server outside, reached through a relay. It has to prove its name by TLS, which ends in the enclave.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::aws::http_client::HttpClient;
use crate::relay::Relay;
use crate::trusted_clock::TrustedClock;

/// Where a server is, and by what it proves itself.
pub(crate) struct RemoteServer {
    relay: Relay,
    name: ServerName<'static>,
    tls: TlsConnector,
    impostor: &'static str,
}

/// `nitro.toml` describes a server that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnusableServer(pub(crate) &'static str);

impl std::fmt::Display for UnusableServer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.0)
    }
}

impl std::error::Error for UnusableServer {}

impl RemoteServer {
    /// The server of this name behind `relay`, for which one of `roots` vouches by the time of `clock`. `impostor`
    /// describes a server without such a certificate.
    pub(crate) fn new(
        relay: Relay,
        name: ServerName<'static>,
        roots: RootCertStore,
        impostor: &'static str,
        clock: Arc<TrustedClock>,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_details(provider, clock)
            .with_safe_default_protocol_versions()
            .expect("the provider has suites of TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { relay, name, tls: TlsConnector::from(Arc::new(tls)), impostor }
    }

    /// Connects, or says why there is no connection. Has no deadline of its own.
    pub(crate) async fn connect(&self) -> Result<HttpClient, &'static str> {
        let stream = self.relay.dial().await.map_err(|_| "the relay does not answer")?;
        let stream =
            self.tls.connect(self.name.clone(), stream).await.map_err(|error| self.reason(&error))?;
        HttpClient::over(stream).await.map_err(|_| "the connection was cut")
    }

    /// The reason for an operator: a wrong server differs from a relay that cuts.
    fn reason(&self, error: &std::io::Error) -> &'static str {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::InvalidCertificate(_)) => self.impostor,
            Some(_) => "the TLS handshake failed",
            None => "the connection was cut in the TLS handshake",
        }
    }
}
