//! A way to one enclave past the proxy that serves clients, so that it depends neither on their connections nor on the
//! boot file.

use configuration::{Configuration, TlsMode};

use super::INSTALLED_PROXY;
use super::failed::{Failed, Kind};
use super::instance::Instance;
use super::local_proxy::LocalProxy;
use crate::endpoint::Endpoint;

/// The option with which the proxy announces clients.
pub(super) const PROXY_PROTOCOL: &str = "--proxy-protocol";

/// How clients connect to a port of this machine.
pub(super) fn local_endpoint(configuration: &Configuration, port: u16) -> Result<Endpoint, Failed> {
    let scheme = if configuration.tls == TlsMode::Off { "http" } else { "https" };
    let endpoint = format!("{scheme}://127.0.0.1:{port}").parse();
    endpoint.map_err(|error| Failed::new(Kind::Unavailable, format_args!("port {port}: {error}")))
}

/// A proxy of our own to one enclave, until it is dropped.
pub(super) struct Probe {
    _proxy: LocalProxy,
    endpoint: Endpoint,
}

impl Probe {
    /// Starts a proxy to the enclave `cid`.
    pub(super) fn start(
        instance: &Instance,
        configuration: &Configuration,
        cid: u32,
    ) -> Result<Self, Failed> {
        let program = instance.machine().path(INSTALLED_PROXY);
        let destination = format!("vsock:{cid}:{}", configuration.vsock.enclave_app_port);
        let options: &[&str] = if configuration.proxy_protocol { &[PROXY_PROTOCOL] } else { &[] };
        let pause = |duration| instance.pause(duration);
        let proxy = LocalProxy::start(&program, &program, &destination, options, pause)?;
        let endpoint = local_endpoint(configuration, proxy.address().port())?;
        Ok(Self { _proxy: proxy, endpoint })
    }

    /// Where it listens.
    pub(super) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}
