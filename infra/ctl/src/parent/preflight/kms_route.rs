//! A way to KMS through the proxy, as the enclave will have one.

use std::fmt;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use enclave_runtime::Configuration;
use nix::sys::memfd::{MFdFlags, memfd_create};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::tls_trust::TlsTrust;

/// The proxy binds one port and prints it.
const START_DEADLINE: Duration = Duration::from_secs(5);

/// Three times what a handshake over half the world takes.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);

const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// More than the line of one route.
const MAX_LINE_BYTES: usize = 4096;

/// A proxy with the one route. It ends with this.
pub(super) struct KmsRoute {
    proxy: Child,
    address: SocketAddr,
}

/// Why KMS was not reached.
#[derive(Debug)]
pub(super) enum NotReached {
    /// The proxy does not take the connection.
    Proxy(io::Error),
    /// The handshake fails; also when the proxy cannot dial.
    Tls(io::Error),
    /// The handshake takes too long.
    Late,
    /// The certificates or the name in nitro.toml are of no use.
    Configuration,
}

impl fmt::Display for NotReached {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proxy(fault) => write!(formatter, "the proxy does not take a connection: {fault}"),
            Self::Tls(fault) => write!(formatter, "TLS handshake failed: {fault}"),
            Self::Late => write!(formatter, "no TLS handshake within {} s", HANDSHAKE_DEADLINE.as_secs()),
            Self::Configuration => {
                formatter.write_str("kms.trust_anchors or kms.region is of no use for TLS")
            }
        }
    }
}

impl KmsRoute {
    /// Starts `proxy` with a route to port 443 of `host`.
    ///
    /// # Errors
    /// A line, if the proxy does not start.
    pub(super) fn open(proxy: &Path, host: &str) -> Result<Self, String> {
        Self::to(proxy, &format!("tcp:{host}:443"))
    }

    fn to(proxy: &Path, destination: &str) -> Result<Self, String> {
        let failed = |fault: io::Error| format!("{} does not start: {fault}", proxy.display());
        // Not a pipe: nobody reads it once the line is there.
        let output = memfd_create(c"proxy", MFdFlags::MFD_CLOEXEC).map(File::from);
        let output = output.map_err(|errno| failed(errno.into()))?;
        let child = Command::new(proxy)
            .arg("--route")
            .arg(format!("tcp:127.0.0.1:0={destination}"))
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(failed)?)
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let mut route = Self { proxy: child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            if let Some(address) = listening(&output).map_err(failed)? {
                route.address = address;
                return Ok(route);
            }
            if let Some(status) = route.proxy.try_wait().map_err(failed)? {
                return Err(format!("{} ended at once: {status}", proxy.display()));
            }
            if Instant::now() >= deadline {
                let wanted = "expected a line `proxy: listening on tcp:...`";
                return Err(format!("{}: {wanted} within {} s", proxy.display(), START_DEADLINE.as_secs()));
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Shakes hands with the host behind the route, as the enclave does: by the roots of `configuration`, or the public
    /// ones.
    ///
    /// # Errors
    /// [`NotReached`]
    pub(super) async fn handshake(
        &self,
        host: &str,
        configuration: &Configuration,
    ) -> Result<(), NotReached> {
        let trust = match &configuration.kms.trust_anchors {
            Some(roots) => TlsTrust::roots(roots).map_err(|_| NotReached::Configuration)?,
            None => TlsTrust::WebPki,
        };
        let tls = Arc::new(trust.client_config().map_err(|_| NotReached::Configuration)?);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| NotReached::Configuration)?;
        let shake = async {
            let stream = TcpStream::connect(self.address).await.map_err(NotReached::Proxy)?;
            TlsConnector::from(tls).connect(name, stream).await.map_err(NotReached::Tls)
        };
        timeout(HANDSHAKE_DEADLINE, shake).await.map_err(|_| NotReached::Late)?.map(drop)
    }
}

impl Drop for KmsRoute {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
    }
}

/// The address in the line that the proxy prints once it listens.
fn listening(output: &File) -> io::Result<Option<SocketAddr>> {
    let mut buffer = [0; MAX_LINE_BYTES];
    // At its place, since the proxy writes where the file's position is.
    let length = output.read_at(&mut buffer, 0)?;
    let text = String::from_utf8_lossy(&buffer[..length]);
    let line = text.lines().find_map(|line| line.strip_prefix("proxy: listening on tcp:"));
    Ok(line.and_then(|line| line.split_once(", ")).and_then(|(address, _)| address.parse().ok()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use rustls::ServerConfig;
    use rustls::pki_types::CertificateDer;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::parent::preflight::tests::configuration;

    const HOST: &str = "kms.us-east-1.amazonaws.com";

    /// A route that leads to `address`.
    fn route_to(address: SocketAddr) -> KmsRoute {
        KmsRoute { proxy: Command::new("sleep").arg("60").spawn().unwrap(), address }
    }

    /// A server with a certificate for `name`, which signs itself.
    async fn server(name: &str) -> (SocketAddr, CertificateDer<'static>) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = made.signing_key.serialize_der().try_into().unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let configuration =
            builder.unwrap().with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(configuration));
            while let Ok((stream, _)) = listener.accept().await {
                let _ = acceptor.accept(stream).await;
            }
        });
        (address, certificate)
    }

    #[tokio::test]
    async fn a_server_with_the_name_and_the_root_is_kms() {
        let (address, certificate) = server(HOST).await;
        let mut trusting = configuration();
        trusting.kms.trust_anchors = Some(vec![certificate]);
        route_to(address).handshake(HOST, &trusting).await.unwrap();
        let fault = route_to(address).handshake(HOST, &configuration()).await.unwrap_err();
        assert!(matches!(fault, NotReached::Tls(_)), "{fault}");
        let (address, certificate) = server("kms.eu-west-1.amazonaws.com").await;
        trusting.kms.trust_anchors = Some(vec![certificate]);
        let fault = route_to(address).handshake(HOST, &trusting).await.unwrap_err();
        assert!(matches!(fault, NotReached::Tls(_)), "{fault}");
    }

    #[tokio::test]
    async fn a_proxy_that_cannot_dial_closes_the_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        let fault = route_to(address).handshake(HOST, &configuration()).await.unwrap_err();
        assert!(fault.to_string().starts_with("TLS handshake failed: "), "{fault}");
    }

    #[test]
    fn the_address_is_in_the_line_of_the_proxy() {
        for (text, address) in [
            ("", None),
            ("proxy: listening on tcp:127.0.0.1:35", None),
            ("proxy: listening on tcp:127.0.0.1:35, dialing tcp:kms:443\n", Some("127.0.0.1:35")),
            ("<html></html>\n", None),
        ] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let address = address.map(|address| address.parse().unwrap());
            assert_eq!(listening(&file).unwrap(), address, "{text}");
        }
    }

    #[test]
    fn a_proxy_that_does_not_start_is_named() {
        for (proxy, words) in [("/nowhere/proxy", "does not start"), ("/bin/false", "ended at once")] {
            let fault = KmsRoute::open(Path::new(proxy), HOST).err().unwrap();
            assert!(fault.starts_with(proxy) && fault.contains(words), "{fault}");
        }
    }
}
