//! A way to one enclave past the proxy that serves clients, so that neither their connections nor the boot file stand
//! between.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use enclave_runtime::Configuration;
use enclave_runtime::configuration::TlsMode;
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::failed::{Failed, Kind};
use super::instance::Instance;
use crate::endpoint::Endpoint;

const PROXY: &str = "/usr/local/libexec/nitro-signer/proxy";

/// For the proxy to listen.
const START_PATIENCE: Duration = Duration::from_secs(10);

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Bytes of the proxy's outputs that are read: it listens after one line.
const MAX_OUTPUT_BYTES: usize = 4096;

/// How clients connect to a port of this machine.
pub(super) fn local_endpoint(configuration: &Configuration, port: u16) -> Result<Endpoint, Failed> {
    let scheme = if configuration.tls == TlsMode::Off { "http" } else { "https" };
    let endpoint = format!("{scheme}://127.0.0.1:{port}").parse();
    endpoint.map_err(|fault| Failed::new(Kind::Unavailable, format_args!("port {port}: {fault}")))
}

/// A proxy of our own to one enclave, until it is dropped.
pub(super) struct Probe {
    proxy: Child,
    endpoint: Endpoint,
}

impl Probe {
    /// Starts a proxy to the enclave `cid`.
    pub(super) fn start(
        instance: &Instance,
        configuration: &Configuration,
        cid: u32,
    ) -> Result<Self, Failed> {
        let path = instance.machine().path(PROXY);
        let failed = |fault: &str| {
            Failed::new(Kind::Unavailable, format_args!("{} does not start: {fault}", path.display()))
        };
        let route = format!("tcp:127.0.0.1:0=vsock:{cid}:{}", configuration.vsock.enclave_app_port);
        let output =
            |name| memfd_create(name, MFdFlags::MFD_CLOEXEC).map(File::from).map_err(io::Error::from);
        let spawn = || {
            let (stdout, stderr) = (output(c"stdout")?, output(c"stderr")?);
            // It ends with this process, also if that is killed.
            let proxy = Command::new("setpriv")
                .args(["--pdeathsig", "TERM", "--"])
                .arg(&path)
                .args(["--route", &route])
                .stdin(Stdio::null())
                .stdout(stdout.try_clone()?)
                .stderr(stderr.try_clone()?)
                .process_group(0)
                .spawn()?;
            Ok((proxy, stdout, stderr))
        };
        let (mut proxy, stdout, stderr) = spawn().map_err(|fault: io::Error| failed(&fault.to_string()))?;
        let deadline = Instant::now() + START_PATIENCE;
        let listening = loop {
            if let Some(port) = start_of(&stdout).lines().find_map(listening_port) {
                break local_endpoint(configuration, port);
            }
            if proxy.try_wait().is_ok_and(|status| status.is_some()) {
                break Err(failed(start_of(&stderr).lines().last().unwrap_or("it printed nothing")));
            }
            if Instant::now() >= deadline {
                break Err(failed("it did not print where it listens"));
            }
            if let Err(interrupted) = instance.pause(POLL_INTERVAL) {
                break Err(interrupted);
            }
        };
        match listening {
            Ok(endpoint) => Ok(Self { proxy, endpoint }),
            Err(fault) => {
                end(&mut proxy);
                Err(fault)
            }
        }
    }

    /// Where it listens.
    pub(super) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        end(&mut self.proxy);
    }
}

fn end(proxy: &mut Child) {
    // It may have ended by itself.
    let _ = proxy.kill();
    let _ = proxy.wait();
}

fn start_of(output: &File) -> String {
    let mut buffer = [0; MAX_OUTPUT_BYTES];
    let length = output.read_at(&mut buffer, 0).unwrap_or_default();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

fn listening_port(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("proxy: listening on tcp:127.0.0.1:")?;
    rest.split_once(',')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::listening_port;

    #[test]
    fn the_port_is_in_the_first_line() {
        assert_eq!(listening_port("proxy: listening on tcp:127.0.0.1:4242, forwarding to x"), Some(4242));
        for other in ["proxy: listening on tcp:127.0.0.1:42", "proxy: listening on tcp:127.0.0.1:x, y", ""] {
            assert_eq!(listening_port(other), None, "{other}");
        }
    }
}
