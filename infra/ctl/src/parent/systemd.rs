//! systemd: units of this machine, and the manager that started this process.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use super::failed::{Failed, Kind};
use super::machine::{Call, Ended, Machine};

/// `nitro-enclave.service` may take 3 minutes to stop.
const TIMEOUT: Duration = Duration::from_secs(240);

/// Names the socket of the manager, if it wants to be told.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

pub(super) fn is_active(machine: &Machine, unit: &str) -> Result<bool, Failed> {
    Ok(systemctl(machine, &["is-active", "--quiet", unit])?.status == 0)
}

pub(super) fn is_enabled(machine: &Machine, unit: &str) -> Result<bool, Failed> {
    Ok(systemctl(machine, &["is-enabled", "--quiet", unit])?.status == 0)
}

/// Starts `unit` unless it is active.
pub(super) fn start(machine: &Machine, unit: &str) -> Result<(), Failed> {
    if is_active(machine, unit)? { Ok(()) } else { succeed(machine, &["start", unit]) }
}

/// Has `unit` started after this.
pub(super) fn start_later(machine: &Machine, unit: &str) -> Result<(), Failed> {
    succeed(machine, &["start", "--no-block", unit])
}

pub(super) fn restart(machine: &Machine, unit: &str) -> Result<(), Failed> {
    succeed(machine, &["restart", unit])
}

pub(super) fn stop(machine: &Machine, unit: &str) -> Result<(), Failed> {
    succeed(machine, &["stop", unit])
}

fn succeed(machine: &Machine, arguments: &[&str]) -> Result<(), Failed> {
    let ended = systemctl(machine, arguments)?;
    if ended.status == 0 {
        return Ok(());
    }
    let (unit, reason) = (arguments.last().unwrap_or(&"the unit"), ended.stderr.trim());
    let line = format_args!(
        "systemctl {} fails (exit status {}): {reason}; journalctl -u {unit} tells more",
        arguments.join(" "),
        ended.status
    );
    Err(Failed::new(Kind::Unavailable, line))
}

fn systemctl(machine: &Machine, arguments: &[&str]) -> Result<Ended, Failed> {
    let call = Call::new("systemctl", arguments, TIMEOUT);
    machine.run(&call).map_err(|error| Failed::new(Kind::Unavailable, format_args!("{call}: {error}")))
}

/// Tells the manager that started this process `state` (sd_notify(3)). Without such a manager this does nothing.
pub(super) fn notify(state: &str) -> io::Result<()> {
    match env::var_os(NOTIFY_SOCKET) {
        Some(socket) if !socket.is_empty() => notify_at(&socket, state),
        _ => Ok(()),
    }
}

fn notify_at(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_is_told_at_a_path_and_at_an_abstract_address() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("nitro-signer-test-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (socket, address) in [(by_path, path.into_os_string()), (by_name, format!("@{name}").into())] {
            notify_at(&address, "READY=1\nSTATUS=x").unwrap();
            let mut buffer = [0; 64];
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1\nSTATUS=x");
        }
        notify_at(OsStr::new("/nowhere/notify"), "READY=1").unwrap_err();
    }
}
