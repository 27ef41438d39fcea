//! A proxy of this process on a free port of this machine.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::failed::{Failed, Kind};

/// For the proxy to listen.
const START_PATIENCE: Duration = Duration::from_secs(10);

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Bytes of the proxy's outputs that are read: it listens after one line.
const MAX_OUTPUT_BYTES: usize = 4096;

/// A proxy with one route, until it is dropped or this process ends.
pub(super) struct LocalProxy {
    process: Child,
    address: SocketAddr,
}

impl LocalProxy {
    /// Starts the proxy `program`, which messages call `name`, with a route to `destination` and with `options`. Waits
    /// with `pause`.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if the proxy does not listen in time; the errors of `pause`.
    pub(super) fn start(
        program: &Path,
        name: &Path,
        destination: &str,
        options: &[&str],
        pause: impl Fn(Duration) -> Result<(), Failed>,
    ) -> Result<Self, Failed> {
        let failed = |error: &str| {
            Failed::new(Kind::Unavailable, format_args!("{} does not start: {error}", name.display()))
        };
        let output =
            |name| memfd_create(name, MFdFlags::MFD_CLOEXEC).map(File::from).map_err(io::Error::from);
        let spawn = || {
            // Not pipes: they have no reader once the proxy listens.
            let (stdout, stderr) = (output(c"stdout")?, output(c"stderr")?);
            // It ends with this process, also if that is killed.
            let process = Command::new("setpriv")
                .args(["--pdeathsig", "TERM", "--"])
                .arg(program)
                .arg("--route")
                .arg(format!("tcp:127.0.0.1:0={destination}"))
                .args(options)
                .stdin(Stdio::null())
                .stdout(stdout.try_clone()?)
                .stderr(stderr.try_clone()?)
                .process_group(0)
                .spawn()?;
            Ok((process, stdout, stderr))
        };
        let (process, stdout, stderr) = spawn().map_err(|error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => failed("setpriv is not installed"),
            _ => failed(&error.to_string()),
        })?;
        let mut proxy = Self { process, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            if let Some(address) = start_of(&stdout).lines().find_map(listening_address) {
                proxy.address = address;
                return Ok(proxy);
            }
            if let Ok(Some(status)) = proxy.process.try_wait() {
                let said = start_of(&stderr);
                let said = said.lines().last().unwrap_or("it printed nothing");
                return Err(failed(&format!("{status}: {said}")));
            }
            if Instant::now() >= deadline {
                let wanted = "expected a line `proxy: listening on tcp:...`";
                return Err(failed(&format!("{wanted} within {} s", START_PATIENCE.as_secs())));
            }
            pause(POLL_INTERVAL)?;
        }
    }

    /// Where it listens.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for LocalProxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn start_of(output: &File) -> String {
    let mut buffer = [0; MAX_OUTPUT_BYTES];
    // At its place, since the proxy writes where the file's position is.
    let length = output.read_at(&mut buffer, 0).unwrap_or_default();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// The address in the line that the proxy prints once it listens.
fn listening_address(line: &str) -> Option<SocketAddr> {
    let rest = line.strip_prefix("proxy: listening on tcp:")?;
    rest.split_once(',')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::thread;

    use super::*;

    fn start(program: &Path) -> Result<LocalProxy, Failed> {
        LocalProxy::start(program, program, "tcp:kms:443", &[], |duration| {
            thread::sleep(duration);
            Ok(())
        })
    }

    #[test]
    fn the_address_is_in_the_first_line() {
        for (line, address) in [
            ("proxy: listening on tcp:127.0.0.1:4242, forwarding to x", Some("127.0.0.1:4242")),
            ("proxy: listening on tcp:127.0.0.1:42", None),
            ("proxy: listening on tcp:127.0.0.1:x, y", None),
            ("<html></html>", None),
            ("", None),
        ] {
            assert_eq!(listening_address(line), address.map(|address| address.parse().unwrap()), "{line}");
        }
    }

    #[test]
    fn a_proxy_that_does_not_start_is_named() {
        for program in ["/nowhere/proxy", "/bin/false"] {
            let error = start(Path::new(program)).err().unwrap().to_string();
            assert!(error.starts_with(&format!("{program} does not start: exit status: ")), "{error}");
        }
    }

    #[test]
    fn the_proxy_ends_when_its_starter_ends_without_dropping_it() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("proxy");
        fs::write(&program, "#!/bin/sh\necho 'proxy: listening on tcp:127.0.0.1:1, x'\nexec sleep 60\n")
            .unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        // The signal comes when the thread that started it ends. A forgotten value has no destructor.
        let process = thread::spawn(move || {
            let proxy = start(&program).ok().unwrap();
            let process = proxy.process.id();
            std::mem::forget(proxy);
            process
        });
        let process = process.join().unwrap();
        let stat = format!("/proc/{process}/stat");
        let has_ended = || fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z "));
        let deadline = Instant::now() + START_PATIENCE;
        while !has_ended() {
            assert!(Instant::now() < deadline, "it still runs");
            thread::sleep(POLL_INTERVAL);
        }
    }
}
