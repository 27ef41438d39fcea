//! A way to KMS through the proxy, as the enclave will have one.

use std::fmt;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use configuration::Configuration;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fchmod};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::parent::failed::{Failed, Kind};
use crate::parent::local_proxy::LocalProxy;
use crate::parent::machine::Machine;
use crate::parent::{INSTALLED_PROXY, release};
use crate::tls_trust::TlsTrust;

/// Three times the duration of a handshake over half the world.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);

/// The program that makes the way to KMS.
pub(super) struct Program {
    /// The program.
    path: PathBuf,
    /// The program's name in messages.
    name: PathBuf,
    /// Keeps the file that `path` leads to, if that is a copy.
    _copy: Option<File>,
}

impl Program {
    /// The installed proxy, which is root's. Where none is installed, a copy of the release's: the owner of its folder
    /// could exchange it meanwhile.
    ///
    /// # Errors
    /// A line about the release's proxy, if it is missing or a link, or if it cannot be copied.
    pub(super) fn choose(machine: &Machine, release: Option<&Path>) -> Result<Self, Failed> {
        let installed = machine.path(INSTALLED_PROXY);
        match release {
            Some(release) if !installed.is_file() => Self::copy(&release.join("proxy")),
            _ => Ok(Self { path: installed.clone(), name: installed, _copy: None }),
        }
    }

    /// A copy in memory, which no other user can change.
    fn copy(name: &Path) -> Result<Self, Failed> {
        let mut original = release::open_regular(name)?;
        let mut copy_all = || {
            let mut copy = File::from(memfd_create(c"proxy", MFdFlags::MFD_CLOEXEC)?);
            fchmod(&copy, Mode::S_IRUSR | Mode::S_IXUSR)?;
            io::copy(&mut original, &mut copy)?;
            Ok(copy)
        };
        let copy = copy_all().map_err(|error: io::Error| {
            Failed::new(Kind::Unavailable, format_args!("{}: it cannot be copied: {error}", name.display()))
        })?;
        // A program that this process starts has no descriptor of it.
        let path = format!("/proc/{}/fd/{}", std::process::id(), copy.as_raw_fd());
        Ok(Self { path: path.into(), name: name.to_owned(), _copy: Some(copy) })
    }

    /// Starts it with a route to port 443 of `host`.
    ///
    /// # Errors
    /// A line, if it does not start.
    pub(super) fn open_route(&self, host: &str) -> Result<LocalProxy, Failed> {
        LocalProxy::start(&self.path, &self.name, &format!("tcp:{host}:443"), &[], |duration| {
            thread::sleep(duration);
            Ok(())
        })
    }
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
    /// The certificates or the name in nitro.toml cannot be used for TLS.
    Configuration,
}

impl fmt::Display for NotReached {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proxy(error) => write!(formatter, "the proxy does not take a connection: {error}"),
            Self::Tls(error) => write!(formatter, "TLS handshake failed: {error}"),
            Self::Late => write!(formatter, "no TLS handshake within {} s", HANDSHAKE_DEADLINE.as_secs()),
            Self::Configuration => {
                formatter.write_str("kms.trust_anchors or kms.region cannot be used for TLS")
            }
        }
    }
}

/// Shakes hands with `host` behind the route at `address`, as the enclave does: by the roots that it trusts for KMS.
///
/// # Errors
/// [`NotReached`]
pub(super) async fn handshake(
    address: SocketAddr,
    host: &str,
    configuration: &Configuration,
) -> Result<(), NotReached> {
    let trust = TlsTrust::of_kms(&configuration.kms).map_err(|_| NotReached::Configuration)?;
    let tls = Arc::new(trust.client_config().map_err(|_| NotReached::Configuration)?);
    let name = ServerName::try_from(host.to_owned()).map_err(|_| NotReached::Configuration)?;
    let shake = async {
        let stream = TcpStream::connect(address).await.map_err(NotReached::Proxy)?;
        TlsConnector::from(tls).connect(name, stream).await.map_err(NotReached::Tls)
    };
    timeout(HANDSHAKE_DEADLINE, shake).await.map_err(|_| NotReached::Late)?.map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use rustls::ServerConfig;
    use rustls::pki_types::CertificateDer;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::parent::machine::SystemCommands;
    use crate::parent::preflight::tests::configuration;

    const HOST: &str = "kms.us-east-1.amazonaws.com";

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
        handshake(address, HOST, &trusting).await.unwrap();
        let error = handshake(address, HOST, &configuration()).await.unwrap_err();
        assert!(matches!(error, NotReached::Tls(_)), "{error}");
        let (address, certificate) = server("kms.eu-west-1.amazonaws.com").await;
        trusting.kms.trust_anchors = Some(vec![certificate]);
        let error = handshake(address, HOST, &trusting).await.unwrap_err();
        assert!(matches!(error, NotReached::Tls(_)), "{error}");
    }

    #[tokio::test]
    async fn a_proxy_that_cannot_dial_closes_the_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        let error = handshake(address, HOST, &configuration()).await.unwrap_err();
        assert!(error.to_string().starts_with("TLS handshake failed: "), "{error}");
    }

    #[test]
    fn what_runs_is_the_installed_proxy_or_a_copy_of_the_releases() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::new(folder.path().join("machine"), Box::new(SystemCommands));
        let release = folder.path().join("release");
        fs::create_dir(&release).unwrap();
        let choose = || Program::choose(&machine, Some(&release)).map_err(|error| error.to_string());
        let proxy = release.join("proxy");
        assert!(choose().err().unwrap().contains("is missing"));
        let script = |port: u16| {
            format!("#!/bin/sh\necho 'proxy: listening on tcp:127.0.0.1:{port}, x'\nexec sleep 60\n")
        };
        fs::write(&proxy, script(1)).unwrap();
        fs::set_permissions(&proxy, fs::Permissions::from_mode(0o755)).unwrap();
        let copied = choose().unwrap();
        // Exchanged once it was looked at.
        fs::write(&proxy, script(2)).unwrap();
        assert_eq!(copied.open_route(HOST).unwrap().address().port(), 1);
        fs::rename(&proxy, release.join("other")).unwrap();
        symlink("other", &proxy).unwrap();
        assert!(choose().err().unwrap().contains("is a link"));
        let installed = machine.path(INSTALLED_PROXY);
        fs::create_dir_all(installed.parent().unwrap()).unwrap();
        fs::write(&installed, script(3)).unwrap();
        fs::set_permissions(&installed, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(choose().unwrap().open_route(HOST).unwrap().address().port(), 3);
    }
}
