//! The signer and its proxy as two real processes.

use std::net::SocketAddr;

use tempfile::TempDir;

use crate::Failure;
use crate::binaries::binaries;
use crate::process::Process;

/// The secrets of a stack; random, so that a leak is recognised.
#[derive(Clone)]
pub struct Secrets {
    /// `INTERNAL_API_KEY`.
    pub api_key: String,
    /// `TICKET_SIGNING_SECRET`.
    pub ticket_secret: String,
    /// `SEALING_KEY`, decoded.
    pub sealing_key: [u8; 32],
}

impl Secrets {
    /// Fresh ones.
    #[must_use]
    pub fn random() -> Self {
        Self {
            api_key: format!("api-key-{}", hex::encode(rand::random::<[u8; 24]>())),
            ticket_secret: format!("ticket-secret-{}", hex::encode(rand::random::<[u8; 24]>())),
            sealing_key: rand::random(),
        }
    }
}

/// Options of a proxy whose clients all come from one address, as those of a test do.
pub const ONE_SOURCE: [&str; 2] = ["--max-connections-per-source", "off"];

/// The option with which the proxy announces clients, and the signer takes no others.
pub const PROXY_PROTOCOL: &str = "--proxy-protocol";

/// A running stack. Dropping it kills and reaps both processes and removes its folder.
pub struct Stack {
    /// `enclave-dev`.
    pub enclave: Process,
    /// `proxy`.
    pub proxy: Process,
    address: SocketAddr,
    options: Vec<String>,
    socket: String,
    _directory: TempDir,
}

fn enclave(socket: &str, secrets: &Secrets, options: &[String]) -> Result<Process, Failure> {
    let mut arguments = vec!["--listen", socket];
    arguments.extend(options.iter().map(String::as_str));
    let mut enclave = Process::start(
        "enclave-dev",
        &binaries().enclave_dev,
        &arguments,
        &[
            ("INTERNAL_API_KEY", &secrets.api_key),
            ("TICKET_SIGNING_SECRET", &secrets.ticket_secret),
            ("SEALING_KEY", &hex::encode(secrets.sealing_key)),
        ],
    )?;
    enclave.ready(&format!("enclave-dev: listening on {socket}"))?;
    Ok(enclave)
}

impl Stack {
    /// Starts `enclave-dev` with `options` and a proxy on a port of its own.
    pub fn start(secrets: &Secrets, options: &[&str]) -> Result<Self, Failure> {
        let directory = tempfile::Builder::new().prefix("acceptance-").tempdir()?;
        let socket = format!("unix:{}", directory.path().join("app.sock").display());
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let enclave = enclave(&socket, secrets, &options)?;
        let route = format!("tcp:127.0.0.1:0={socket}");
        let mut arguments = [&["--route", &route], &ONE_SOURCE[..]].concat();
        arguments.extend(options.iter().map(String::as_str).filter(|option| *option == PROXY_PROTOCOL));
        let mut proxy = Process::start("proxy", &binaries().proxy, &arguments, &[])?;
        let rest = proxy.ready("proxy: listening on tcp:")?;
        let address = rest
            .strip_suffix(&format!(", dialing {socket}"))
            .and_then(|address| address.parse().ok())
            .ok_or_else(|| Failure::new(format!("proxy: listening on tcp:{rest}")))?;
        Ok(Self { enclave, proxy, address, options, socket, _directory: directory })
    }

    /// Kills the signer, and starts another in its place, with these secrets.
    pub fn restart(&mut self, secrets: &Secrets) -> Result<(), Failure> {
        let _ = self.enclave.stop();
        self.enclave = enclave(&self.socket, secrets, &self.options)?;
        Ok(())
    }

    /// The file of the socket where the signer listens, past the proxy.
    #[must_use]
    pub fn signer_socket(&self) -> &str {
        self.socket.trim_start_matches("unix:")
    }

    /// Where the proxy listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
